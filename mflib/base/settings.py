"""Settings as frozen, strictly typed dataclasses, the YAML that holds them, and what is wrong in two lines."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import SequenceMatcher
from typing import Annotated, Any, TypeVar, get_type_hints

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mflib.base.errors import InputError

# Of pydantic's dataclasses: what is not a setting, and what is not of its type, is refused; 5 is a number, "5" is none.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
# A number in either notation, as in YAML 1.2.
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$", re.ASCII)

# What no file can be named, and no text be saved as.
UNUSABLE = re.compile("[\0\ud800-\udfff]")

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
    "Field required": "an entry here",
    "Tuple should have ": "",
    "Value should have ": "",
    " after validation": "",
}

Settings = TypeVar("Settings")
Entry = TypeVar("Entry")


def _number(given: object) -> object:
    """A number in any notation, whole ones as such; anything else as it is."""
    # In YAML 1.1, which papermill reads, 1e-3 is a text.
    if isinstance(given, str) and "e" in given.lower() and NUMBER.match(given):
        given = float(given)
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _each_once(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if len(set(entries)) < len(entries):
        raise ValueError(f"found {list(entries)}, expected each once")
    return entries


# The kinds of settings that rooms share. So many that nobody waits for their end are a slip of the keyboard.
Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_number)]
Count = Annotated[Whole, Field(ge=1, le=1_000_000)]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]
Distinct = Annotated[tuple[Entry, ...], AfterValidator(_each_once)]


class _Loader(yaml.SafeLoader):
    """YAML with the numbers of YAML 1.2: 010 is ten, 1:30 and dates are texts. Each name stands there once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse what would take another's place without a word."""
        keys = {str(key.value): key for key, _ in reversed(node.value)}
        if twice := [key for key, _ in node.value if key is not keys[str(key.value)]]:
            raise yaml.MarkedYAMLError(problem=f"{twice[0].value} a second time", problem_mark=twice[0].start_mark)
        return super().construct_mapping(node, deep)


_OTHERWISE = ("int", "float", "timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in kinds if tag.rpartition(":")[2] not in _OTHERWISE]
    for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("!number", NUMBER, list("-+.0123456789"))
_Loader.add_constructor("!number", lambda _, node: (int if node.value.lstrip("-+").isdigit() else float)(node.value))


def from_yaml(content: str | bytes, of: str) -> Any:
    """What a YAML text holds; bytes are UTF-8 or, with a mark at the start, UTF-16.

    Parameters
    ----------
    of : whose text it is, for the message

    Raises
    ------
    InputError
        It is no YAML, names something twice, or is in another encoding.
    """
    try:
        # What an alias repeats may hold itself, or fill the memory.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content)):
            raise yaml.MarkedYAMLError(problem="an alias, expected the values themselves")
        return yaml.load(content, _Loader)
    except yaml.reader.ReaderError as error:
        raise InputError(f"{of}: found control characters or no UTF-8, expected YAML saved in UTF-8") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{of}: not valid YAML{where} ({getattr(error, 'problem', None) or error})") from error


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
        for name, value in flat(values).items():
            if found := UNUSABLE.search(f"{name}{value}"):
                raise ValueError(f"{ascii(name)[1:-1]}: found {value!a:.200}, expected a text without {found[0]!a}")
        # What JSON does not know is a number of NumPy's, or what it reads like.
        plain = json.dumps(values, default=lambda value: getattr(value, "item", value.__str__)())
        return TypeAdapter(kind).validate_json(plain)
    except (ValueError, TypeError, RecursionError) as error:
        faults = error.errors() if isinstance(error, ValidationError) else []
        said = "; ".join(dict.fromkeys(_said(fault, kind) for fault in faults)) or str(error)
        raise InputError(f"The settings of {of} cannot be used:\n{said}") from error


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes in their place, group by group; forest.trees is trees in the group forest."""
    both = dict(values)
    for dotted, change in changes.items():
        name, dot, rest = str(dotted).partition(".")
        change = {rest: change} if dot else change
        old = both.get(name)
        both[name] = merged(old if isinstance(old, Mapping) else {}, change) if isinstance(change, Mapping) else change
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
        # What a group says begins with the setting that is wrong, what a setting says with what was found.
        said = str(fault["ctx"]["error"])
        return f"{name}{': ' if said.startswith('found') else '.'}{said}".lstrip(":. ")
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
