"""The volumes that a command names, one after the other, and the table of what the models say."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mflib.base import files, tables
from mflib.base.errors import FileError
from mflib.base.progress import Progress
from mflib.base.words import KEY, LABELS
from mflib.data import cohort, cohort_tables
from mflib.data import volume as volumes
from mflib.data.cohort import NAME, SEGMENT_FILE
from mflib.data.cohort_tables import ANNOTATIONS, MISSING, VOXELS, Fault, Key
from mflib.data.volume import Annotation, stem
from mflib.study.predict.models import Models
from mflib.study.predict.page import cropped
from mflib.study.predict.results import CALLS, INTERVAL, NOT_READ, RESEARCH, VERDICTS, Assessment, ModelResult


def table(assessments: Sequence[Assessment]) -> pd.DataFrame:
    """One row per volume and model.

    Returns
    -------
    DataFrame
        ``volume``, KEY (missing where the name does not say), ``verdict``, ``model``, ``score``, ``threshold``,
        ``called`` (1 infiltration), ``votes``, ``folds``, ``probability``, ``low``, ``high``, ``distance``,
        ``percentile``, ``reasons``, ``notices`` (sentences), ``note`` (on the probability).
    """
    return pd.DataFrame(
        [_result_row(assessment, result) for assessment in assessments for result in assessment.results.values()]
    )


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV or JSON, whole or not at all.

    Raises
    ------
    FileError
        Another ending of the name.
    """
    if path.suffix not in (".csv", ".json"):
        raise FileError(f"{path.name}: found the ending {path.suffix or 'none'}, expected .csv or .json")
    text = frame.to_csv(index=False) if path.suffix == ".csv" else frame.to_json(orient="records", indent=2) + "\n"
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


def _result_row(assessment: Assessment, result: ModelResult) -> dict[str, object]:
    applicable = assessment.applicability
    return {
        "volume": assessment.name,
        **dict(zip(KEY, assessment.key or (None, None, None), strict=True)),
        "verdict": applicable.verdict,
        "model": result.model,
        "score": result.score,
        "threshold": result.threshold,
        "called": result.called,
        "votes": result.votes,
        "folds": result.folds,
        "probability": result.probability,
        "low": result.low,
        "high": result.high,
        "distance": applicable.distance,
        "percentile": applicable.percentile,
        "reasons": " ".join(applicable.reasons),
        "notices": " ".join(assessment.notices),
        "note": result.note,
    }


def _line(result: ModelResult) -> str:
    probability = "no probability"
    if result.probability is not None:
        probability = f"probability {result.probability:.2f} ({INTERVAL} {result.low:.2f} to {result.high:.2f})"
    name = LABELS.get(result.model, result.model)
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
        if not cohort_tables.excludes(self.cells.get("quality", "")):
            return ""
        reason = self.cells.get("quality_reason", "")
        return "no reason given" if reason.lower() in MISSING else reason

    def annotation(self, volume: str) -> Annotation:
        """The row's points and region, of a volume that is named in messages.

        Raises
        ------
        FileError
            A cell that is no voxel.
        """
        for name, least in VOXELS.items():
            cell = self.cells.get(name, "")
            if not (cell.isascii() and cell.isdigit() and len(cell) < 10 and int(cell) >= least):
                expected = f"a whole number of at least {least}"
                raise FileError(f"{volume}: {Fault(self.table, self.number, name, repr(cell), expected)}")
        return Annotation.from_row(self.cells)


@dataclass(frozen=True)
class Table:
    """A table of annotations: its file name, and its rows by name of the volume and by key."""

    name: str
    rows: dict[str | Key, list[Row]]


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
    asked = Asked({}, {}, {})
    folders = [path for path in paths if path.is_dir()]
    for path in paths:
        if path not in folders:
            try:
                _check_file(path)
                _sort(asked, path, read(annotations or _around(path)), named=True)
            except FileError as error:
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
    FileError
        It cannot be read, or lacks a column.
    """
    try:
        found = tables.read(path)
    except FileError as error:
        raise FileError(f"{path.name}: {error}") from error
    header = found.header
    if any(header.count(name) != 1 for name in VOXELS) or not ("volume" in header or set(KEY) <= set(header)):
        expected = f"columns {', '.join(KEY)} (or volume), and {', '.join(VOXELS)}, each once"
        raise FileError(f"{path.name}: found the columns {', '.join(header)[:300] or 'none'}, expected {expected}")
    rows: dict[str | Key, list[Row]] = defaultdict(list)
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
            raise FileError(f"{path.name}: found it {found}, expected a volume that is to be used")
    except FileError as error:
        asked.failures[path] = str(error)


def _row(path: Path, table: Table) -> Row:
    match = NAME.fullmatch(_stem(path))
    key = (match[1], match[2], match[3]) if match else None
    found = table.rows.get(path.name) or (table.rows.get(key) if key else None)
    name = " ".join(key) if key else f"volume {path.name}"
    if not found:
        sought = f"{name}, or volume {path.name}" if key else name
        raise FileError(f"{path.name}: found no annotation in {table.name}, expected a row of {sought}")
    if len(found) > 1:
        again = Fault(table.name, found[1].number, None, f"{name} again", "each volume once")
        raise FileError(f"{path.name}: {again}")
    return found[0]


def _inside(folder: Path) -> list[Path]:
    """The volumes of a cohort."""
    found = [folder / name for name in cohort.find_volumes(folder)[0].values()]
    if not found:
        raise FileError(f"{folder}: found no volume, expected a cohort folder with names like {SEGMENT_FILE}")
    return found


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise FileError(f"{path}: no such file, expected a NIfTI, NRRD or MHA volume, or a cohort folder")


def _around(path: Path) -> Path:
    """The annotations of the cohort that a volume lies in."""
    for folder in path.resolve().parents:
        if (folder / ANNOTATIONS).is_file():
            return folder / ANNOTATIONS
    raise FileError(f"{path.name}: found no {ANNOTATIONS} in a folder around it, expected it there or --annotations")


def _stem(path: Path) -> str:
    try:
        return volumes.stem(path)
    except FileError as error:
        raise FileError(str(error)) from error


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
        print(printable(f"{path.name}: left out, excluded by whoever annotated it ({reason})"), flush=True)
    progress, assessments, failures = Progress("volumes", len(asked.annotated)), [], dict(asked.failures)
    for path, annotation in asked.annotated.items():
        try:
            assessments.append(_assessed(models, path, annotation))
        except FileError as error:
            failures[path] = str(error)
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    return assessments, failures


def failed(failures: Mapping[Path, str], total: int) -> str:
    """Lines for a terminal: how many of all volumes could not be assessed, and why."""
    lines = [f"{len(failures)} of {total} volumes could not be assessed:"]
    return "\n".join([*lines, *(printable(f"  {reason}") for reason in failures.values())])


def _assessed(models: Models, path: Path, annotation: Annotation) -> Assessment:
    found = models.assess(volumes.read(path), annotation, stem(path))
    part, moved = cropped(found.volume, annotation)
    return replace(found, volume=part, annotation=moved)
