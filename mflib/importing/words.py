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


def level(text: str) -> str | None:
    """The level that a cell means (L4-5, L4/L5, 4/5 and L45 are the same); None where it means none."""
    match = LEVEL.fullmatch(text.strip())
    return _canonical(match) if match else None


def side(text: str) -> str | None:
    """L or R for a side as people write it; None where it is none."""
    word = text.strip().rstrip(".").casefold()
    return next((side for side, words in SIDES.items() if word in words), None)


def named(path: PurePosixPath) -> tuple[str | None, str | None]:
    """Level and side that a path names without contradiction; the file's own name counts before its folders."""
    levels = [{found for match in NAMED_LEVEL.finditer(part) if (found := _canonical(match))} for part in _parts(path)]
    # A level's own letter is no side.
    rests = [NAMED_LEVEL.sub(" ", part) for part in _parts(path)]
    sides = [{found for word in re.split(r"[\W\d_]+", rest) if (found := side(word))} for rest in rests]
    return _first(levels), _first(sides)


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
