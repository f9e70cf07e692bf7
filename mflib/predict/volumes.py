"""The volumes that a command names, each with its row of the annotations."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mflib import volume as volumes
from mflib.cohort import cells, files, tables
from mflib.cohort.files import NAME, SEGMENT_FILE
from mflib.cohort.tables import ANNOTATIONS, MISSING, VOXELS, Fault
from mflib.predict.results import PredictError
from mflib.volume import KEY, Annotation, VolumeError


@dataclass(frozen=True)
class Asked:
    """The volumes that a command names.

    Parameters
    ----------
    annotated : each volume's reference points and region of interest
    excluded : reason, of the volumes in a cohort folder that whoever annotated has left out
    failures : what was found and what was expected, of those that cannot be asked about
    """

    annotated: dict[Path, Annotation]
    excluded: dict[Path, str]
    failures: dict[Path, str]


@dataclass(frozen=True)
class Row:
    """A row of an annotations table, its cells as they stand there; only what is asked for is looked at.

    Parameters
    ----------
    table : name of the file
    number : line in it
    cells : by column
    """

    table: str
    number: int
    cells: dict[str, str]

    @property
    def excluded(self) -> str:
        """Why the volume is not to be used; empty where it is."""
        if not tables.excludes(self.cells.get("quality", "")):
            return ""
        reason = self.cells.get("quality_reason", "")
        return "no reason given" if reason.lower() in MISSING else reason

    def annotation(self, volume: str) -> Annotation:
        """The row's points and region, of a volume that is named in messages.

        Raises
        ------
        PredictError
            A cell that is no voxel.
        """
        for name, least in VOXELS.items():
            cell = self.cells.get(name, "")
            if not (cell.isascii() and cell.isdigit() and len(cell) < 10 and int(cell) >= least):
                expected = f"a whole number of at least {least}"
                raise PredictError(f"{volume}: {Fault(self.table, self.number, name, repr(cell), expected)}")
        return Annotation.from_row(self.cells)


@dataclass(frozen=True)
class Table:
    """A table of annotations: its file name, and its rows by name of the volume and by key."""

    name: str
    rows: dict[str | files.Key, list[Row]]


def find(paths: Sequence[Path], annotations: Path | None = None) -> Asked:
    """Find the annotation of each volume; no voxel is read yet.

    Parameters
    ----------
    paths : volume files, or cohort folders, of which all volumes are taken
    annotations : a table as ``refpoints_roi.tsv``, whose rows are found by the key in the volume's name. A column
        ``volume`` with file names finds volumes of other names. By default the table of the cohort around the volume

    Raises
    ------
    PredictError
        A folder is no cohort with a table of annotations: nothing in it can be asked about.
    """
    read = functools.cache(read_table)
    asked = Asked({}, {}, {})
    folders = [path for path in paths if path.is_dir()]
    for path in paths:
        if path not in folders:
            try:
                _check_file(path)
                _sort(asked, path, read(annotations or _around(path)), named=True)
            except PredictError as error:
                asked.failures[path] = str(error)
    for folder in folders:
        inside = _inside(folder)
        table = read(annotations or _around(inside[0]))
        for path in inside:
            if path not in asked.annotated and path not in asked.failures:
                _sort(asked, path, table, named=False)
    return asked


def read_table(path: Path) -> Table:
    """A table of annotations.

    Raises
    ------
    PredictError
        It cannot be read, or lacks a column.
    """
    try:
        found = cells.read(path)
    except cells.CellsError as error:
        raise PredictError(f"{path.name}: {error}") from error
    header = found.header
    if any(header.count(name) != 1 for name in VOXELS) or not ("volume" in header or set(KEY) <= set(header)):
        expected = f"columns {', '.join(KEY)} (or volume), and {', '.join(VOXELS)}, each once"
        raise PredictError(f"{path.name}: found the columns {', '.join(header)[:300] or 'none'}, expected {expected}")
    rows: dict[str | files.Key, list[Row]] = defaultdict(list)
    for number, line in found.rows.items():
        row = Row(path.name, number, dict(zip(header, line, strict=False)))
        participant, level, side = (row.cells.get(name, "") for name in KEY)
        rows[participant, level, side].append(row)
        rows[row.cells.get("volume", "")].append(row)
    return Table(path.name, dict(rows))


def _sort(asked: Asked, path: Path, table: Table, *, named: bool) -> None:
    """Put a volume where it belongs; one that is excluded is refused where somebody has named it."""
    try:
        row = _row(path, table)
        if not row.excluded:
            asked.annotated[path] = row.annotation(path.name)
        elif not named:
            asked.excluded[path] = row.excluded
        else:
            found = f"excluded in {table.name}, row {row.number} ({row.excluded})"
            raise PredictError(f"{path.name}: found it {found}, expected a volume that is to be used")
    except PredictError as error:
        asked.failures[path] = str(error)


def _row(path: Path, table: Table) -> Row:
    match = NAME.fullmatch(_stem(path))
    key = (match[1], match[2], match[3]) if match else None
    found = table.rows.get(path.name) or (table.rows.get(key) if key else None)
    name = " ".join(key) if key else f"volume {path.name}"
    if not found:
        sought = f"{name}, or volume {path.name}" if key else name
        raise PredictError(f"{path.name}: found no annotation in {table.name}, expected a row of {sought}")
    if len(found) > 1:
        again = Fault(table.name, found[1].number, None, f"{name} again", "each volume once")
        raise PredictError(f"{path.name}: {again}")
    return found[0]


def _inside(folder: Path) -> list[Path]:
    """The volumes of a cohort."""
    found = [folder / name for name in files.find_volumes(folder)[0].values()]
    if not found:
        raise PredictError(f"{folder}: found no volume, expected a cohort folder with names like {SEGMENT_FILE}")
    return found


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise PredictError(f"{path}: no such file, expected a NIfTI, NRRD or MHA volume, or a cohort folder")


def _around(path: Path) -> Path:
    """The annotations of the cohort that a volume lies in."""
    for folder in path.resolve().parents:
        if (folder / ANNOTATIONS).is_file():
            return folder / ANNOTATIONS
    raise PredictError(f"{path.name}: found no {ANNOTATIONS} in a folder around it, expected it there or --annotations")


def _stem(path: Path) -> str:
    try:
        return volumes.stem(path)
    except VolumeError as error:
        raise PredictError(str(error)) from error
