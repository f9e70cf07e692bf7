"""Settings as frozen, strictly typed dataclasses, and what is wrong with given ones in two lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import SequenceMatcher
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mflib.base.errors import InputError

# Of pydantic's dataclasses: what is not a setting, and what is not of its type, is refused; 5 is a number, "5" is none.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

WORDS = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "an object": "a group of settings",
    "a valid array": "a list",
}

Settings = TypeVar("Settings")


def build(kind: type[Settings], values: Mapping[str, Any], of: str) -> Settings:
    """Settings from plain values, as YAML or JSON hold them; what is not named keeps its default.

    Parameters
    ----------
    kind : a dataclass of pydantic with ``STRICT``, its groups too
    values : nested as the settings are; a list stands for a tuple
    of : whose settings they are, for the message

    Raises
    ------
    InputError
        In two lines: whose settings, and each value that cannot be used with what was found and expected. What is no
        setting at all is named with the nearest that is one.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        said = "; ".join(dict.fromkeys(_said(fault, kind) for fault in error.errors()))
        raise InputError(f"The settings of {of} cannot be used:\n{said}") from error


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes in their place, group by group."""
    both = dict(values)
    for name, change in changes.items():
        old = both.get(name)
        both[name] = merged(old, change) if isinstance(old, Mapping) and isinstance(change, Mapping) else change
    return both


def flat(values: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Nested values by dotted name, such as ``forest.trees``."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        dotted = f"{under}{name}"
        out |= flat(value, f"{dotted}.") if isinstance(value, Mapping) and value else {dotted: value}
    return out


def _said(fault: ErrorDetails, kind: type) -> str:
    """One fault of pydantic's in our words."""
    # Of a setting that may be of several kinds, the kind stands in the place too, with brackets.
    name = ".".join(str(part) for part in fault["loc"] if "[" not in str(part))
    if fault["type"] == "unexpected_keyword_argument":
        return f"{name} is no setting; the nearest is {_nearest(name, kind)}"
    if fault["type"] == "value_error":
        return f"{name}: {fault['ctx']['error']}".removeprefix(": ")
    expected = fault["msg"].removeprefix("Input should be ")
    for theirs, ours in WORDS.items():
        expected = expected.replace(theirs, ours)
    return f"{name}: found {fault['input']!r:.200}, expected {expected}"


def _nearest(name: str, kind: type) -> str:
    """The setting whose name, or the last part of it, is most like a name."""

    def likeness(known: str) -> float:
        last = (known.rpartition(".")[2], name.rpartition(".")[2])
        return max(SequenceMatcher(None, *pair).ratio() for pair in ((known, name), last))

    return max(_names(kind), key=likeness)


def _names(kind: type, under: str = "") -> Iterator[str]:
    """Dotted names of all settings, groups before what is in them."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        yield f"{under}{field.name}"
        if is_dataclass(hints[field.name]):
            yield from _names(hints[field.name], f"{under}{field.name}.")
