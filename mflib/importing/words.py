"""Levels and sides as people write them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from mflib.volume import LEVELS

SIDES = {
    "L": {"l", "left", "lt", "li", "links", "左"},
    "R": {"r", "right", "rt", "re", "rechts", "右"},
}
LEVEL = re.compile(r"(?:lwk|l)?\s*([2345])\s*[-–_/.]?\s*(l|lwk|s|swk)?\s*([1345])", re.IGNORECASE)
# In a name a bare "4-5" may be a date or a count, so the letter must be there.
NAMED_LEVEL = re.compile(r"(?<![a-z0-9])l(?:wk)?[ _]?([2345])[-–_ ]?(l|s)?([1345])(?![0-9])", re.IGNORECASE)

# Surnames too, so they are sides only where they end a name right behind the level, or are an inner folder's name.
SHORT = {"li", "re"}
SHORT_BEHIND = re.compile(NAMED_LEVEL.pattern + r"[\W_]*(li|re)[\W\d_]*$", re.IGNORECASE)

MONTH = r"(?:jan|feb|m[aä]r|mrz|apr|ma[iy])[a-zä]*"
DATE = re.compile(
    rf"\d{{1,2}}[-. ]+{MONTH}\.?(?:[-. ]+\d+)?|{MONTH}[-. ]+\d+|\d{{1,4}}([-./])\d{{1,2}}\1(?:\d{{1,4}})?|\d+月\d+日",
    re.IGNORECASE,
)


def level(text: str) -> str | None:
    """The level that a cell means (L4-5, L4/L5, 4/5 and L45 are the same); None where it means none."""
    match = LEVEL.fullmatch(text.strip())
    return _canonical(match) if match else None


def is_date(text: str) -> bool:
    """Whether a cell holds a date, as spreadsheets make of 4-5 (04. Mai, 5-Apr, 04.05.2024)."""
    return DATE.fullmatch(text.strip()) is not None


def side(text: str) -> str | None:
    """L or R for a side as people write it; None where it is none."""
    word = text.strip().rstrip(".").casefold()
    return next((side for side, words in SIDES.items() if word in words), None)


def named(path: PurePosixPath) -> tuple[str | None, str | None]:
    """Level and side that a path names without contradiction; the file's own name counts before its folders."""
    levels = [{found for match in NAMED_LEVEL.finditer(part) if (found := _canonical(match))} for part in _parts(path)]
    *inner, outermost = _parts(path)
    # The outermost folder may be called after the patient.
    sides = [{found} if (found := side(part)) else _sides(part) for part in inner]
    return _first(levels), _first([*sides, _sides(outermost)])


def _sides(part: str) -> set[str]:
    """Sides that a name holds; a level's own letter is none."""
    words = {word for word in re.split(r"[\W\d_]+", NAMED_LEVEL.sub(" ", part)) if word.casefold() not in SHORT}
    behind = SHORT_BEHIND.search(part)
    return {found for word in [*words, *(behind.groups()[-1:] if behind else [])] if (found := side(word))}


def _parts(path: PurePosixPath) -> list[str]:
    return [path.name.split(".")[0], *(folder.name for folder in path.parents if folder.name)]


def _first(found: list[set[str]]) -> str | None:
    """The only word of the first part that has any."""
    words = next((part for part in found if part), set())
    return next(iter(words)) if len(words) == 1 else None


def _canonical(match: re.Match[str]) -> str | None:
    upper, letter, lower = match.groups()
    sacral = lower == "1"
    if letter and letter[0].casefold() != ("s" if sacral else "l"):
        return None
    name = f"L{upper}S1" if sacral else f"L{upper}{lower}"
    return name if name in LEVELS else None
