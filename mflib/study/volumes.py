"""The volumes that a command names, one after the other, and the table of what the models say."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mflib.base import files, tables, vocabulary
from mflib.base.errors import Fault, FileError
from mflib.base.language import tell
from mflib.base.progress import Progress
from mflib.base.words import KEY, label
from mflib.data import cohort, cohort_tables
from mflib.data import volume as volumes
from mflib.data.cohort import NAME, SEGMENT_FILE
from mflib.data.cohort_tables import ANNOTATIONS, VOXELS, Key
from mflib.data.volume import Annotation, Volume
from mflib.study.predict import CALLS, INTERVAL, NOT_READ, RESEARCH, VERDICTS, Assessment, ModelResult, Models

COLUMNS = [
    "volume", *KEY, "verdict", "model", "score", "threshold", "called", "votes", "folds", "probability", "low", "high",
    "distance", "percentile", "reasons", "notices", "note",
]  # fmt: skip
MARGIN_MM = 3.0  # around what a page shows of a volume


def table(assessments: Sequence[Assessment]) -> pd.DataFrame:
    """One row per volume and model.

    Returns
    -------
    DataFrame
        ``volume``, KEY (missing where the name does not say), ``verdict``, ``model``, ``score``, ``threshold``,
        ``called`` (1 infiltration), ``votes``, ``folds``, ``probability``, ``low``, ``high``, ``distance``,
        ``percentile``, ``reasons``, ``notices`` (sentences), ``note`` (on the probability).
    """
    rows = []
    for one in assessments:
        found, key = one.applicability, dict(zip(KEY, one.key or (None, None, None), strict=True))
        told: dict[str, Any] = {"verdict": found.verdict, "distance": found.distance, "percentile": found.percentile}
        told |= {"reasons": " ".join(found.reasons), "notices": " ".join(one.notices)}
        rows += [{"volume": one.name, **key, **told, **asdict(result)} for result in one.results.values()]
    return pd.DataFrame(rows, columns=COLUMNS)


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write the table as JSON where the name ends so, else as CSV; whole or not at all."""
    text = frame.to_json(orient="records", indent=2) + "\n" if path.suffix == ".json" else frame.to_csv(index=False)
    files.write_text(path, text)


def text(assessments: Sequence[Assessment]) -> str:
    """Everything in lines for a terminal, the verdict on each volume before any score."""
    lines = [RESEARCH]
    for one in assessments:
        verdict = one.applicability.verdict
        lines += ["", printable(one.name), f"  {VERDICTS[verdict]}.{f' {NOT_READ}' if verdict == 'outside' else ''}"]
        lines += [f"    {printable(reason)}" for reason in one.applicability.reasons]
        unread = "(not to be read) " if verdict == "outside" else ""
        lines += [f"  {unread}{_line(result)}" for result in one.results.values()]
        lines += [f"  {printable(notice)}" for notice in one.notices]
    return "\n".join(lines)


def _line(result: ModelResult) -> str:
    probability = "no probability"
    if result.probability is not None:
        probability = f"probability {result.probability:.2f} ({INTERVAL} {result.low:.2f} to {result.high:.2f})"
    name = label(result.model)
    return (
        f"{name}: {CALLS[result.called]} (score {result.score:.3f}, threshold {result.threshold:.3f}, "
        f"{result.votes} of {result.folds} models agree), {probability}"
    )


def printable(line: str) -> str:
    """A line without what would move the cursor of a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


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


# Of a table of annotations: line and cells of each row, by name of the volume and by key.
Rows = Mapping[str | Key, list[tuple[int, dict[str, str]]]]


def find(paths: Sequence[Path], annotations: Path | None = None) -> Asked:
    """Find the annotation of each volume; no voxel is read yet.

    Parameters
    ----------
    paths : volume files, or cohort folders, of which all volumes are taken
    annotations : a table as ``refpoints_roi.tsv``, whose rows are found by the key in the volume's name. A column
        ``volume`` with file names finds volumes of other names. By default the table of the cohort around the volume

    Raises
    ------
    FileError
        A folder is no cohort with a table of annotations: nothing in it can be asked about.
    """
    read = functools.cache(read_table)
    asked, named = Asked({}, {}, {}), {path: True for path in paths if not path.is_dir()}
    for folder in filter(Path.is_dir, paths):
        inside = [folder / name for name in cohort.find_volumes(folder)[0].values()]
        if not inside:
            raise FileError(f"{folder}: found no volume, expected a cohort folder with names like {SEGMENT_FILE}")
        read(annotations or _around(inside[0]))
        named |= {path: False for path in inside if path not in named}
    for path, by_name in named.items():
        _sort(asked, path, annotations, read, named=by_name)
    return asked


def read_table(path: Path) -> Rows:
    """A table of annotations, its cells as they stand there; only what is asked for is looked at.

    Raises
    ------
    FileError
        It cannot be read, or lacks a column.
    """
    try:
        found = tables.read(path, [*KEY, *VOXELS, "quality", "quality_reason"])
        found.check_columns([*VOXELS, *([] if "volume" in found.header else KEY)])
        records = found.records()
    except FileError as error:
        raise FileError(f"{path.name}: {error}") from error
    rows: dict[str | Key, list[tuple[int, dict[str, str]]]] = defaultdict(list)
    for number, cells in records.items():
        rows[cohort_tables.key_of(cells)].append((number, cells))
        rows[cells.get("volume", "")].append((number, cells))
    return rows


def _sort(asked: Asked, path: Path, annotations: Path | None, read: Callable[[Path], Rows], *, named: bool) -> None:
    """Put a volume where it belongs; one that is excluded is refused where somebody has named it."""
    try:
        if not path.is_file():
            raise FileError(f"{path}: no such file, expected a NIfTI, NRRD or MHA volume, or a cohort folder")
        table = annotations or _around(path)
        number, cells = _row(path, table.name, read(table))
        quality = cells.get("quality", "")
        if not (vocabulary.is_nothing(quality) or vocabulary.meaning("quality", quality)):
            raise FileError(f"{path.name}: {Fault(table.name, number, 'quality', repr(quality), 'ok, exclude or n/a')}")
        if not cohort_tables.excludes(quality):
            asked.annotated[path] = _annotation(path.name, table.name, number, cells)
            return
        given = cells.get("quality_reason", "")
        reason = "no reason given" if vocabulary.is_nothing(given) else given
        if named:
            found = f"excluded in {table.name}, row {number} ({reason})"
            raise FileError(f"{path.name}: found it {found}, expected a volume that is to be used")
        asked.excluded[path] = reason
    except FileError as error:
        asked.failures[path] = str(error)


def _annotation(volume: str, table: str, number: int, cells: dict[str, str]) -> Annotation:
    for name, least in VOXELS.items():
        cell = cells.get(name, "")
        if not (cell.isascii() and cell.isdigit() and len(cell) < 10 and int(cell) >= least):
            fault = Fault(table, number, name, repr(cell), f"a whole number of at least {least}")
            raise FileError(f"{volume}: {fault}")
    return Annotation.from_row(cells)


def _row(path: Path, table: str, rows: Rows) -> tuple[int, dict[str, str]]:
    match = NAME.fullmatch(volumes.stem(path))
    key = (match[1], match[2], match[3]) if match else None
    found = rows.get(path.name) or (rows.get(key) if key else None)
    name = " ".join(key) if key else f"volume {path.name}"
    if not found:
        sought = f"{name}, or volume {path.name}" if key else name
        raise FileError(f"{path.name}: found no annotation in {table}, expected a row of {sought}")
    if len(found) > 1:
        raise FileError(f"{path.name}: {Fault(table, found[1][0], None, f'{name} again', 'each volume once')}")
    return found[0]


def _around(path: Path) -> Path:
    """The annotations of the cohort that a volume lies in."""
    for folder in path.resolve().parents:
        if (table := tables.find(folder / ANNOTATIONS)).is_file():
            return table
    raise FileError(f"{path.name}: found no {ANNOTATIONS} in a folder around it, expected it there or --annotations")


def assess_all(
    models: Models, paths: Sequence[Path], annotations: Path | None = None
) -> tuple[list[Assessment], dict[Path, str]]:
    """All that the models say of volumes, read one at a time.

    What somebody has excluded from a cohort folder is left out, and said so; a volume that is named itself is refused.

    Parameters
    ----------
    models : of a run
    paths, annotations : see `volumes.find`

    Returns
    -------
    (list of Assessment, dict)
        The assessments, whose volume is the part around the annotation, since a cohort's whole volumes would fill the
        memory; and of each volume that cannot be assessed, what was found and what was expected.

    Raises
    ------
    FileError
        As `volumes.find`.
    """
    asked = find(paths, annotations)
    for path, reason in asked.excluded.items():
        tell(printable(f"{path.name}: left out, excluded by whoever annotated it ({reason})"))
    progress, assessments, failures = Progress("volumes", len(asked.annotated)), [], dict(asked.failures)
    for path, annotation in asked.annotated.items():
        try:
            found = models.assess(volumes.read(path), annotation, volumes.stem(path))
            part, moved = cropped(found.volume, annotation)
            assessments.append(replace(found, volume=part, annotation=moved))
        except FileError as error:
            failures[path] = str(error)
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    return assessments, failures


def failed(failures: Mapping[Path, str], total: int) -> str:
    """Lines for a terminal: how many of all volumes could not be assessed, and why."""
    lines = [f"{len(failures)} of {total} volumes could not be assessed:"]
    return "\n".join([*lines, *(printable(f"  {reason}") for reason in failures.values())])


def cropped(recorded: Volume, annotation: Annotation) -> tuple[Volume, Annotation]:
    """The part of a volume around its annotation, and the annotation in it; the whole where little can be left out."""
    margin = np.ceil(MARGIN_MM / np.array(recorded.spacing_mm)).astype(int)
    firsts, sizes = np.array(list(annotation.boxes.values())).transpose(1, 0, 2)
    first = np.maximum(firsts.min(axis=0) - margin, 0)
    last = np.minimum((firsts + sizes).max(axis=0) + margin, recorded.voxels.shape)
    part = recorded.voxels[tuple(map(slice, first, last))]
    if part.size > 0.8 * recorded.voxels.size:
        return recorded, annotation
    bone, shadow, roi = (tuple(map(int, place)) for place in firsts - first)
    moved = Annotation(bone, shadow, roi, annotation.roi_size)  # type: ignore[arg-type]
    return replace(recorded, voxels=np.ascontiguousarray(part)), moved
