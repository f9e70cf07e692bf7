"""The files of a cohort that are not volumes: described, and with a row for each segment that a person fills in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mflib import atomic
from mflib.cohort import cells
from mflib.cohort.cells import Cells, CellsError
from mflib.cohort.files import DESCRIPTION, Key, read_description
from mflib.cohort.tables import ANNOTATION_COLUMNS, ANNOTATIONS, CLINICAL, GRADES, PARTICIPANTS, SCHEMAS
from mflib.importing.errors import SourceError
from mflib.volume import KEY, LEVELS

README = """Ultrasound volumes of the lumbar multifidus, imported with mflib

The volumes are without names: only grey levels, voxel size and listed technical facts were taken over from the
scanner's files. The tables are in the manner of BIDS; n/a stands where a person has still to fill in a value.
"""


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
            _table(cohort, table)


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
    return [table for table, rows, values in wanted if _append(cohort, table, rows, values)]


def _append(cohort: Path, name: str, keys: Sequence[tuple[str, ...]], values: dict[str, str]) -> bool:
    """Append a row for each key that has none; says whether there was one."""
    _write_new(cohort / name, "\t".join(SCHEMAS[name].columns) + "\n")
    table, columns = _table(cohort, name), _keys(name)
    places = [table.header.index(column) for column in columns]
    present = {tuple(row[place] for place in places) for row in table.rows.values() if len(row) > max(places)}
    new = [key for key in keys if key not in present]
    if not new:
        return False
    rows = [dict.fromkeys(table.header, "n/a") | values | dict(zip(columns, key, strict=True)) for key in new]
    cells.append(cohort / name, [[row[column] for column in table.header] for row in rows], table.dialect)
    return True


def _keys(name: str) -> list[str]:
    return [column for column in KEY if column in SCHEMAS[name].columns]


def _table(cohort: Path, name: str) -> Cells:
    """A table to which rows can be added."""
    try:
        table = cells.read(cohort / name)
    except CellsError as error:
        raise SourceError(f"{name}: {error}; mend it before rows are added") from error
    missing = [column for column in _keys(name) if column not in table.header]
    if missing or len(set(table.header)) < len(table.header):
        found = f"no column {' and '.join(missing)}" if missing else "a column twice"
        raise SourceError(f"{name}: found {found}; mend it before rows are added")
    return table


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)
