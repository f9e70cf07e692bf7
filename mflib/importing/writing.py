"""The import itself: one file at a time, each volume whole or not at all, continued where an earlier call stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mflib import volume as volumes
from mflib.cohort.files import Key
from mflib.importing import skeleton, sources
from mflib.importing.acquiring import acquire, spaced
from mflib.importing.errors import Refusal, SourceError
from mflib.importing.listing import refuse_in_cohort
from mflib.importing.mapping import Plan, Row
from mflib.lock import LockError, locked
from mflib.progress import Progress
from mflib.volume import FORMATS, Volume, VolumeError

Noted = tuple[int, str]


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

    def lines(self) -> list[str]:
        """The summary to print; rows stand for files, whose names may be those of patients."""
        did = "would be imported, nothing was written" if self.dry else "imported"
        counts = f"{len(self.imported)} {did}; {len(self.kept)} were there already; "
        counts += f"{self.skipped} rows skipped without a participant; {len(self.failures)} failed"
        lines = [f"notice: {text} ({_rows(rows)})" for text, rows in _by_text(self.notices)]
        lines += [f"not imported: {_rows(rows)} of {self.map_name}: {text}" for text, rows in _by_text(self.failures)]
        return [*lines, counts, *self._next()]

    def _next(self) -> list[str]:
        if self.dry or not (self.imported or self.kept):
            return []
        return [
            "next: fill in participants.tsv and phenotype/ (n/a is missing; grade_final follows from the readers),",
            f"then mflib annotate {self.cohort}, then mflib check {self.cohort}",
        ]


def run(plan: Plan, cohort: Path, *, dry: bool = False) -> Outcome:
    """Import the files of a plan; what cannot be imported is listed, and the others are.

    Parameters
    ----------
    plan : files and the segments that they become
    cohort : folder, made where it is missing; nothing in it is overwritten
    dry : look at everything and write nothing

    Raises
    ------
    SourceError
        The cohort cannot be added to, or holds the source or the map.
    """
    sources.refuse_nested(plan.source, cohort)
    refuse_in_cohort(plan.map_path, cohort)
    skeleton.refuse_other(cohort)
    outcome = Outcome(plan.map_path.name, cohort, dry, plan.skipped)
    if dry:
        _each(plan, cohort, outcome)
        return outcome
    try:
        with locked(cohort):
            skeleton.describe(cohort)
            done = _each(plan, cohort, outcome)
            skeleton.add_rows(cohort, done)
    except LockError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        raise SourceError(
            f"COHORT cannot be written to ({error.strerror}); the same command goes on from here"
        ) from error
    return outcome


def _each(plan: Plan, cohort: Path, outcome: Outcome) -> list[Key]:
    """Import row by row; returns the keys that the cohort has now."""
    progress = Progress("read" if outcome.dry else "imported", len(plan.rows))
    done = []
    for row in plan.rows:
        try:
            _one(row, plan, cohort, outcome)
            done.append(row.key)
        except Refusal as refusal:
            outcome.failures.append((row.number, str(refusal)))
        progress.advance()
    return done


def _one(row: Row, plan: Plan, cohort: Path, outcome: Outcome) -> None:
    volume, notices = _volume(row, plan)
    if _is_there(cohort, row.key, volume):
        outcome.kept.append(row.number)
        return
    if not outcome.dry:
        volumes.write(volume, _path(cohort, row.key))
    outcome.imported.append(row.number)
    outcome.notices += [(row.number, notice) for notice in notices]


def _volume(row: Row, plan: Plan) -> tuple[Volume, tuple[str, ...]]:
    """The volume that a row becomes, with its sidecar, and what a person should know of it."""
    acquisition = acquire(row.path, stated=row.spacing_mm, otherwise=plan.spacing_mm)
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
    range_db = row.dynamic_range_db or plan.dynamic_range_db
    if range_db is not None:
        sidecar["DynamicRangeDB"] = range_db
    return Volume(acquisition.voxels, spacing, sidecar), acquisition.notices


def _is_there(cohort: Path, key: Key, volume: Volume) -> bool:
    """Whether the cohort has this very volume already, whole and with its sidecar.

    The voxels are compared. A hash of the source would need no second look, but whoever has the volume and guesses a
    name could prove by it that the source holds that name.

    Raises
    ------
    Refusal
        Another volume of the same segment is there.
    """
    path = _path(cohort, key)
    stem = volumes.stem(path)
    others = [path.with_name(stem + suffix) for suffix in FORMATS]
    there = next((other for other in others if other.exists()), None)
    if there is None:
        return False
    try:
        kept = volumes.read(there)
    except VolumeError as error:
        raise Refusal(
            "a volume of this segment is there that cannot be read, expected none: delete it first"
        ) from error
    same = np.array_equal(kept.voxels, volume.voxels) and np.allclose(kept.spacing_mm, volume.spacing_mm, rtol=1e-4)
    if not same:
        raise Refusal("another volume or voxel size of this segment is there, expected none: delete it first")
    if volume.dynamic_range_db not in (None, kept.dynamic_range_db):
        raise Refusal(
            f"its volume is there with another dynamic range or none, expected {volume.dynamic_range_db:g} dB: "
            "write DynamicRangeDB into its sidecar, or delete it first"
        )
    return there != path or volumes.find_sidecar(there).exists()


def _path(cohort: Path, key: Key) -> Path:
    participant, level, lat = key
    return cohort / participant / "us" / f"{participant}_level-{level}_lat-{lat}_bmode.nii.gz"


def _by_text(noted: Iterable[Noted]) -> list[tuple[str, list[int]]]:
    rows: dict[str, list[int]] = {}
    for number, text in noted:
        rows.setdefault(text, []).append(number)
    return list(rows.items())


def _rows(numbers: list[int]) -> str:
    """Rows as people say them: ``row 4``, ``rows 2, 5-9``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    spans = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"row{'s' * (len(numbers) > 1)} {', '.join(spans)}"
