"""The cohort folder: what its parts say of each other, who is in, who is out and why. See ``data/README.md``."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mflib.base import tables
from mflib.base.encodings import read_json
from mflib.base.errors import CohortError, Fault, FileError
from mflib.base.files import PASSED_OVER, check_names, sha256
from mflib.base.words import KEY, LEVELS, SIDES
from mflib.data import cohort_tables
from mflib.data import volume as volumes
from mflib.data.cohort_tables import ANNOTATIONS, CLINICAL, GRADES, PARTICIPANTS, VOXELS, Key
from mflib.data.volume import FORMATS, Annotation, Header, Volume

DESCRIPTION = "dataset_description.json"
NAME = re.compile(rf"(sub-[0-9A-Za-z]+)_level-({'|'.join(LEVELS)})_lat-({'|'.join(SIDES)})_bmode", re.ASCII)
SPACING = tuple(f"voxel_{axis}_mm" for axis in "ijk")
SEGMENT_FILE = "sub-001/us/sub-001_level-L45_lat-L_bmode" + "|".join(FORMATS)
NOTHING = f"no cohort here (no {DESCRIPTION}, no {PARTICIPANTS}, no volume named as in one)"
SOMETHING = "a cohort folder; mflib import makes one of scanner files"
NOTHING_LEFT = "left without any segment (patients)"


@dataclass(frozen=True, eq=False)
class Folder:
    """What was read of a cohort folder, sound or not.

    Parameters
    ----------
    root : the folder
    description : its ``dataset_description.json``
    tables : the four tables by path, as ``cohort_tables.read_all`` gives them
    volumes : path of each volume relative to ``root`` by its key
    faults : everything that is wrong
    notices : what was filled in
    headers : of the volumes that nobody has excluded and whose headers can be read
    """

    root: Path
    description: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    volumes: dict[Key, str]
    faults: list[Fault]
    notices: list[str] = field(default_factory=list)
    headers: dict[Key, Header] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the folder calls itself, without characters that would steer a terminal."""
        said = str(self.description.get("Name", self.root.name))
        return "".join(letter for letter in said if letter.isprintable())

    def file(self, name: str) -> str:
        """The file of a table by its usual name, which may end otherwise; any other name as it is."""
        there = [other for kind in tables.KINDS if (self.root / (other := name.removesuffix(".tsv") + kind)).exists()]
        return there[0] if name in self.tables and len(there) == 1 else name

    @cached_property
    def excluded(self) -> dict[str, str]:
        """Reason of exclusion by participant."""
        return cohort_tables.exclusions(self.tables)

    @cached_property
    def unusable(self) -> dict[Key, str]:
        """Reason of exclusion by segment."""
        return cohort_tables.segment_exclusions(self.tables[ANNOTATIONS])

    @cached_property
    def eligible(self) -> set[str]:
        """Participants who are not excluded."""
        return set(self.tables[PARTICIPANTS]["participant_id"].dropna()) - set(self.excluded)

    @cached_property
    def annotations(self) -> dict[Key, tuple[int, Annotation]]:
        """Line and annotation of each row of ``refpoints_roi.tsv`` that has no faulty cell, by key."""
        rows = self.tables[ANNOTATIONS].dropna(subset=[*KEY, *VOXELS]).drop_duplicates(KEY)
        lines = zip(rows.index, rows.to_dict("records"), strict=True)
        return {(row["participant_id"], row["level"], row["lat"]): (n, Annotation.from_row(row)) for n, row in lines}


@dataclass(frozen=True, eq=False)
class Cohort:
    """A cohort whose tables and headers are sound; voxels are read one volume at a time.

    Parameters
    ----------
    root : the cohort folder
    name : what the folder calls itself
    synthetic : whether the volumes are simulated
    participants : all screened participants
    clinical, grades : the folder's tables, typed; grades of analysable segments only
    patients : analysed patients, one row each, with their clinical values
    segments : analysed segments, one row each, sorted by key: key, grade (0 to 3), label (grade > 0), path, voxel size
        (`SPACING`, in mm), annotation
    flow : stage, participants, segments, reason: from the screened to the analysed
    """

    root: Path
    name: str
    synthetic: bool
    participants: pd.DataFrame
    clinical: pd.DataFrame
    grades: pd.DataFrame
    patients: pd.DataFrame
    segments: pd.DataFrame
    flow: pd.DataFrame

    def volume(self, segment: Mapping[str, Any]) -> Volume:
        """Read the volume of one row of ``segments``."""
        return volumes.read(self.root / segment["path"])

    def annotation(self, segment: Mapping[str, Any]) -> Annotation:
        """Reference points and ROI of one row of ``segments``."""
        return Annotation.from_row(segment)

    def spacing(self, segment: Mapping[str, Any]) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm of one row of ``segments``."""
        i, j, k = (float(segment[name]) for name in SPACING)
        return i, j, k

    def in_short(self) -> str:
        """Patients, segments, and how many of them have which grade."""
        grades = self.segments["grade"].value_counts().sort_index()
        of_grades = ", ".join(f"{count} of grade {grade}" for grade, count in grades.items())
        return f"{len(self.patients)} patients, {len(self.segments)} segments: {of_grades}"

    def digest(self) -> str:
        """SHA-256 over what the tables say, however they are written, and the analysed volumes with their sidecars."""
        total = hashlib.sha256(json.dumps([self.name, self.synthetic]).encode())
        for table in (self.participants, self.clinical, self.grades, self.segments, self.flow):
            total.update(table.to_csv(index=False).encode())
        for volume in map(self.root.joinpath, self.segments["path"]):
            for file in filter(Path.exists, (volume, volumes.find_sidecar(volume))):
                total.update(f"{file.relative_to(self.root)} {sha256(file)}\n".encode())
        return total.hexdigest()


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the last change of each file that a study reads, by its path relative to ``root``."""
    read = [root / DESCRIPTION, *(tables.find(root / name) for name in cohort_tables.SCHEMAS)]
    found = {}
    for path in [*read, *root.glob("sub-*/us/*")]:
        with suppress(FileNotFoundError):
            stat = path.stat()
            if not PASSED_OVER.match(path.name):
                found[path.relative_to(root).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found


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
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return CohortError(f"{count} in the cohort folder {root.name}:", faults)


def read_folder(root: Path) -> Folder:
    """Read everything but voxels, sound or not."""
    check_names(root.absolute())
    if not root.is_dir():
        return _no_cohort(root, "no such folder", "a cohort folder, or one that mflib phantom makes")
    found, misnamed = find_volumes(root)
    tables_there = [(root / name).with_suffix(kind) for name in cohort_tables.SCHEMAS for kind in tables.KINDS]
    if not found and not any(path.exists() for path in (root / DESCRIPTION, *tables_there)):
        return _no_cohort(root, NOTHING, SOMETHING)
    description, faults = read_description(root)
    frames, wrong, notices = cohort_tables.read_all(root)
    folder = Folder(root, description, frames, found, [*faults, *wrong, *misnamed], notices)
    # A table without its key column or rows has been named already: every other one would seem to lack a partner.
    if all(table["participant_id"].notna().any() for table in frames.values()):
        folder.faults.extend([*_identity_faults(folder), *_segment_faults(folder), *_nobody_faults(folder)])
    folder.faults.extend(_volume_faults(folder))
    folder.faults[:] = [replace(fault, file=folder.file(fault.file)) for fault in folder.faults]
    return folder


def _no_cohort(root: Path, found: str, expected: str) -> Folder:
    frames = {name: cohort_tables.blank(name) for name in cohort_tables.SCHEMAS}
    return Folder(root, {}, frames, {}, [Fault(str(root), None, None, found, expected)])


def read_description(root: Path) -> tuple[dict[str, Any], list[Fault]]:
    """The ``dataset_description.json`` of a cohort folder."""

    def fault(found: str, expected: str = "a JSON object", field: str | None = None) -> Fault:
        return Fault(DESCRIPTION, None, field, found, expected)

    if not (root / DESCRIPTION).exists():
        return {}, [fault("no such file", "a JSON object with Name and BIDSVersion")]
    try:
        content = read_json(root / DESCRIPTION)
    except FileError as error:
        return {}, [fault(error.found)]
    kinds = {"Name": (str, "a text"), "Synthetic": (bool, "true or false without quotes")}
    return content, [
        fault(json.dumps(content[name]), expected, name)
        for name, (kind, expected) in kinds.items()
        if name in content and not isinstance(content[name], kind)
    ]


def find_volumes(root: Path) -> tuple[dict[Key, str], list[Fault]]:
    """Path of every volume relative to ``root`` by its key, and files in ``us/`` that cannot be one."""
    found: dict[Key, str] = {}
    faults = []
    for path in sorted(root.glob("sub-*/us/*")):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".json" or PASSED_OVER.match(path.name):
            continue
        match = NAME.fullmatch(volumes.stem(path)) if path.name.lower().endswith(FORMATS) else None
        if match is None or match[1] != path.parts[-3]:
            faults.append(Fault(name, None, None, "a file of this name", f"names like {SEGMENT_FILE}"))
        elif (earlier := found.setdefault((match[1], match[2], match[3]), name)) != name:
            faults.append(Fault(name, None, None, f"a second volume beside {earlier}", "one for each segment"))
    return found, faults


def volume_path(participant_id: str, level: str, lat: str) -> Path:
    """Where this package writes a volume, relative to the cohort's folder."""
    return Path(participant_id, "us", f"{participant_id}_level-{level}_lat-{lat}_bmode.nii.gz")


def orphan_sidecars(root: Path) -> list[str]:
    """Sidecars, relative to ``root``, without a volume of the same name: often a misspelt one."""
    return [
        path.relative_to(root).as_posix()
        for path in sorted(root.glob("sub-*/us/*.json"))
        if not any(path.with_name(path.stem + suffix).exists() for suffix in FORMATS)
    ]


def _identity_faults(folder: Folder) -> Iterator[Fault]:
    """Participants that one part of the folder names and another does not."""
    known = set(folder.tables[PARTICIPANTS]["participant_id"].dropna())
    expected = f"a participant of {PARTICIPANTS}"
    for name in (CLINICAL, GRADES, ANNOTATIONS):
        for row, participant in folder.tables[name]["participant_id"].dropna().items():
            if participant not in known:
                yield Fault(name, row, "participant_id", repr(participant), expected)
    for key, path in folder.volumes.items():
        if key[0] not in known:
            yield Fault(path, None, None, repr(key[0]), expected)
    for participant in sorted(known - set(folder.tables[CLINICAL]["participant_id"])):
        yield Fault(CLINICAL, None, "participant_id", f"no row for {participant}", f"one, as {PARTICIPANTS} names it")


def _segment_faults(folder: Folder) -> Iterator[Fault]:
    """Segments of eligible patients that lack a volume, a grade or an annotation; an unusable one needs none."""
    places: dict[str, dict[Key, str]] = {}
    for name in (GRADES, ANNOTATIONS):
        keys = folder.tables[name].dropna(subset=KEY)[KEY].itertuples(name=None)
        places[name] = {(participant, level, lat): f"{name}, row {row}" for row, participant, level, lat in keys}
    places["volume"] = folder.volumes
    named = {key for place in places.values() for key in place}
    for key in sorted(key for key in named if key[0] in folder.eligible and key not in folder.unusable):
        expected = f"one, as there is {' and '.join(place[key] for place in places.values() if key in place)}"
        for name in (name for name, place in places.items() if key not in place):
            file = volume_path(*key).as_posix().removesuffix(".nii.gz") if name == "volume" else name
            found = f"no {'volume' if name == 'volume' else 'row'} for {' '.join(key)}"
            yield Fault(file, None, None, found, expected)
    expected = f"volumes, grades and annotations, or the reason of exclusion in column screening of {CLINICAL}"
    for participant in sorted(folder.eligible - {key[0] for key in named}):
        yield Fault(PARTICIPANTS, None, "participant_id", f"{participant} without any segment", expected)


def _nobody_faults(folder: Folder) -> Iterator[Fault]:
    """A cohort whose exclusions leave nobody, or no segment."""
    if not folder.eligible:
        found = f"{len(folder.tables[PARTICIPANTS])} participants, all of them excluded"
        yield Fault(PARTICIPANTS, None, None, found, "at least one who is not")
        return
    out = [key for key in folder.unusable if key[0] in folder.eligible]
    if out and not any(key[0] in folder.eligible and key not in folder.unusable for key in folder.volumes):
        found = f"{len(out)} segments, all of them excluded"
        yield Fault(ANNOTATIONS, None, "quality", found, "at least one that is not")


def _volume_faults(folder: Folder) -> Iterator[Fault]:
    """Headers that cannot be used, and annotations that leave their volume; the headers are kept."""
    for key, name in folder.volumes.items():
        if key in folder.unusable:
            continue
        try:
            header = folder.headers[key] = volumes.read_header(folder.root / name)
        except FileError as error:
            yield Fault(name, None, None, str(error), "a readable volume and sidecar")
            continue
        for found, expected in header.problems:
            yield Fault(name, None, None, found, expected)
        line, annotation = folder.annotations.get(key, (None, None))
        if annotation is not None and len(header.shape) == 3:
            for mark, axis in annotation.outside(header.shape):
                yield Fault(ANNOTATIONS, line, *_left(annotation, mark, axis, header.shape[axis]))


def _left(annotation: Annotation, name: str, axis: int, n: int) -> tuple[str, str, str]:
    """Column, found and expected of a mark that leaves the ``n`` voxels of a volume along an axis."""
    first, size = (place[axis] for place in annotation.boxes[name])
    if name == "roi" and 0 <= first < n:
        return f"roi_n{'ijk'[axis]}", f"ROI voxels {first} to {first + size - 1}", f"at most {n - 1}"
    return f"{name}_{'ijk'[axis]}", str(first), f"0 to {n - 1}, inside the volume"


def assemble(folder: Folder) -> Cohort:
    """The cohort in a folder without faults."""
    frames = folder.tables
    found = [[*key, folder.volumes[key], *header.spacing_mm] for key, header in folder.headers.items()]
    paths = pd.DataFrame(found, columns=[*KEY, "path", *SPACING])
    out = pd.MultiIndex.from_frame(frames[GRADES][KEY]).isin(list(folder.unusable))
    graded = frames[GRADES][~(frames[GRADES]["participant_id"].isin(folder.excluded) | out)]
    segments = graded.rename(columns={"grade_final": "grade"})[[*KEY, "grade"]].merge(paths, on=KEY)
    segments = segments.merge(frames[ANNOTATIONS][[*KEY, *VOXELS]].dropna(), on=KEY)
    segments = segments.astype(dict.fromkeys(segments.select_dtypes("Int64"), int))
    segments.insert(4, "label", (segments["grade"] > 0).astype(int))
    segments = segments.sort_values(KEY, ignore_index=True)  # the names of the levels are in the spine's order
    people = frames[PARTICIPANTS].merge(frames[CLINICAL], on="participant_id", suffixes=("", "_clinical"))
    analysed = people["participant_id"].isin(segments["participant_id"])
    return Cohort(
        root=folder.root,
        name=folder.name,
        synthetic=folder.description.get("Synthetic") is True,
        participants=frames[PARTICIPANTS].reset_index(drop=True),
        clinical=frames[CLINICAL].reset_index(drop=True),
        grades=graded.reset_index(drop=True),
        patients=people[analysed].sort_values("participant_id", ignore_index=True),
        segments=segments,
        flow=_flow(folder, segments),
    )


def _flow(folder: Folder, segments: pd.DataFrame) -> pd.DataFrame:
    """From the screened to the analysed: ``stage``, ``participants``, ``segments`` (nullable), ``reason``.

    Where segments of eligible patients are excluded, a stage "eligible" stands between the exclusion of patients and
    that of segments: the segments of each reason, and last the patients who have none left.
    """
    rows: list[tuple[str, int, int | None, str]] = [("screened", len(folder.tables[PARTICIPANTS]), None, "")]
    rows += [("excluded", n, None, reason) for reason, n in sorted(Counter(folder.excluded.values()).items())]
    out = {key: reason for key, reason in folder.unusable.items() if key[0] in folder.eligible}
    analysed = set(segments["participant_id"])
    if out:
        gone = {key[0] for key in out} - analysed
        rows += [("eligible", len(analysed) + len(gone), len(segments) + len(out), "")]
        rows += [("excluded", 0, n, reason) for reason, n in sorted(Counter(out.values()).items())]
        if gone:
            rows += [("excluded", len(gone), 0, NOTHING_LEFT)]
    rows += [("analysed", len(analysed), len(segments), "")]
    return pd.DataFrame(rows, columns=["stage", "participants", "segments", "reason"]).astype({"segments": "Int64"})
