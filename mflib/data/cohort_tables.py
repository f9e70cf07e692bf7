"""The tables of a cohort folder: what they must hold, every cell that does not, and what follows from the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from mflib.base import tables, vocabulary
from mflib.base.errors import Fault, FileError
from mflib.base.words import KEY, LEVELS, SIDES

PARTICIPANTS = "participants.tsv"
CLINICAL = "phenotype/clinical.tsv"
GRADES = "phenotype/mri_grades.tsv"
ANNOTATIONS = "derivatives/annotations/refpoints_roi.tsv"
MINIMUM_AGE, MAXIMUM_AGE, MAXIMUM_BMI = 18, 80, 28
# How a missing value is written; every other sign of nothing is said to have been taken for it.
STANDARD = {"n/a", "na", "nan", ""}
# What a spreadsheet writes where a formula fails, and `tables` where its value was not saved.
SHEET_ERROR = r"#[A-ZÄÖÜ0-9/]+[!?].*"
EXCLUSION = "exclusion"  # a column that asks why somebody is out, where "screening" asks who is in
GRADE_RULE = "0 to 3; both readers' grade where they agree, else the adjudicator's"
USED_ELSEWHERE = {"site", "annotator", "annotated_at"}
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Column:
    """What a column may hold.

    Parameters
    ----------
    kind : of the values: text, number, whole or yes_no
    expected : which values, in words
    fits : whether each value is one of them
    required : whether the table must have the column
    filled : whether every row must have a value; voxels need one where the segment is to be used
    words : which of the vocabulary's words stand for values
    unit : of a number
    """

    kind: str = "text"
    expected: str = ""
    fits: Callable[[pd.Series], pd.Series] = pd.Series.notna
    required: bool = False
    filled: bool = False
    words: str = ""
    unit: str = ""


def _number(low: float, high: float, unit: str, *, required: bool = False) -> Column:
    between = f"{low:g} to {high:g} {unit}"
    return Column("number", between, lambda values: values.between(low, high), required=required, unit=unit)


def _choice(choices: Collection[str], words: str, *, required: bool = False) -> Column:
    expected = f"one of {', '.join(choices)} or n/a"
    return Column("text", expected, lambda cells: cells.isin(choices), required=required, words=words)


def _key(expected: str, fits: Callable[[pd.Series], pd.Series], words: str = "") -> Column:
    return Column("text", expected, fits, required=True, filled=True, words=words)


_PARTICIPANT = _key("sub- and letters or digits", lambda cells: cells.str.fullmatch("sub-[0-9A-Za-z]+"))
_SEGMENT = {
    "participant_id": _PARTICIPANT,
    "level": _key(
        f"one of {', '.join(LEVELS)} (write L45: of 4-5 a spreadsheet makes a date)",
        lambda cells: cells.isin(LEVELS),
        "level",
    ),
    "lat": _key("L or R", lambda cells: cells.isin(SIDES), "side"),
}
_GRADE = Column(
    "whole", "0, 1, 2 or 3", lambda values: values.between(0, 3), required=True, words="grade", unit="grade"
)
_YES_NO = Column("yes_no", "yes, no or n/a", words="yes_no")


def _reason(words: str, unclear: str) -> Column:
    """A column of reasons of exclusion, in which a bare yes or no is clear in one way only."""
    said = partial(vocabulary.meaning, "yes_no")
    return Column(
        "text",
        "eligible, or the reason of exclusion in words",
        lambda cells: ~(cells.map(said, na_action="ignore").eq(unclear) | cells.str.fullmatch(SHEET_ERROR)),
        words=words,
    )


_INDEX = Column("whole", "a voxel count of at least 0", lambda values: values >= 0, required=True)
_EXTENT = Column("whole", "a voxel count of at least 2", lambda values: values >= 2, required=True)
# The least that each column of voxels in a table of annotations may hold.
VOXELS = {
    **{f"{point}_{axis}": 0 for point in ("bone", "shadow", "roi") for axis in "ijk"},
    **{f"roi_n{axis}": 2 for axis in "ijk"},
}
# The columns of a table of annotations as this package writes it.
ANNOTATION_COLUMNS = (*KEY, *VOXELS, "annotator", "annotated_at", "quality", "quality_reason")
SCHEMAS: dict[str, dict[str, Column]] = {
    PARTICIPANTS: {
        "participant_id": _PARTICIPANT,
        "sex": _choice(["M", "F"], "sex", required=True),
        "age": _number(0, 120, "years", required=True),
        "height_cm": _number(100, 230, "cm", required=True),
        "weight_kg": _number(25, 300, "kg", required=True),
        "bmi": _number(10, 80, "kg/m2", required=True),
    },
    CLINICAL: {
        "participant_id": _PARTICIPANT,
        "vas": replace(_number(0, 10, "points"), words="amount"),
        "pain_months": _number(0, 1200, "months"),
        "bed_rest_months": replace(_number(0, 1200, "months"), words="amount"),
        "sedentary": _YES_NO,
        "labour": _YES_NO,
        "night_shift": _YES_NO,
        "exercise_hours": replace(_number(0, 100, "hours a week"), words="amount"),
        "pain_side": _choice(["L", "R", "both", "none"], "pain_side"),
        "screening": _reason("screening", "no"),
    },
    # Where the readers agree, nothing of an adjudicator's is no grade of "none".
    GRADES: _SEGMENT
    | {f"grade_{whose}": _GRADE for whose in ("reader1", "reader2")}
    | {"grade_adjudicator": replace(_GRADE, words="adjudicated"), "grade_final": _GRADE},
    ANNOTATIONS: {
        **_SEGMENT,
        **{column: _EXTENT if least else _INDEX for column, least in VOXELS.items()},
        "quality": _choice(["ok", "exclude"], "quality"),
        "quality_reason": Column(),
    },
}


def excludes(quality: str) -> bool:
    """Whether a cell of the column quality, as somebody has written it, takes its segment out."""
    return vocabulary.meaning("quality", quality) == "exclude"


def key_of(cells: Mapping[str, str]) -> Key:
    """The key in a row of any table, however somebody has written it; what means nothing stays as it is."""
    level, side = cells.get("level", ""), cells.get("lat", "")
    participant = vocabulary.usual(cells.get("participant_id", ""))
    return participant, vocabulary.meaning("level", level) or level, vocabulary.meaning("side", side) or side


def read_all(root: Path) -> tuple[dict[str, pd.DataFrame], list[Fault], list[str]]:
    """The four tables of a cohort folder.

    Returns
    -------
    tables : dict of DataFrame
        By path, typed as ``SCHEMAS`` say, indexed by the line of the file. Faulty cells are missing; a BMI and a final
        grade that follow from other columns are filled in.
    faults : list of Fault
        All that is wrong in one table by itself.
    notices : list of str
        What was filled in, left out, or understood otherwise than it is written.
    """
    frames, faults, notices = {}, [], []
    for name in SCHEMAS:
        frames[name], wrong, said = _read(root, name)
        faults += wrong
        notices += [f"{name}: {notice}" for notice in said]
    faults += [fault for name, table in frames.items() for fault in _doubled_keys(name, table)]
    unusable = segment_exclusions(frames[ANNOTATIONS])
    frames[PARTICIPANTS], computed = _with_bmi(frames[PARTICIPANTS])
    frames[GRADES], derived = _with_final_grades(frames[GRADES], unusable)
    annotations = frames[ANNOTATIONS]
    bare = annotations.index[(annotations["quality"] == "exclude") & annotations["quality_reason"].isna()]
    faults += [Fault(ANNOTATIONS, row, "quality_reason", "n/a", "why the segment is excluded") for row in bare]
    # A missing grade may be one that could not be read.
    known = {(fault.file, fault.row, fault.column) for fault in faults}
    ungraded = _grade_faults(frames[GRADES], exclusions(frames), unusable)
    faults += [fault for fault in ungraded if (fault.file, fault.row, fault.column) not in known]
    return frames, faults, notices + computed + derived


def blank(name: str) -> pd.DataFrame:
    """A table of the cohort folder without rows."""
    return pd.DataFrame(columns=list(SCHEMAS[name]))


def _read(root: Path, name: str) -> tuple[pd.DataFrame, list[Fault], list[str]]:
    """One table, every faulty cell by itself, and what was understood otherwise than it is written."""
    try:
        path = tables.find(root / name)
        table = tables.read(path, [*SCHEMAS[name], *([EXCLUSION] if name == CLINICAL else [])], "participant_id")
    except FileError as error:
        return blank(name), [Fault(name, None, None, error.found, error.expected or "a table")], []
    notices = [*([f"{path.name} was read"] if path.name != Path(name).name else []), *table.notices]
    raw, faults = _cells(name, table)
    # Without rows the columns are unknown or idle: the one fault that says why is enough.
    if raw.empty:
        return blank(name), faults, notices
    schema, typed = SCHEMAS[name], {}
    if EXCLUSION in raw and "screening" not in raw:
        raw = raw.rename(columns={EXCLUSION: "screening"})
        schema = schema | {"screening": _reason(EXCLUSION, "yes")}
    # Only a segment that is to be used must have its voxels.
    said = raw["quality"] if "quality" in raw else pd.Series("", raw.index)
    used = said.map(lambda cell: _is_nothing("quality", cell) or vocabulary.meaning("quality", cell) == "ok")
    for column in raw.columns:
        definition = schema.get(column, Column())
        wanted = used if name == ANNOTATIONS and column in VOXELS else definition.filled
        typed[column], wrong = _column(name, raw[column], definition, table, wanted)
        faults += wrong
        notices += _otherwise(raw[column], typed[column], definition)
    further = [column for column in typed if column not in schema]
    if unused := ", ".join(column for column in further if column not in USED_ELSEWHERE):
        notices.append(f"columns that are not used: {unused}")
    return pd.DataFrame(typed, index=raw.index).reindex(columns=[*schema, *further]), faults, notices


def _cells(name: str, table: tables.Cells) -> tuple[pd.DataFrame, list[Fault]]:
    """A table's cells as text, indexed by line, with faults."""
    header = table.header
    if not header:
        return pd.DataFrame(), [Fault(name, None, None, "an empty file", "a header line and rows")]
    faults = list(_header_faults(name, table))
    for number, row in table.rows.items():
        if len(row) != len(header):
            faults.append(Fault(name, number, None, f"{len(row)} cells", f"{len(header)} cells, as in the header"))
    rows = {number: row for number, row in table.rows.items() if len(row) == len(header)}
    if not rows and not faults:
        faults.append(Fault(name, None, None, "no rows", "at least one row under the header"))
    if len(set(header)) < len(header):
        return pd.DataFrame(), faults
    return pd.DataFrame.from_dict(rows, orient="index", columns=header, dtype="str"), faults


def _header_faults(name: str, table: tables.Cells) -> Iterator[Fault]:
    header, line = table.header, table.line
    if len(header) == 1:
        yield Fault(name, line, None, f"one column {header[0][:60]!r}", "columns separated by tabs")
        return
    for column, definition in SCHEMAS[name].items():
        if definition.required and column not in header:
            yield Fault(name, line, column, "no such column", "a column of this name")
    for column in sorted({column for column in header if header.count(column) > 1}):
        yield Fault(name, line, column, "the column twice", "each column once")


def _column(
    name: str, text: pd.Series, definition: Column, table: tables.Cells, wanted: pd.Series | bool
) -> tuple[pd.Series, list[Fault]]:
    """A column in its type, missing where a cell does not fit; and those cells, and the empty ones that are wanted."""
    column = str(text.name)
    text = text.mask(text.map(partial(_is_nothing, definition.words)))
    values, expected = _typed(text, definition, table)
    unfit = values.notna() & ~definition.fits(values)
    bare = text.isna() & wanted
    strange = text[text.notna() & values.isna()]
    faults = [Fault(name, row, column, repr(cell), expected[row]) for row, cell in strange.items()]
    said = repr if definition.kind == "text" else str
    faults += [Fault(name, row, column, said(cell), definition.expected) for row, cell in text[unfit].items()]
    faults += [Fault(name, row, column, "n/a", "a value") for row in text.index[bare]]
    return values.mask(unfit), faults


def _is_nothing(words: str, cell: str) -> bool:
    """Whether a cell is empty; what means nothing elsewhere may be a value here, as no pain has no side."""
    return vocabulary.is_nothing(cell) and not (words and vocabulary.meaning(words, cell))


def _typed(text: pd.Series, definition: Column, table: tables.Cells) -> tuple[pd.Series, pd.Series]:
    """Cells as values of a kind, missing where they are none, and what was expected of each."""
    if definition.words:
        text = text.map(lambda cell: vocabulary.meaning(definition.words, cell) or cell, na_action="ignore")
    expected = pd.Series(definition.expected, text.index)
    if definition.kind == "yes_no":
        return text.map({"yes": True, "no": False}).astype("boolean"), expected
    if definition.kind == "text":
        return (text.map(vocabulary.usual, na_action="ignore") if definition.filled else text).astype("str"), expected
    unit = table.units.get(str(text.name), "")
    numbers, expected = vocabulary.numbers(text, definition.fits, definition.unit, unit, table.dialect.separator)
    numbers = numbers.mask(numbers.abs() == float("inf"))
    if definition.kind == "number":
        return numbers, expected
    # Beyond 2^53 a float is no longer a certain whole number.
    whole = numbers.mask((numbers % 1 != 0) | (numbers.abs() > 2**53)).astype("Int64")
    return whole, pd.Series("a whole number", text.index)


def _otherwise(text: pd.Series, values: pd.Series, definition: Column) -> Iterator[str]:
    """What the cells of a column were taken for where they are written otherwise: once, with the first three."""
    taken: dict[str, str] = {}
    for cell, value in zip(text, values, strict=True):
        if pd.isna(value):
            meant = "n/a" if _is_nothing(definition.words, cell) and cell.lower() not in STANDARD else ""
        elif definition.kind in ("number", "whole"):
            meant = "" if pd.to_numeric(cell, errors="coerce") == value else f"{value:.6g}"
        else:
            said = {True: "yes", False: "no"}.get(value, value) if definition.kind == "yes_no" else value
            meant = "" if vocabulary.plain(cell) == vocabulary.plain(said) else said
        taken |= {cell: meant} if meant else {}
    if taken:
        first = ", ".join(f"{cell[:40]} for {meant}" for cell, meant in [*taken.items()][:3])
        more = f", and {len(taken) - 3} more" if len(taken) > 3 else ""
        yield f"column {text.name}: taken {first}{more}"


def _doubled_keys(name: str, table: pd.DataFrame) -> Iterator[Fault]:
    """A fault for each row whose key stands in an earlier row too."""
    key = [column for column in KEY if column in SCHEMAS[name]]
    first: dict[tuple[str, ...], int] = {}
    for row, *values in table.dropna(subset=key)[key].itertuples(name=None):
        if (earlier := first.setdefault(tuple(values), row)) != row:
            found = f"{' '.join(values)} again, first in row {earlier}"
            yield Fault(name, row, "/".join(key), found, "each key once")


def _grade_faults(grades: pd.DataFrame, excluded: Collection[str], unusable: Collection[Key]) -> Iterator[Fault]:
    """Final grades that the readers and the adjudicator do not lead to; who or what is excluded needs none."""
    columns = ["grade_reader1", "grade_reader2", "grade_adjudicator", "grade_final"]
    for row, *key, first, second, third, final in grades[[*KEY, *columns]].itertuples(name=None):
        said = f"readers {first} and {second}, adjudicator {'n/a' if pd.isna(third) else third}, final {final}"
        if pd.isna(final):
            if key[0] not in excluded and tuple(key) not in unusable:
                yield Fault(GRADES, row, "grade_final", "n/a", GRADE_RULE)
        elif pd.isna(first) or pd.isna(second):
            continue
        elif first == second and final != first:
            yield Fault(GRADES, row, "grade_final", said, f"{first}, as both readers say")
        elif first != second and pd.isna(third):
            yield Fault(GRADES, row, "grade_adjudicator", said, "a grade, as the readers differ")
        elif first != second and final != third:
            yield Fault(GRADES, row, "grade_final", said, f"{third}, as the adjudicator says")


def exclusions(frames: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Reason of exclusion by participant: age and BMI as the paper's criteria, then the screening's own words.

    A missing age or BMI excludes nobody.
    """
    said = frames[CLINICAL].dropna(subset="participant_id").set_index("participant_id")["screening"].dropna()
    reasons = {str(participant): reason for participant, reason in said.items() if reason != "eligible"}
    people = frames[PARTICIPANTS].dropna(subset="participant_id").set_index("participant_id")
    criteria = {
        f"BMI >= {MAXIMUM_BMI} kg/m2": people["bmi"] >= MAXIMUM_BMI,
        f"older than {MAXIMUM_AGE} years": people["age"] > MAXIMUM_AGE,
        f"younger than {MINIMUM_AGE} years": people["age"] < MINIMUM_AGE,
    }
    for reason, applies in criteria.items():
        reasons |= dict.fromkeys(map(str, people.index[applies]), reason)
    return reasons


def segment_exclusions(annotations: pd.DataFrame) -> dict[Key, str]:
    """Reason of exclusion by segment: whoever annotates may find a volume that cannot be used."""
    out = annotations[annotations["quality"] == "exclude"].dropna(subset=KEY)
    keys = out[KEY].itertuples(index=False, name=None)
    return dict(zip(keys, out["quality_reason"].fillna("no reason given"), strict=True))


def _with_bmi(people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Participants with a BMI wherever height and weight are known (kg / m squared), and how many were computed."""
    computed = people["weight_kg"] / (people["height_cm"] / 100) ** 2
    new = people["bmi"].isna() & computed.notna()
    return people.assign(bmi=people["bmi"].fillna(computed)), _filled("bmi computed from height and weight", new)


def _with_final_grades(grades: pd.DataFrame, unusable: Collection[Key]) -> tuple[pd.DataFrame, list[str]]:
    """Grades with a final one wherever it follows, and how many were derived: as the readers agree, else adjudicated.

    The grade of a single reader stands alone; excluded segments need none.
    """
    first, second, third = (grades[f"grade_{who}"] for who in ("reader1", "reader2", "adjudicator"))
    agreed = first.fillna(second).where((first == second) | first.isna() | second.isna())
    derived = agreed.where(first == second, third.fillna(agreed))
    out = pd.MultiIndex.from_frame(grades[KEY]).isin(list(unusable))
    new = grades["grade_final"].isna() & derived.notna() & ~out
    final = grades["grade_final"].mask(new, derived)
    return grades.assign(grade_final=final), _filled("grade_final derived from the readers' grades", new, "segment")


def _filled(what: str, new: pd.Series, unit: str = "patient") -> list[str]:
    count = int(new.sum())
    return [f"{what} ({count} {unit if count == 1 else unit + 's'})"] if count else []
