"""What people write in tables, in three languages, and what it means; ``_assets/vocabulary.yaml`` holds the words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mflib.base.files import ASSETS
from mflib.base.words import LEVELS

DASHES = re.compile("[\u2010-\u2015\u2212]")
# Marks of width nothing that editors leave between letters, of the order of bytes too.
INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad]")
# "Weight (kg)", "Größe [cm]", "体重/kg": what stands behind the name of a column.
UNIT_BEHIND = re.compile(r"(.+?)\s*(?:[(\[]([^()\[\]]*)[)\]]|/\s*([^/\s]+))\s*")
# "Age_years", "Gewicht in kg", "身高cm".
UNIT_AT_THE_END = re.compile(r"(.+?)(?:[\s_]+(?:in\s+)?|(?<=[^\x00-\x7f]))([a-z%/2]+)")
LEVEL = re.compile(
    r"(?:lwk|lw|l|腰椎?)?\s*([2345])\s*(?:[-~_/.,、;&至]|to|bis)?\s*(lwk|swk|l|s|腰椎?|骶椎?)?\s*([1345])(?:\s*节段)?",
    re.IGNORECASE,
)
SACRAL = ("s", "骶")
MONTH = r"(?:jan|feb|m[aä]r|mrz|apr|ma[iy])[a-zä]*"
DATE = re.compile(
    rf"\d{{1,2}}[-. ]+{MONTH}\.?(?:[-. ]+\d+)?|{MONTH}[-. ]+\d+|\d{{1,4}}([-./])\d{{1,2}}\1(?:\d{{1,4}})?"
    r"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?|(?:\d+年)?\d+月\d+日",
    re.IGNORECASE,
)
NUMBER = re.compile(r"([+-]?(?:\d(?:[\d.,' ]*\d)?|[.,]\d+)(?:e[+-]?\d+)?)\s*([^\d\s.,'+-].*)?")


def usual(text: str) -> str:
    """A text with letters of usual width, and without invisible marks."""
    return DASHES.sub("-", INVISIBLE.sub("", unicodedata.normalize("NFKC", text))).strip()


def plain(text: str) -> str:
    """A text as it is compared: letters of usual width, small, without odd blanks, and a full stop at the end."""
    return " ".join(usual(text).casefold().split()).removesuffix("。").removesuffix(".")


def is_nothing(cell: str) -> bool:
    """Whether a cell says that there is nothing."""
    return not cell or plain(cell) in _words("nothing") or not plain(cell)


def is_summary(cell: str) -> bool:
    """Whether a cell that names a row says that the row sums up others: "Mean ± SD", "CV mean", "合计(46例)"."""
    words = [word.replace(".", "") for word in re.split(r"[\s(:±+/,;_]+", plain(cell)) if word.replace(".", "")]
    ends = {*words[:1], *words[-1:]}
    # Chinese puts no blank between words.
    chinese = (word for word in _words("summaries") if not word.isascii())
    return not ends.isdisjoint(_words("summaries")) or any(words[0].startswith(word) for word in chinese if words)


def columns(header: Collection[str], known: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """The names of columns as they are known here, and the unit that stands behind some of them.

    Parameters
    ----------
    header : names as a table has them
    known : names that the table may have; a column that means none of them keeps its name, as one does whose meaning
        another column has by its very name
    """
    names: list[str] = []
    units: dict[str, str] = {}
    there = {*header}
    aliases = {joined(alias): name for name in known for alias in (name, *_all()["columns"].get(name, ()))}
    for written in header:
        name, unit = aliases.get(joined(written)), ""
        for pattern in (UNIT_BEHIND, UNIT_AT_THE_END):
            behind = pattern.fullmatch(plain(written))
            if behind and name is None and (name := aliases.get(joined(behind[1]))):
                unit = re.sub(r"\s*[~-]\s*", "-", next(filter(None, behind.groups()[1:]), ""))
        if name is None or written in known or name in there or name in names:
            name, unit = written, ""
        names.append(name)
        units |= {name: unit} if unit else {}
    return names, units


def meaning(kind: str, cell: str) -> str | None:
    """What a cell means among the values of a kind, such as M for 男 among those of sex; None where it means none."""
    if kind == "level":
        return to_level(cell)
    return _meanings(kind).get(plain(cell))


def to_level(cell: str) -> str | None:
    """The level that a cell means (L4-5, L4/L5, 4/5, 腰4-5 and L45 are the same); None where it means none."""
    match = LEVEL.fullmatch(usual(cell).casefold().removesuffix(".0"))
    if match is None:
        return None
    upper, letter, lower = match.groups()
    name = f"L{upper}S{lower}" if (upper, lower) == ("5", "1") else f"L{upper}{lower}"
    return name if name in LEVELS and (not letter or letter.startswith(SACRAL) == ("S" in name)) else None


def is_date(text: str) -> bool:
    """Whether a cell holds a date, as spreadsheets make of 4-5 (04. Mai, 5-Apr, 04.05.2024)."""
    return DATE.fullmatch(text.strip()) is not None


def moment(text: str) -> pd.Timestamp:
    """The time that a cell states, as ISO 8601, spreadsheets, Germans or Chinese write it; NaT where it states none.

    Which of 3/1/2026 is the month cannot be told, so it is none.
    """
    said = plain(text)
    if re.fullmatch(r"\d{5}(\.\d+)?", said):
        # Excel counts days, and takes 1900 for a leap year.
        return pd.Timestamp("1899-12-30", tz="UTC") + pd.Timedelta(days=float(said))
    said = re.sub(r"^(\d{4})[年/.](\d{1,2})[月/.](\d{1,2})日?", r"\1-\2-\3", said)
    said = re.sub(r"^(\d{1,2})\.(\d{1,2})\.(\d{4})", r"\3-\2-\1", said)
    said = re.sub(r"-(\d)(?!\d)", r"-0\1", re.sub(r"(^|[ t])(\d):", r"\g<1>0\2:", said))
    return pd.to_datetime(said.upper(), format="ISO8601", errors="coerce", utc=True)


def factors(unit: str) -> Mapping[str, float]:
    """How many of a unit each is that stands for it, by the small letters in which it is written."""
    found: dict[str, float] = _all()["units"].get(unit, {})
    return found


def numbers(
    cells: pd.Series, fits: Callable[[pd.Series], pd.Series], unit: str, header_unit: str = "", separator: str = "\t"
) -> tuple[pd.Series, pd.Series]:
    """Cells as numbers, and why some are none.

    Parameters
    ----------
    cells : text, missing where there is nothing
    fits : whether numbers are possible ones of the column; where a comma may part thousands or decimals, and no other
        cell tells, it is what fits
    unit : of the column, whose other units are converted
    header_unit : what the header says
    separator : of the table; where it is a comma, one in a cell parts thousands

    Returns
    -------
    values : Series of float
        NaN where a cell is no number.
    why : Series of str
        What was expected of the cells that hold something and are NaN.
    """
    values = pd.to_numeric(cells, errors="coerce").astype(float)
    why = pd.Series("a number", cells.index)
    known = factors(unit)
    if not header_unit and values.notna().equals(cells.notna()):
        return values, why
    # A unit in the header holds for what is understood only.
    values[:] = np.nan if header_unit else values
    matches = cells.map(lambda cell: NUMBER.fullmatch(plain(cell)), na_action="ignore").dropna()
    readings = {row: _readings(match[1]) for row, match in matches.items()}
    # A cell that can be read in one way only tells which mark parts decimals in this column.
    certain = {mark for found in readings.values() if len(found) == 1 for mark in found if mark}
    decimal = certain.pop() if len(certain) == 1 else "." if separator == "," else ""
    for row, match in matches.items():
        said = (match[2] or header_unit).removesuffix(".")
        factor = known.get(said) if said else 1
        if factor is None:
            values[row], why[row] = np.nan, f"a number in {unit}" if unit else "a number alone"
            continue
        # 1.7 m are 170 cm and nothing more.
        scaled = {mark: float(f"{value * factor:.15g}") for mark, value in readings[row].items()}
        # A point parts decimals, unless a comma elsewhere does; then it may part thousands, as a comma always may.
        mark = decimal if "," in match[1] else "" if decimal == "," else "."
        values[row], why[row] = _chosen(scaled, mark, fits)
    return values, why


def _readings(text: str) -> dict[str, float]:
    """The numbers that digits may mean, by the mark that parts decimals in them ("" where there is none)."""
    digits, power, behind = text.replace(" ", "'").partition("e")
    found = {}
    for decimal, thousands in (".,", ",."):
        whole, mark, rest = digits.partition(decimal)
        grouped = re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}([{thousands}'])\d{{3}}(?:\1\d{{3}})*", whole)
        if (re.fullmatch(r"[+-]?\d*", whole) or grouped) and rest.isdigit() == bool(mark):
            told = decimal if mark or (grouped and grouped[1] != "'") else ""
            figures = re.sub(rf"[{thousands}']", "", whole) + mark.replace(",", ".") + rest
            found[told] = float(figures + power + behind)
    return found


def _chosen(found: Mapping[str, float], decimal: str, fits: Callable[[pd.Series], pd.Series]) -> tuple[float, str]:
    """One of several numbers: by what the column's other cells tell, else the only one that fits."""
    if not found:
        return np.nan, "a number"
    if len(found) == 1 or decimal in found:
        return found.get(decimal, next(iter(found.values()))), ""
    fitting = [value for value, fit in zip(found.values(), fits(pd.Series([*found.values()])), strict=True) if fit]
    if len(fitting) == 1:
        return fitting[0], ""
    return np.nan, f"{' or '.join(f'{value:g}' for value in sorted(found.values()))}, written so that it is certain"


@cache
def is_known(cell: str) -> bool:
    """Whether a cell beyond ASCII is a word of these lists, whatever it means where it stands."""
    return not plain(cell).isascii() and (plain(cell) in _everything() or joined(cell) in _everything())


@cache
def _all() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ASSETS / "vocabulary.yaml").read_text(encoding="utf-8"))
    return content


@cache
def _words(kind: str) -> frozenset[str]:
    return frozenset(plain(word) for word in _all()[kind])


@cache
def _meanings(kind: str) -> dict[str, str]:
    return {plain(word): meant for meant, words in _all()["values"][kind].items() for word in (meant, *words)}


def joined(name: str) -> str:
    """A name of a column as it is compared."""
    return re.sub(r"[\s_-]+", "", plain(name))


@cache
def _everything() -> frozenset[str]:
    known = _all()
    columns = {joined(word) for words in known["columns"].values() for word in words}
    return frozenset(columns).union(_words("nothing"), _words("summaries"), *map(_meanings, known["values"]))
