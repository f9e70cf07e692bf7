"""The volumes that a command names, each with its row of the annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mflib import volume as volumes
from mflib.cohort import files
from mflib.cohort.files import NAME, SEGMENT_FILE
from mflib.cohort.tables import ANNOTATIONS, Fault
from mflib.predict.results import PredictError
from mflib.volume import KEY, Annotation, Volume, VolumeError

COLUMNS = (*(f"{point}_{axis}" for point in ("bone", "shadow", "roi") for axis in "ijk"), "roi_ni", "roi_nj", "roi_nk")
LEAST = {"roi_ni": 2, "roi_nj": 2, "roi_nk": 2}

Rows = dict[str | files.Key, Annotation]


def read_volumes(paths: Sequence[Path], annotations: Path | None = None) -> list[tuple[Path, Volume, Annotation]]:
    """Read volumes with their reference points and regions of interest.

    Parameters
    ----------
    paths : volume files, or cohort folders, of which all volumes are taken
    annotations : a table as ``refpoints_roi.tsv``, whose rows are found by the key in the volume's name. A column
        ``volume`` with file names finds volumes of other names. By default the table of the cohort around the volume

    Raises
    ------
    PredictError
        A volume or its row is missing or cannot be used; the message names it.
    """
    tables: dict[Path, Rows] = {}
    found = []
    for path in _files(paths):
        table = annotations or _around(path)
        if table not in tables:
            tables[table] = read_annotations(table)
        annotation = _row(path, tables[table], table)
        try:
            found.append((path, volumes.read(path), annotation))
        except VolumeError as error:
            raise PredictError(str(error)) from error
    return found


def read_annotations(path: Path) -> Rows:
    """The rows of an annotations table by file name (column ``volume``) and by key.

    Raises
    ------
    PredictError
        The table cannot be read, lacks a column, or holds a cell that is no voxel; or two rows of one volume.
    """
    try:
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise PredictError(f"{path.name}: cannot be read ({error}), expected a table as {ANNOTATIONS}") from error
    header = [cell.strip() for cell in lines[0]] if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing or not ("volume" in header or set(KEY) <= set(header)):
        expected = f"columns {', '.join(KEY)} (or volume), and {', '.join(COLUMNS)}, separated by tabs"
        raise PredictError(f"{path.name}: found the columns {', '.join(header)[:300] or 'none'}, expected {expected}")
    rows: Rows = {}
    for number, line in enumerate(lines[1:], 2):
        cells = dict(zip(header, (cell.strip() for cell in line), strict=False))
        annotation = _annotation(path.name, number, cells)
        key = (cells.get(KEY[0], ""), cells.get(KEY[1], ""), cells.get(KEY[2], ""))
        names: list[str | files.Key] = [key] if all(key) else []
        for name in [*names, *filter(None, [cells.get("volume")])]:
            if name in rows:
                raise PredictError(str(Fault(path.name, number, None, f"{_words(name)} again", "each volume once")))
            rows[name] = annotation
    return rows


def _annotation(table: str, number: int, cells: dict[str, str]) -> Annotation:
    for name in COLUMNS:
        cell, least = cells.get(name, ""), LEAST.get(name, 0)
        if not (cell.isascii() and cell.isdigit() and len(cell) < 10 and int(cell) >= least):
            raise PredictError(str(Fault(table, number, name, repr(cell), f"a whole number of at least {least}")))
    return Annotation.from_row(cells)


def _files(paths: Sequence[Path]) -> list[Path]:
    """Volume files; a folder stands for the volumes of the cohort in it."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [path / name for name in files.find_volumes(path)[0].values()]
            if not inside:
                raise PredictError(f"{path}: found no volume, expected a cohort folder with names like {SEGMENT_FILE}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise PredictError(f"{path}: no such file, expected a NIfTI, NRRD or MHA volume, or a cohort folder")
    return found


def _around(path: Path) -> Path:
    """The annotations of the cohort that a volume lies in."""
    for folder in path.resolve().parents:
        if (folder / ANNOTATIONS).is_file():
            return folder / ANNOTATIONS
    raise PredictError(f"{path.name}: found no {ANNOTATIONS} in a folder around it, expected it there or --annotations")


def _row(path: Path, rows: Rows, table: Path) -> Annotation:
    match = NAME.fullmatch(_stem(path))
    key = (match[1], match[2], match[3]) if match else None
    if path.name in rows:
        return rows[path.name]
    if key is not None and key in rows:
        return rows[key]
    sought = f"volume {path.name}" if key is None else f"{_words(key)}, or volume {path.name}"
    raise PredictError(f"{path.name}: found no annotation in {table.name}, expected a row of {sought}")


def _stem(path: Path) -> str:
    try:
        return volumes.stem(path)
    except VolumeError as error:
        raise PredictError(str(error)) from error


def _words(name: str | files.Key) -> str:
    return name if isinstance(name, str) else " ".join(name)
