"""What the tables and the volume files of a cohort folder say of each other."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from mflib.base.errors import FileError
from mflib.base.words import KEY, LEVELS, SIDES
from mflib.data import volume as volumes
from mflib.data.cohort_tables import ANNOTATIONS, CLINICAL, GRADES, PARTICIPANTS, VOXELS, Fault
from mflib.data.volume import FORMATS, Annotation

DESCRIPTION = "dataset_description.json"
NAME = re.compile(rf"(sub-[0-9A-Za-z]+)_level-({'|'.join(LEVELS)})_lat-({'|'.join(SIDES)})_bmode", re.ASCII)
SEGMENT_FILE = "sub-001/us/sub-001_level-L45_lat-L_bmode" + "|".join(FORMATS)
GRADE_RULE = "0 to 3; both readers' grade where they agree, else the adjudicator's"
Key = tuple[str, str, str]


def read_description(root: Path) -> tuple[dict[str, Any], list[Fault]]:
    """The ``dataset_description.json`` of a cohort folder."""
    try:
        content = json.loads((root / DESCRIPTION).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}, [Fault(DESCRIPTION, None, None, "no such file", "a JSON object with Name and BIDSVersion")]
    except OSError as error:
        return {}, [Fault(DESCRIPTION, None, None, f"a file that cannot be read ({error})", "a JSON object")]
    except ValueError as error:
        return {}, [Fault(DESCRIPTION, None, None, f"no valid JSON ({error})", "a JSON object")]
    if not isinstance(content, dict):
        return {}, [Fault(DESCRIPTION, None, None, f"a {type(content).__name__}", "a JSON object")]
    kinds = {"Name": (str, "a text"), "Synthetic": (bool, "true or false without quotes")}
    return content, [
        Fault(DESCRIPTION, None, field, json.dumps(content[field]), expected)
        for field, (kind, expected) in kinds.items()
        if field in content and not isinstance(content[field], kind)
    ]


def find_volumes(root: Path) -> tuple[dict[Key, str], list[Fault]]:
    """Path of every volume relative to ``root`` by its key, and files in ``us/`` that cannot be one."""
    found: dict[Key, str] = {}
    faults = []
    for path in sorted(root.glob("sub-*/us/*")):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".json" or path.name.startswith((".", "partial-")):
            continue
        try:
            match = NAME.fullmatch(volumes.stem(path))
        except FileError:
            match = None
        if match is None or match[1] != path.parts[-3]:
            faults.append(Fault(name, None, None, "a file of this name", f"names like {SEGMENT_FILE}"))
            continue
        key = (match[1], match[2], match[3])
        if key in found:
            faults.append(Fault(name, None, None, f"a second volume beside {found[key]}", "one for each segment"))
        found.setdefault(key, name)
    return found, faults


def orphan_sidecars(root: Path) -> list[str]:
    """Sidecars, relative to ``root``, without a volume of the same name: often a misspelt one."""
    return [
        path.relative_to(root).as_posix()
        for path in sorted(root.glob("sub-*/us/*.json"))
        if not any(path.with_name(path.stem + suffix).exists() for suffix in FORMATS)
    ]


def identity_faults(tables: dict[str, pd.DataFrame], found: dict[Key, str]) -> list[Fault]:
    """Participants that one part of the folder names and another does not."""
    known = set(tables[PARTICIPANTS]["participant_id"].dropna())
    expected = f"a participant of {PARTICIPANTS}"
    faults = [
        Fault(name, int(row), "participant_id", repr(participant), expected)
        for name in (CLINICAL, GRADES, ANNOTATIONS)
        for row, participant in tables[name]["participant_id"].dropna().items()
        if participant not in known
    ]
    faults += [Fault(path, None, None, repr(key[0]), expected) for key, path in found.items() if key[0] not in known]
    recorded = set(tables[CLINICAL]["participant_id"])
    return faults + [
        Fault(CLINICAL, None, "participant_id", f"no row for {participant}", f"one, as {PARTICIPANTS} names it")
        for participant in sorted(known - recorded)
    ]


def segment_faults(
    tables: dict[str, pd.DataFrame], found: dict[Key, str], eligible: set[str], unusable: Collection[Key]
) -> list[Fault]:
    """Segments of eligible patients that lack a volume, a grade or an annotation; an unusable one needs none."""
    places: dict[str, dict[Key, str]] = {
        GRADES: _rows(GRADES, tables[GRADES]),
        ANNOTATIONS: _rows(ANNOTATIONS, tables[ANNOTATIONS]),
        "volume": found,
    }
    faults = []
    wanted = {key for place in places.values() for key in place if key[0] in eligible and key not in unusable}
    for key in sorted(wanted):
        present = [place[key] for place in places.values() if key in place]
        for name in (name for name, place in places.items() if key not in place):
            participant, level, lat = key
            file = f"{participant}/us/{participant}_level-{level}_lat-{lat}_bmode" if name == "volume" else name
            faults.append(
                Fault(file, None, None, f"no {'volume' if name == 'volume' else 'row'} for {' '.join(key)}",
                      "one, as there is " + " and ".join(present))
            )  # fmt: skip
    scanned = {key[0] for place in places.values() for key in place}
    return faults + [
        Fault(PARTICIPANTS, None, "participant_id", f"{participant} without any segment",
              f"volumes, grades and annotations, or the reason of exclusion in column screening of {CLINICAL}")
        for participant in sorted(eligible - scanned)
    ]  # fmt: skip


def _rows(name: str, table: pd.DataFrame) -> dict[Key, str]:
    complete = table.dropna(subset=KEY)
    keys = complete[KEY].itertuples(index=False, name=None)
    return {key: f"{name}, row {row}" for key, row in zip(keys, complete.index, strict=True)}


def grade_faults(grades: pd.DataFrame, excluded: Collection[str], unusable: Collection[Key]) -> list[Fault]:
    """Final grades that the readers and the adjudicator do not lead to; who or what is excluded needs none."""
    faults = []
    columns = ["grade_reader1", "grade_reader2", "grade_adjudicator", "grade_final"]
    for row, *key, first, second, third, final in grades[[*KEY, *columns]].itertuples(name=None):
        if pd.isna(final):
            if key[0] not in excluded and tuple(key) not in unusable:
                faults.append(Fault(GRADES, row, "grade_final", "n/a", GRADE_RULE))
            continue
        if pd.isna(first) or pd.isna(second):
            continue
        said = f"readers {first} and {second}, adjudicator {'n/a' if pd.isna(third) else third}, final {final}"
        if first == second and final != first:
            faults.append(Fault(GRADES, row, "grade_final", said, f"{first}, as both readers say"))
        elif first != second and pd.isna(third):
            faults.append(Fault(GRADES, row, "grade_adjudicator", said, "a grade, as the readers differ"))
        elif first != second and final != third:
            faults.append(Fault(GRADES, row, "grade_final", said, f"{third}, as the adjudicator says"))
    return faults


def complete_annotations(table: pd.DataFrame) -> dict[Key, tuple[int, Annotation]]:
    """Line and annotation of each row of ``refpoints_roi.tsv`` that has no faulty cell, by key."""
    rows = table.dropna(subset=[*KEY, *VOXELS]).drop_duplicates(KEY)
    lines = zip(rows.index, rows.to_dict("records"), strict=True)
    return {(row["participant_id"], row["level"], row["lat"]): (int(n), Annotation.from_row(row)) for n, row in lines}


def volume_faults(root: Path, found: dict[Key, str], annotations: pd.DataFrame) -> list[Fault]:
    """Headers that cannot be used, and annotations that leave their volume."""
    by_key = complete_annotations(annotations)
    faults = []
    for key, name in found.items():
        try:
            header = volumes.read_header(root / name)
        except FileError as error:
            faults.append(Fault(name, None, None, str(error), "a readable volume and sidecar"))
            continue
        faults += [Fault(name, None, None, *problem) for problem in volumes.header_problems(header)]
        if key in by_key and len(header.shape) == 3:
            line, annotation = by_key[key]
            faults += [
                Fault(ANNOTATIONS, line, *_left(annotation, *leaves, header.shape))
                for leaves in annotation.outside(header.shape)
            ]
    return faults


def _left(annotation: Annotation, name: str, axis: int, shape: tuple[int, ...]) -> tuple[str, str, str]:
    """Column, found and expected of a mark that leaves a volume of this shape along an axis."""
    first, size = (place[axis] for place in annotation.boxes[name])
    n, letter = shape[axis], "ijk"[axis]
    if name == "roi" and 0 <= first < n:
        return f"roi_n{letter}", f"ROI voxels {first} to {first + size - 1}", f"at most {n - 1}"
    return f"{name}_{letter}", str(first), f"0 to {n - 1}, inside the volume"
