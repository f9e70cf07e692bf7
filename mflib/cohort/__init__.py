"""The cohort folder: its tables, its volumes, who is in, who is out and why. See ``data/README.md``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mflib import volume as volumes
from mflib.cohort import derivation, files, tables
from mflib.cohort.exclusion import exclusions, flow, nobody_faults, reason_faults, segment_exclusions
from mflib.cohort.tables import ANNOTATIONS, CLINICAL, GRADES, PARTICIPANTS, Fault
from mflib.volume import KEY, LEVELS, Annotation, Volume

NOTHING = f"no cohort here (no {files.DESCRIPTION}, no {PARTICIPANTS}, no volume named as in one)"
SOMETHING = "a cohort folder; mflib import makes one of scanner files"


class CohortError(ValueError):
    """A cohort folder with faults; ``faults`` holds every one of them."""

    def __init__(self, root: Path, faults: list[Fault]) -> None:
        self.faults = faults
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{len(faults)} fault{'s' * (len(faults) != 1)} in the cohort folder {root.name}:\n{lines}")


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
    volumes: dict[files.Key, str]
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
        paths = [files.DESCRIPTION, PARTICIPANTS, CLINICAL, GRADES, ANNOTATIONS, *self.segments["path"]]
        total = hashlib.sha256()
        for path in paths:
            for file in (self.root / path, volumes.find_sidecar(self.root / path) if path.startswith("sub-") else None):
                if file is not None and file.exists():
                    total.update(f"{file.relative_to(self.root)} {_sha256(file)}\n".encode())
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
        raise CohortError(root, folder.faults)
    return assemble(folder)


def read_folder(root: Path) -> Folder:
    """Read everything but voxels, sound or not."""
    if not root.is_dir():
        missing = Fault(str(root), None, None, "no such folder", "a cohort folder, or one that mflib phantom makes")
        return Folder(root, {}, {}, {}, [missing])
    found, wrong = files.find_volumes(root)
    if not found and not any((root / name).exists() for name in (files.DESCRIPTION, *tables.SCHEMAS)):
        return Folder(root, {}, {}, {}, [Fault(str(root), None, None, NOTHING, SOMETHING)])
    description, faults = files.read_description(root)
    read_tables = {name: tables.read(root, name) for name in tables.SCHEMAS}
    frames = {name: table for name, (table, _) in read_tables.items()}
    faults += [fault for _, faulty in read_tables.values() for fault in faulty]
    faults += [fault for name, table in frames.items() for fault in tables.doubled_keys(name, table)]
    unusable = segment_exclusions(frames[ANNOTATIONS])
    frames[PARTICIPANTS], notices = derivation.with_bmi(frames[PARTICIPANTS])
    frames[GRADES], derived = derivation.with_final_grades(frames[GRADES], unusable)
    faults += wrong + reason_faults(frames[ANNOTATIONS])
    excluded = exclusions(frames)
    faults += _new(files.grade_faults(frames[GRADES], excluded, unusable), faults)
    # A table without its key column or rows has been named already: every other one would seem to lack a partner.
    if all(frame["participant_id"].notna().any() for frame in frames.values()):
        eligible = set(frames[PARTICIPANTS]["participant_id"].dropna()) - set(excluded)
        faults += files.identity_faults(frames, found)
        faults += files.segment_faults(frames, found, eligible, unusable)
        faults += nobody_faults(frames[PARTICIPANTS], eligible, unusable, found)
    wanted = {key: path for key, path in found.items() if key not in unusable}
    faults += files.volume_faults(root, wanted, frames[ANNOTATIONS])
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
    annotations = frames[ANNOTATIONS][[*KEY, *tables.VOXELS]].dropna()
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


def _analysable(table: pd.DataFrame, excluded: Mapping[str, str], unusable: Mapping[files.Key, str]) -> pd.DataFrame:
    """The rows of a table of segments that neither their patient nor their quality excludes."""
    out = pd.MultiIndex.from_frame(table[KEY]).isin(list(unusable)) if unusable else False
    return table[~(table["participant_id"].isin(excluded) | out)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
