"""The import itself: one file at a time, each volume whole or not at all, continued where an earlier call stopped."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from mflib.base import files, tables
from mflib.base.errors import CohortError, FileError
from mflib.base.progress import counted
from mflib.base.words import KEY
from mflib.data import volume as volumes
from mflib.data.cohort import DESCRIPTION, read_description, volume_path
from mflib.data.cohort_tables import (
    ANNOTATION_COLUMNS,
    ANNOTATIONS,
    CLINICAL,
    GRADES,
    PARTICIPANTS,
    SCHEMAS,
    Key,
    key_of,
)
from mflib.data.intake.acquisition import acquire, spaced
from mflib.data.intake.geometry import Spacing
from mflib.data.intake.listing import keep_apart
from mflib.data.intake.mapping import Plan, Row
from mflib.data.volume import FORMATS, Volume

README = """Ultrasound volumes of the lumbar multifidus, imported with mflib

The volumes are without names: only grey levels, voxel size and listed technical facts were taken over from the
scanner's files. The tables are in the manner of BIDS; n/a stands where a person has still to fill in a value.
"""


def refuse_other(cohort: Path) -> None:
    """Refuse a folder that is no cohort of patients, or whose tables cannot be added to.

    Raises
    ------
    CohortError
        Says what lies there.
    """
    if cohort.exists() and not cohort.is_dir():
        raise CohortError("COHORT: found a file, expected a folder")
    description, faults = read_description(cohort)
    if (cohort / DESCRIPTION).exists() and faults:
        raise CohortError("COHORT cannot be added to:", faults)
    if description.get("Synthetic") is True:
        raise CohortError("COHORT: found a synthetic cohort, expected one of patients or a new folder")
    for table in (PARTICIPANTS, CLINICAL, GRADES):
        if _found(cohort, table).exists():
            _table(cohort, table)


def describe(cohort: Path) -> None:
    """Write the description, the README and what BIDS is to pass over, where they are not there."""
    cohort.mkdir(parents=True, exist_ok=True)
    content = {"Name": cohort.resolve().name, "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    files.write_new(cohort / DESCRIPTION, json.dumps(content, indent=2) + "\n")
    files.write_new(cohort / ".bidsignore", "**/us/\n")
    files.write_new(cohort / "README", README)


def add_rows(cohort: Path, keys: Iterable[Key]) -> None:
    """Add the rows that are missing in the tables; whatever stands there stays as it is."""
    segments = sorted(set(keys))
    people = sorted({(key[0],) for key in segments})
    files.write_new(_found(cohort, ANNOTATIONS), "\t".join(ANNOTATION_COLUMNS) + "\n")
    _append(cohort, PARTICIPANTS, people)
    _append(cohort, CLINICAL, people, screening="eligible")
    _append(cohort, GRADES, segments)


def _append(cohort: Path, name: str, keys: Sequence[tuple[str, ...]], **values: str) -> None:
    """Append a row for each key that has none."""
    files.write_new(path := _found(cohort, name), "\t".join(SCHEMAS[name]) + "\n")
    table, columns = _table(cohort, name), _keys(name)
    there = (key_of(dict(zip(table.header, row, strict=False))) for row in table.rows.values())
    present = {key[: len(columns)] for key in there}
    if new := [dict(zip(columns, key, strict=True)) for key in keys if key not in present]:
        rows = [dict.fromkeys(table.header, "n/a") | values | key for key in new]
        tables.append(path, [[row[column] for column in table.header] for row in rows], table.dialect)


def _keys(name: str) -> list[str]:
    return [column for column in KEY if column in SCHEMAS[name]]


def _found(cohort: Path, name: str) -> Path:
    try:
        return tables.find(cohort / name)
    except FileError as error:
        raise CohortError(f"{name}: {error}") from error


def _table(cohort: Path, name: str) -> tables.Cells:
    """A table to which rows can be added."""
    try:
        table = tables.read(_found(cohort, name), list(SCHEMAS[name]), "participant_id")
        table.check_columns(_keys(name))
        table.dialect.encode([])
        table.records()
    except FileError as error:
        raise CohortError(f"{name}: {error}; mend it before rows are added") from error
    return table


Noted = tuple[int, str]
NEXT = "next: fill in participants.tsv and phenotype/ (n/a is missing; grade_final follows from the readers),"


@dataclass
class Outcome:
    """What became of each row of the map.

    Parameters
    ----------
    map_name, cohort : what the rows came from and went to
    dry : nothing was written, ``imported`` are those that would be
    skipped : rows without a participant
    imported, kept : rows that were imported now, and earlier
    failures, notices : row and reason, row and what a person should know
    """

    map_name: str
    cohort: Path
    dry: bool
    skipped: int
    imported: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    failures: list[Noted] = field(default_factory=list)
    notices: list[Noted] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The summary to print; rows stand for files, whose names may be those of patients."""
        for text, rows in _by_text(self.notices):
            yield f"notice: {text} ({rows})"
        for text, rows in _by_text(self.failures):
            yield f"not imported: {rows} of {self.map_name}: {text}"
        did = "would be imported, nothing was written" if self.dry else "imported"
        there = f"{len(self.imported)} {did}; {len(self.kept)} were there already"
        yield f"{there}; {self.skipped} rows skipped without a participant; {len(self.failures)} failed"
        if not self.dry and (self.imported or self.kept):
            yield NEXT
            annotate, check = (shlex.join(["mflib", name, str(self.cohort)]) for name in ("annotate", "check"))
            yield f"then {annotate}, then {check}"


def run(plan: Plan, cohort: Path, *, dry: bool = False) -> Outcome:
    """Import the files of a plan; what cannot be imported is listed, and the others are.

    Parameters
    ----------
    plan : files and the segments that they become
    cohort : folder, made where it is missing; nothing in it is overwritten
    dry : look at everything and write nothing

    Raises
    ------
    CohortError
        The cohort cannot be added to, or holds the source or the map.
    BusyError, OSError
        Another process is writing to it, or nobody can.
    """
    keep_apart(plan.source, plan.map_path, cohort)
    refuse_other(cohort)
    outcome = Outcome(plan.map_path.name, cohort, dry, plan.skipped)
    if dry:
        _each(plan, cohort, outcome)
        return outcome
    with files.locked(cohort):
        describe(cohort)
        add_rows(cohort, _each(plan, cohort, outcome))
    return outcome


def _each(plan: Plan, cohort: Path, outcome: Outcome) -> list[Key]:
    """Import row by row; returns the keys that the cohort has now."""
    done = []
    for row in counted("read" if outcome.dry else "imported", len(plan.rows), plan.rows):
        try:
            volume, notices = _volume(row, plan.spacing_mm)
            if _is_there(path := cohort / volume_path(*row.key), volume):
                outcome.kept.append(row.number)
            else:
                if not outcome.dry:
                    volumes.write(volume, path)
                outcome.imported.append(row.number)
                outcome.notices += [(row.number, notice) for notice in notices]
            done.append(row.key)
        except FileError as refusal:
            outcome.failures.append((row.number, str(refusal)))
    return done


def _volume(row: Row, otherwise: Spacing | None) -> tuple[Volume, tuple[str, ...]]:
    """The volume that a row becomes, with its sidecar, and what a person should know of it."""
    acquisition = acquire(row.path, stated=row.spacing_mm, otherwise=otherwise)
    spacing = spaced(acquisition)
    _, level, lat = row.key
    sidecar = {
        **acquisition.technical,
        "BodyPart": "Lumbar multifidus",
        "SpinalLevel": level,
        "Laterality": lat,
        "AxisNames": ["lateral", "depth", "elevation"],
        "SpacingSource": acquisition.spacing_source,
    }
    if row.dynamic_range_db is not None:
        sidecar["DynamicRangeDB"] = row.dynamic_range_db
    return Volume(acquisition.voxels, spacing, sidecar), acquisition.notices


def _is_there(path: Path, volume: Volume) -> bool:
    """Whether the cohort has this very volume already, whole and with its sidecar.

    The voxels are compared. A hash of the source would need no second look, but whoever has the volume and guesses a
    name could prove by it that the source holds that name.

    Raises
    ------
    FileError
        Another volume of the same segment is there.
    """
    others = (path.with_name(volumes.stem(path) + suffix) for suffix in FORMATS)
    there = next(filter(Path.exists, others), None)
    if there is None:
        return False
    try:
        kept = volumes.read(there)
    except FileError as error:
        raise FileError("an unreadable volume of this segment is there, expected none: delete it first") from error
    if not (np.array_equal(kept.voxels, volume.voxels) and np.allclose(kept.spacing_mm, volume.spacing_mm, rtol=1e-4)):
        raise FileError("another volume or voxel size of this segment is there, expected none: delete it first")
    if volume.dynamic_range_db not in (None, kept.dynamic_range_db):
        expected = f"{volume.dynamic_range_db:g} dB: write DynamicRangeDB into its sidecar, or delete it first"
        raise FileError(f"its volume is there with another dynamic range or none, expected {expected}")
    return there != path or volumes.find_sidecar(there).exists()


def _by_text(noted: Sequence[Noted]) -> Iterator[tuple[str, str]]:
    """Each text with its rows as people say them: ``row 4``, ``rows 2, 5-9``."""
    for text in dict.fromkeys(text for _, text in noted):
        numbers = sorted(number for number, other in noted if other == text)
        # Rows that follow each other are equally far from their places.
        runs = [[row for _, row in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
        spans = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
        yield text, f"{'row' if len(numbers) == 1 else 'rows'} {', '.join(spans)}"
