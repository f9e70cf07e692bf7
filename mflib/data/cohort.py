"""The cohort folder: who is in, who is out and why, and what need not be written. See ``data/README.md``."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mflib.base.errors import CohortError
from mflib.base.files import sha256
from mflib.base.words import KEY, LEVELS
from mflib.data import cohort_files, cohort_tables
from mflib.data import volume as volumes
from mflib.data.cohort_files import Key
from mflib.data.cohort_tables import ANNOTATIONS, CLINICAL, GRADES, PARTICIPANTS, Fault
from mflib.data.volume import Annotation, Volume

NOTHING = f"no cohort here (no {cohort_files.DESCRIPTION}, no {PARTICIPANTS}, no volume named as in one)"
SOMETHING = "a cohort folder; mflib import makes one of scanner files"


@dataclass(frozen=True, eq=False)
class Folder:
    """What was read of a cohort folder, sound or not.

    Parameters
    ----------
    root : the folder
    description : its ``dataset_description.json``
    tables : the four tables by path, indexed by the line of the file; faulty cells are missing. A BMI and a final grade
        that follow from other columns are filled in
    volumes : path of each volume relative to ``root`` by its key
    faults : everything that is wrong
    notices : what was filled in
    """

    root: Path
    description: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    volumes: dict[cohort_files.Key, str]
    faults: list[Fault]
    notices: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the folder calls itself, without characters that would steer a terminal."""
        said = str(self.description.get("Name", self.root.name))
        return "".join(letter for letter in said if letter.isprintable())


@dataclass(frozen=True, eq=False)
class Cohort:
    """A cohort whose tables and headers are sound; voxels are read one volume at a time.

    Parameters
    ----------
    root : the cohort folder
    name : what the folder calls itself
    synthetic : whether the volumes are simulated
    participants : all screened participants
    clinical, grades, annotations : the folder's tables, typed
    patients : analysed patients, one row each, with their clinical values
    segments : analysed segments, one row each, sorted by key: key, grade (0 to 3), label (grade > 0), path, annotation
    flow : stage, participants, segments, reason: from the screened to the analysed
    """

    root: Path
    name: str
    synthetic: bool
    participants: pd.DataFrame
    clinical: pd.DataFrame
    grades: pd.DataFrame
    annotations: pd.DataFrame
    patients: pd.DataFrame
    segments: pd.DataFrame
    flow: pd.DataFrame

    def volume(self, segment: Mapping[str, Any]) -> Volume:
        """Read the volume of one row of ``segments``."""
        return volumes.read(self.root / segment["path"])

    def annotation(self, segment: Mapping[str, Any]) -> Annotation:
        """Reference points and ROI of one row of ``segments``."""
        return Annotation.from_row(segment)

    def digest(self) -> str:
        """SHA-256 over the tables and the analysed volumes with their sidecars."""
        paths = [cohort_files.DESCRIPTION, PARTICIPANTS, CLINICAL, GRADES, ANNOTATIONS, *self.segments["path"]]
        total = hashlib.sha256()
        for path in paths:
            for file in (self.root / path, volumes.find_sidecar(self.root / path) if path.startswith("sub-") else None):
                if file is not None and file.exists():
                    total.update(f"{file.relative_to(self.root)} {sha256(file)}\n".encode())
        return total.hexdigest()


def load(root: Path) -> Cohort:
    """Read a cohort folder's tables and the headers of its volumes.

    Raises
    ------
    CohortError
        Anything is missing, doubled, out of range or contradictory; every fault is listed. ``mflib check`` looks at
        the voxels too.
    """
    folder = read_folder(root)
    if folder.faults:
        raise faulty(root, folder.faults)
    return assemble(folder)


def faulty(root: Path, faults: list[Fault]) -> CohortError:
    """The error that lists every fault of a cohort folder."""
    return CohortError(f"{len(faults)} fault{'s' * (len(faults) != 1)} in the cohort folder {root.name}:", faults)


def read_folder(root: Path) -> Folder:
    """Read everything but voxels, sound or not."""
    if not root.is_dir():
        missing = Fault(str(root), None, None, "no such folder", "a cohort folder, or one that mflib phantom makes")
        return Folder(root, {}, {}, {}, [missing])
    found, wrong = cohort_files.find_volumes(root)
    if not found and not any((root / name).exists() for name in (cohort_files.DESCRIPTION, *cohort_tables.SCHEMAS)):
        return Folder(root, {}, {}, {}, [Fault(str(root), None, None, NOTHING, SOMETHING)])
    description, faults = cohort_files.read_description(root)
    read_tables = {name: cohort_tables.read(root, name) for name in cohort_tables.SCHEMAS}
    frames = {name: table for name, (table, _) in read_tables.items()}
    faults += [fault for _, faulty in read_tables.values() for fault in faulty]
    faults += [fault for name, table in frames.items() for fault in cohort_tables.doubled_keys(name, table)]
    unusable = segment_exclusions(frames[ANNOTATIONS])
    frames[PARTICIPANTS], notices = with_bmi(frames[PARTICIPANTS])
    frames[GRADES], derived = with_final_grades(frames[GRADES], unusable)
    faults += wrong + reason_faults(frames[ANNOTATIONS])
    excluded = exclusions(frames)
    faults += _new(cohort_files.grade_faults(frames[GRADES], excluded, unusable), faults)
    # A table without its key column or rows has been named already: every other one would seem to lack a partner.
    if all(frame["participant_id"].notna().any() for frame in frames.values()):
        eligible = set(frames[PARTICIPANTS]["participant_id"].dropna()) - set(excluded)
        faults += cohort_files.identity_faults(frames, found)
        faults += cohort_files.segment_faults(frames, found, eligible, unusable)
        faults += nobody_faults(frames[PARTICIPANTS], eligible, unusable, found)
    wanted = {key: path for key, path in found.items() if key not in unusable}
    faults += cohort_files.volume_faults(root, wanted, frames[ANNOTATIONS])
    return Folder(root, description, frames, found, faults, notices + derived)


def _new(faults: list[Fault], known: list[Fault]) -> list[Fault]:
    """Faults of cells that have none yet: a missing grade may be one that could not be read."""
    places = {(fault.file, fault.row, fault.column) for fault in known}
    return [fault for fault in faults if (fault.file, fault.row, fault.column) not in places]


def assemble(folder: Folder) -> Cohort:
    """The cohort in a folder without faults."""
    frames = folder.tables
    excluded, unusable = exclusions(frames), segment_exclusions(frames[ANNOTATIONS])
    paths = pd.DataFrame([[*key, path] for key, path in folder.volumes.items()], columns=[*KEY, "path"])
    grades = frames[GRADES].rename(columns={"grade_final": "grade"})[[*KEY, "grade"]]
    annotations = frames[ANNOTATIONS][[*KEY, *cohort_tables.VOXELS]].dropna()
    segments = grades.merge(paths, on=KEY).merge(annotations, on=KEY)
    segments = _analysable(segments, excluded, unusable)
    segments = segments.astype(dict.fromkeys(segments.select_dtypes("Int64"), int))
    segments.insert(4, "label", (segments["grade"] > 0).astype(int))
    order = pd.Categorical(segments["level"], LEVELS).codes
    segments = segments.assign(order=order).sort_values(["participant_id", "order", "lat"]).drop(columns="order")
    people = frames[PARTICIPANTS].merge(frames[CLINICAL], on="participant_id", suffixes=("", "_clinical"))
    analysed = people["participant_id"].isin(segments["participant_id"])
    return Cohort(
        root=folder.root,
        name=folder.name,
        synthetic=folder.description.get("Synthetic") is True,
        participants=frames[PARTICIPANTS].reset_index(drop=True),
        clinical=frames[CLINICAL].reset_index(drop=True),
        grades=_analysable(frames[GRADES], excluded, unusable).reset_index(drop=True),
        annotations=frames[ANNOTATIONS].reset_index(drop=True),
        patients=people[analysed].sort_values("participant_id").reset_index(drop=True),
        segments=segments.reset_index(drop=True),
        flow=flow(list(people["participant_id"]), excluded, unusable, segments),
    )


def _analysable(
    table: pd.DataFrame, excluded: Mapping[str, str], unusable: Mapping[cohort_files.Key, str]
) -> pd.DataFrame:
    """The rows of a table of segments that neither their patient nor their quality excludes."""
    out = pd.MultiIndex.from_frame(table[KEY]).isin(list(unusable)) if unusable else False
    return table[~(table["participant_id"].isin(excluded) | out)]


MINIMUM_AGE, MAXIMUM_AGE, MAXIMUM_BMI = 18, 80, 28
NOTHING_LEFT = "left without any segment (patients)"


def exclusions(frames: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Reason of exclusion by participant: age and BMI as the paper's criteria, then the screening's own words.

    A missing age or BMI excludes nobody.
    """
    reasons: dict[str, str] = {}
    clinical = frames[CLINICAL].dropna(subset="participant_id")
    if "screening" in clinical:
        said = clinical.set_index("participant_id")["screening"].dropna()
        reasons |= {str(participant): reason for participant, reason in said.items() if reason.lower() != "eligible"}
    people = frames[PARTICIPANTS].dropna(subset="participant_id").set_index("participant_id")
    criteria = {
        f"BMI >= {MAXIMUM_BMI} kg/m2": people["bmi"] >= MAXIMUM_BMI,
        f"older than {MAXIMUM_AGE} years": people["age"] > MAXIMUM_AGE,
        f"younger than {MINIMUM_AGE} years": people["age"] < MINIMUM_AGE,
    }
    for reason, applies in criteria.items():
        reasons |= dict.fromkeys(map(str, people.index[applies]), reason)
    return reasons


def segment_exclusions(annotations: pd.DataFrame) -> dict[Key, str]:
    """Reason of exclusion by segment: whoever annotates may find a volume that cannot be used."""
    if "quality" not in annotations:
        return {}
    out = annotations[annotations["quality"] == "exclude"].dropna(subset=KEY)
    reasons = out["quality_reason"].fillna("no reason given")
    keys = out[KEY].itertuples(index=False, name=None)
    return dict(zip(keys, reasons, strict=True))


def reason_faults(annotations: pd.DataFrame) -> list[Fault]:
    """Segments that are excluded without a reason."""
    if "quality" not in annotations:
        return []
    bare = annotations.index[(annotations["quality"] == "exclude") & annotations["quality_reason"].isna()]
    return [Fault(ANNOTATIONS, int(row), "quality_reason", "n/a", "why the segment is excluded") for row in bare]


def nobody_faults(
    screened: pd.Series, eligible: Collection[str], unusable: Collection[Key], found: Collection[Key]
) -> list[Fault]:
    """A cohort whose exclusions leave nobody, or no segment.

    Parameters
    ----------
    screened, eligible : participants, and those of them who are not excluded
    unusable, found : excluded segments, and segments with a volume
    """
    if not eligible:
        nobody = f"{len(screened)} participants, all of them excluded"
        return [Fault(PARTICIPANTS, None, None, nobody, "at least one who is not")]
    out = [key for key in unusable if key[0] in eligible]
    if out and not any(key[0] in eligible and key not in unusable for key in found):
        nothing = f"{len(out)} segments, all of them excluded"
        return [Fault(ANNOTATIONS, None, "quality", nothing, "at least one that is not")]
    return []


def flow(
    screened: Collection[str], excluded: Mapping[str, str], unusable: Mapping[Key, str], segments: pd.DataFrame
) -> pd.DataFrame:
    """From the screened to the analysed.

    Parameters
    ----------
    screened : participants
    excluded : reason by participant
    unusable : reason by segment
    segments : the analysed ones

    Returns
    -------
    DataFrame
        ``stage``, ``participants``, ``segments`` (nullable), ``reason``. Where segments of eligible patients are
        excluded, a stage "eligible" stands between the exclusion of patients and that of segments: the segments of
        each reason, and last the patients who have none left.
    """
    rows: list[tuple[str, int, int | None, str]] = [("screened", len(screened), None, "")]
    rows += [("excluded", count, None, reason) for reason, count in _counts(excluded.values())]
    out = {key: reason for key, reason in unusable.items() if key[0] in set(screened) - set(excluded)}
    analysed = set(segments["participant_id"])
    if out:
        gone = {key[0] for key in out} - analysed
        rows += [("eligible", len(analysed) + len(gone), len(segments) + len(out), "")]
        rows += [("excluded", 0, count, reason) for reason, count in _counts(out.values())]
        rows += [("excluded", len(gone), 0, NOTHING_LEFT)] * bool(gone)
    rows += [("analysed", len(analysed), len(segments), "")]
    table = pd.DataFrame(rows, columns=["stage", "participants", "segments", "reason"])
    return table.astype({"segments": "Int64"})


def _counts(reasons: Collection[str]) -> list[tuple[str, int]]:
    counts = pd.Series(list(reasons), dtype="str").value_counts(sort=False).sort_index()
    return [(str(reason), int(count)) for reason, count in counts.items()]


def with_bmi(people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Participants with a BMI wherever height and weight are known (weight in kg / height in m squared).

    Returns
    -------
    participants : DataFrame
    notices : how many were computed
    """
    computed = people["weight_kg"] / (people["height_cm"] / 100) ** 2
    new = people["bmi"].isna() & computed.notna()
    if not new.any():
        return people, []
    notice = f"bmi computed from height and weight ({_number(int(new.sum()), 'patient')})"
    return people.assign(bmi=people["bmi"].fillna(computed)), [notice]


def with_final_grades(grades: pd.DataFrame, unusable: Collection[Key]) -> tuple[pd.DataFrame, list[str]]:
    """Grades with a final one wherever it follows: the readers' where they agree, else the adjudicator's.

    The grade of a single reader stands alone.

    Parameters
    ----------
    grades : table of grades
    unusable : excluded segments, which need no grade

    Returns
    -------
    grades : DataFrame
    notices : how many final grades were derived
    """
    first, second, third = (grades[f"grade_{who}"] for who in ("reader1", "reader2", "adjudicator"))
    agreed = first.fillna(second).where((first == second) | first.isna() | second.isna())
    derived = agreed.where((first == second), third.fillna(agreed))
    wanted = ~pd.MultiIndex.from_frame(grades[KEY]).isin(list(unusable)) if unusable else True
    new = grades["grade_final"].isna() & derived.notna() & wanted
    if not new.any():
        return grades, []
    notice = f"grade_final derived from the readers' grades ({_number(int(new.sum()), 'segment')})"
    return grades.assign(grade_final=grades["grade_final"].mask(new, derived)), [notice]


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
