"""What one person says of one volume, the table of it on disk, and how far two people agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mflib.base import files, tables, vocabulary
from mflib.base.errors import BusyError, FileError, InputError
from mflib.base.progress import counted
from mflib.base.words import KEY
from mflib.data import cohort_tables, preprocess
from mflib.data import volume as volumes
from mflib.data.cohort import Cohort, find_volumes
from mflib.data.cohort_tables import ANNOTATION_COLUMNS, ANNOTATIONS, VOXELS, Key
from mflib.data.volume import Annotation, Index
from mflib.stats import reliability

SECOND = ANNOTATIONS.replace(".tsv", "_second.tsv")
POINTS = ("bone", "shadow")
REASONS = ("bone not visible", "shadow not visible", "muscle cut off", "motion", "wrong level")
MISSING = "n/a"
Roi = tuple[Index, Index]


@dataclass(frozen=True)
class Marks:
    """The marks on one volume, in 0-based voxels (i, j, k).

    Parameters
    ----------
    bone, shadow : reference points
    roi : first voxel and extent of the region of interest
    suggested : which of ``bone``, ``shadow`` and ``roi`` are computed and not yet confirmed by anybody
    excluded : why the volume cannot be used; empty where it can
    annotator, annotated_at : who confirmed these marks, and when (UTC); ``n/a`` where a table does not say
    confirmed : whether somebody did
    """

    bone: Index | None = None
    shadow: Index | None = None
    roi: Roi | None = None
    suggested: frozenset[str] = frozenset()
    excluded: str = ""
    annotator: str = ""
    annotated_at: str = ""
    confirmed: bool = False

    @property
    def annotation(self) -> Annotation | None:
        """The marks as what the rest of the study takes, None where one is missing."""
        if self.bone is None or self.shadow is None or self.roi is None:
            return None
        return Annotation(self.bone, self.shadow, *self.roi)

    def edited(self, **changes: object) -> Marks:
        """Other marks, which nobody has confirmed yet; what is changed by hand is no suggestion any more."""
        kept = self.suggested - changes.keys()
        return replace(self, **{"suggested": kept, **changes}, annotator="", annotated_at="", confirmed=False)  # type: ignore[arg-type]

    def confirm(self, annotator: str, when: str) -> Marks:
        """The same marks, confirmed.

        Raises
        ------
        InputError
            A usable volume lacks a point or the region.
        """
        if (missing := [name for name in (*POINTS, "roi") if getattr(self, name) is None]) and not self.excluded:
            raise InputError(f"not marked yet: {', '.join(missing)}; mark it, or exclude the volume with a reason")
        return replace(self, suggested=frozenset(), annotator=annotator, annotated_at=when, confirmed=True)


def from_cells(cells: Mapping[str, str]) -> Marks | None:
    """The marks in a row of ``refpoints_roi.tsv``, None where it is neither complete nor an exclusion.

    Raises
    ------
    InputError
        A cell is no voxel.
    """
    said = dict.fromkeys(ANNOTATION_COLUMNS, MISSING) | dict(cells)
    excluded = cohort_tables.excludes(said["quality"])
    given = {name: said[name] for name in VOXELS if not vocabulary.is_nothing(said[name])}
    reason = said["quality_reason"] if excluded else ""
    signed = Marks(excluded=reason, annotator=said["annotator"], annotated_at=said["annotated_at"], confirmed=True)
    if len(given) < len(VOXELS):
        return signed if excluded else None
    if wrong := [f"{name} {cell!r}" for name, cell in given.items() if not cell.isdecimal()]:
        raise InputError(f"found {', '.join(wrong)}; expected whole numbers of voxels from 0")
    found = Annotation.from_row(given)
    return replace(signed, bone=found.bone, shadow=found.shadow, roi=(found.roi_start, found.roi_size))


def to_cells(marks: Marks) -> dict[str, str]:
    """The row of ``refpoints_roi.tsv``, without its key."""
    start, size = marks.roi or ((), ())
    cells = dict.fromkeys(VOXELS, MISSING)
    for prefix, place in (("bone_", marks.bone), ("shadow_", marks.shadow), ("roi_", start), ("roi_n", size)):
        cells |= {prefix + axis: str(at) for axis, at in zip("ijk", place or (), strict=False)}
    quality = {"quality": "exclude" if marks.excluded else "ok", "quality_reason": marks.excluded or MISSING}
    return {**cells, "annotator": marks.annotator, "annotated_at": marks.annotated_at, **quality}


def fit(start: Sequence[int], size: Sequence[int], shape: tuple[int, ...]) -> Roi:
    """A region of interest moved and cut so that it lies inside a volume of this shape, at least 2 voxels wide."""
    ni, nj, nk = (min(max(int(extent), 2), n) for extent, n in zip(size, shape, strict=True))
    i, j, k = (min(max(int(at), 0), n - e) for at, e, n in zip(start, (ni, nj, nk), shape, strict=True))
    return (i, j, k), (ni, nj, nk)


PATIENCE_S = 10.0
Row = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """The table's cells.

    Parameters
    ----------
    columns : all columns of the file, and those of ``ANNOTATION_COLUMNS`` that it lacks
    rows : cells by column, by key, in the file's order
    dialect : how the file writes them
    """

    columns: tuple[str, ...]
    rows: dict[Key, dict[str, str]]
    dialect: tables.Dialect


def read_rows(path: Path) -> Table:
    """Read a table of annotations; one that is not there yet has no rows.

    Raises
    ------
    InputError
        The file is no such table. To go on would lose rows that somebody wrote.
    """
    try:
        path = tables.find(path)
        if not path.exists() or not path.read_bytes().strip():
            return Table(ANNOTATION_COLUMNS, {}, tables.Dialect())
        found = tables.read(path, ANNOTATION_COLUMNS)
        found.check_columns(KEY)
        records = found.records()
    except FileError as error:
        raise InputError(f"{path.name}: {error}") from error
    if found.line > 1:
        raise InputError(f"{path.name}: found lines above the header, expected the header in row 1: they would be lost")
    rows: dict[Key, dict[str, str]] = {}
    for number, named in records.items():
        key = cohort_tables.key_of(named)
        if key in rows:
            raise InputError(f"{path.name}, row {number}: found {' '.join(key)} again, expected each key once")
        rows[key] = named
    return Table(tuple(dict.fromkeys([*found.header, *ANNOTATION_COLUMNS])), rows, found.dialect)


def write_row(path: Path, key: Key, wanted: Row | None, seen: Row | None) -> Table:
    """Put one row into the table, or take it out, and leave all others as they are on disk now.

    Parameters
    ----------
    wanted : cells of the row, None to take it out; columns that are not named keep what they hold
    seen : the row as the caller last saw it

    Returns
    -------
    Table
        As it is on disk now.

    Raises
    ------
    BusyError
        The row on disk is not the one that was seen.
    InputError
        The file is no such table any more, or its encoding lacks a letter of the row.
    BusyError, OSError
        Another process is writing, or the disk does not take it. The file is as it was.
    """
    with files.locked(path.parent, PATIENCE_S):
        table = read_rows(path)
        found = table.rows.get(key)
        if _said(found) != _said(seen):
            who = "removed" if found is None else f"changed by {found.get('annotator', MISSING)}"
            said = f"not saved: {' '.join(key)} was {who} on disk meanwhile; do it again to replace that"
            raise BusyError(said, changed=True, found=found)
        if wanted is None:
            table.rows.pop(key, None)
        else:
            table.rows[key] = {**(found or {}), **wanted, **dict(zip(KEY, key, strict=True))}
        lines = [[row.get(column, MISSING) for column in table.columns] for row in table.rows.values()]
        written = [table.dialect.names.get(column, column) for column in table.columns]
        try:
            tables.write(path, table.dialect.mark + table.dialect.encode([written, *lines]))
        except FileError as error:
            raise InputError(f"not saved in {path.name}: {error}") from error
    return table


def _said(cells: Row | None) -> dict[str, str] | None:
    """A row without its empty cells: a column added by somebody else changes nothing in it."""
    return None if cells is None else {name: cell for name, cell in cells.items() if cell not in ("", MISSING)}


MEASURES = {"bone_mm": 95, "shadow_mm": 95, "dice": 5, "iou": 5}  # and the percentile at which each is bad
COLUMNS = [*KEY, "first", "second", *MEASURES, "mean_first", "mean_second", "difference"]
GAIN = preprocess.GainSettings()
LIMITS = 1.96  # standard deviations: 95 % of normal differences
AGREED = (
    "{marked}: bones {bone:.1f} mm apart (median); the normalised mean differs by {bias:.1f} grey levels "
    "(limits of agreement {low:.1f} to {high:.1f}), ICC {icc:.2f} ({icc_low:.2f} to {icc_high:.2f}).{out}"
)


@dataclass(frozen=True)
class MeanAgreement:
    """Agreement of the regions' mean grey level after gain normalisation, in grey levels.

    Parameters
    ----------
    bias : mean of second minus first
    low, high : 95 % limits of agreement (Bland & Altman 1986, doi:10.1016/S0140-6736(86)90837-8)
    icc, icc_low, icc_high : ICC(2,1) with its 95 % interval
    """

    bias: float
    low: float
    high: float
    icc: float
    icc_low: float
    icc_high: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """A second pass held against the first.

    Parameters
    ----------
    segments : marked by both: KEY, ``first`` and ``second`` (annotators), ``bone_mm``, ``shadow_mm`` (distances),
        ``dice``, ``iou`` (overlap of the regions), ``mean_first``, ``mean_second``, ``difference`` (second - first) of
        the normalised mean
    left_out : KEY and ``reason`` of segments in both passes that cannot be compared
    summary : ``measure``, ``n``, ``median``, ``percentile`` (95 for distances, 5 for overlaps), ``at_percentile``
    means : of the normalised mean; None with fewer than two segments
    """

    segments: pd.DataFrame
    left_out: pd.DataFrame
    summary: pd.DataFrame
    means: MeanAgreement | None

    def __str__(self) -> str:
        """The result in a sentence."""
        out = f" {len(self.left_out)} more cannot be compared." if len(self.left_out) else ""
        marked = f"{len(self.segments)} segments are marked by both"
        if self.means is None:
            return f"{marked}, expected at least two.{out}"
        return AGREED.format(marked=marked, bone=self.segments["bone_mm"].median(), out=out, **vars(self.means))


def compare(cohort: Cohort | Path | str) -> Agreement:
    """Hold the second pass against the first, segment by segment.

    Parameters
    ----------
    cohort : its folder

    Raises
    ------
    InputError
        One of the two tables is none.
    """
    root = cohort.root if isinstance(cohort, Cohort) else Path(cohort).expanduser()
    first, second = (read_rows(root / name).rows for name in (ANNOTATIONS, SECOND))
    paths = find_volumes(root)[0]
    both = [key for key in paths if key in first and key in second]
    compared, left_out = [], []
    for key in counted("annotations compared", len(both), both):
        try:
            pair = _marks(key, first[key]), _marks(key, second[key])
            compared.append([*key, *_compared(root / paths[key], *pair)])
        except (InputError, FileError) as error:
            left_out.append([*key, str(error)])
    table = pd.DataFrame(compared, columns=COLUMNS)
    return Agreement(table, pd.DataFrame(left_out, columns=[*KEY, "reason"]), _summary(table), _means(table))


def _marks(key: Key, cells: Row) -> Marks:
    found = from_cells(cells)
    if found is None:
        raise InputError(f"{' '.join(key)}: found no complete marks, expected points and region")
    return found


def _compared(path: Path, first: Marks, second: Marks) -> list[object]:
    """One row of ``segments`` without its key."""
    out = [f"{one.annotator}: {one.excluded}" for one in (first, second) if one.excluded]
    one, other = first.annotation, second.annotation
    if out or one is None or other is None:
        raise InputError(f"excluded by {' and '.join(out)}")
    volume = volumes.read(path)
    apart = np.subtract([one.bone, one.shadow], [other.bone, other.shadow]) * volume.spacing_mm
    distances = np.linalg.norm(apart, axis=1).tolist()
    means = [float(preprocess.region(volume, marked, GAIN).voxels.mean()) for marked in (one, other)]
    return [first.annotator, second.annotator, *distances, *overlap(one, other), *means, means[1] - means[0]]


def overlap(one: Annotation, other: Annotation) -> tuple[float, float]:
    """Dice coefficient and intersection over union of two regions of interest."""
    pairs = zip(one.roi, other.roi, strict=True)
    shared = math.prod(max(0, min(a.stop, b.stop) - max(a.start, b.start)) for a, b in pairs)
    both = math.prod(one.roi_size) + math.prod(other.roi_size)
    return 2 * shared / both, shared / (both - shared)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    measured = [
        (name, len(table), table[name].median(), percent, np.percentile(table[name], percent))
        for name, percent in MEASURES.items()
        if len(table)
    ]
    return pd.DataFrame(measured, columns=["measure", "n", "median", "percentile", "at_percentile"])


def _means(table: pd.DataFrame) -> MeanAgreement | None:
    if len(table) < 2:
        return None
    bias, spread = float(table["difference"].mean()), LIMITS * float(table["difference"].std())
    pairs = table[["mean_first", "mean_second"]].to_numpy(float)[:, :, None]
    return MeanAgreement(bias, bias - spread, bias + spread, *(float(bound[0]) for bound in reliability.icc(pairs)))
