"""The files of a cohort that are not volumes: described, and with a row for each segment that a person fills in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mflib import atomic
from mflib.cohort.files import DESCRIPTION, Key, read_description
from mflib.cohort.tables import ANNOTATIONS, CLINICAL, GRADES, PARTICIPANTS, SCHEMAS
from mflib.importing.errors import SourceError
from mflib.volume import KEY, LEVELS

README = """Ultrasound volumes of the lumbar multifidus, imported with mflib

The volumes are without names: only grey levels, voxel size and listed technical facts were taken over from the
scanner's files. The tables are in the manner of BIDS; n/a stands where a person has still to fill in a value.
"""
ANNOTATION_COLUMNS = [*SCHEMAS[ANNOTATIONS].columns, "annotator"]


def refuse_other(cohort: Path) -> None:
    """Refuse a folder that is no cohort of patients, or whose tables cannot be added to.

    Raises
    ------
    SourceError
        Says what lies there.
    """
    if cohort.exists() and not cohort.is_dir():
        raise SourceError("COHORT: found a file, expected a folder")
    description, faults = read_description(cohort)
    if (cohort / DESCRIPTION).exists() and faults:
        raise SourceError("COHORT cannot be added to:", faults)
    if description.get("Synthetic") is True:
        raise SourceError("COHORT: found a synthetic cohort, expected one of patients or a new folder")
    for table in (PARTICIPANTS, CLINICAL, GRADES):
        if (cohort / table).exists():
            _table(cohort / table)


def describe(cohort: Path) -> None:
    """Write the description, the README and what BIDS is to pass over, where they are not there."""
    cohort.mkdir(parents=True, exist_ok=True)
    content = {"Name": cohort.resolve().name, "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    _write_new(cohort / DESCRIPTION, json.dumps(content, indent=2) + "\n")
    _write_new(cohort / ".bidsignore", "**/us/\n")
    _write_new(cohort / "README", README)


def add_rows(cohort: Path, keys: Iterable[Key]) -> list[str]:
    """Add the rows that are missing in the tables; whatever stands there stays as it is.

    Returns
    -------
    list of str
        Tables that have new rows.
    """
    segments = sorted(set(keys), key=lambda key: (key[0], LEVELS.index(key[1]), key[2]))
    people = sorted({(key[0],) for key in segments})
    _write_new(cohort / ANNOTATIONS, "\t".join(ANNOTATION_COLUMNS) + "\n")
    wanted: list[tuple[str, Sequence[tuple[str, ...]], dict[str, str]]] = [
        (PARTICIPANTS, people, {}),
        (CLINICAL, people, {"screening": "eligible"}),
        (GRADES, segments, {}),
    ]
    return [table for table, rows, values in wanted if _append(cohort / table, table, rows, values)]


def _append(path: Path, name: str, keys: Sequence[tuple[str, ...]], values: dict[str, str]) -> bool:
    """Append a row for each key that has none; says whether there was one."""
    _write_new(path, "\t".join(SCHEMAS[name].columns) + "\n")
    text, header, lines = _table(path)
    columns = [column for column in KEY if column in SCHEMAS[name].columns]
    places = [header.index(column) for column in columns]
    present = {tuple(line[place].strip() for place in places) for line in lines if len(line) > max(places)}
    new = [key for key in keys if key not in present]
    if not new:
        return False
    ending = "\r\n" if "\r\n" in text else "\n"
    cells = [dict.fromkeys(header, "n/a") | values | dict(zip(columns, key, strict=True)) for key in new]
    rows = ["\t".join(row[column] for column in header) for row in cells]
    separator = "" if text.endswith(("\n", "\r")) else ending
    with atomic.replacing(path) as partial:
        partial.write_bytes((text + separator + ending.join([*rows, ""])).encode("utf-8"))
    return True


def _table(path: Path) -> tuple[str, list[str], list[list[str]]]:
    """A table's text as it stands, its header, and the cells of its lines."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path.name}: cannot be read as UTF-8 text, so no rows can be added; mend it first"
        ) from error
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    header = [cell.strip() for cell in lines[0]] if lines else []
    header[:1] = [cell.removeprefix("\ufeff") for cell in header[:1]]
    wanted = [column for column in KEY if column in header]
    if "participant_id" not in wanted or len(set(header)) < len(header):
        raise SourceError(f"{path.name}: found no column participant_id, or one twice; mend it before rows are added")
    return text, header, lines[1:]


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)
