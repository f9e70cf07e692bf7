"""The reader's language. English is the source, and a text is translated where it is shown, never where it is made.

What computes and what is stored knows English alone, so no translation makes a number stale. A sentence that was put
together is found again by its template, ``{n} of {all} patients``, and what was put in is translated by itself.
"""

from __future__ import annotations

import hashlib
import locale
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import chain, islice
from pathlib import Path

LOCALE = Path(__file__).parents[1] / "locale"
# Each language as a page states it.
LANGUAGES = {"en": "en", "zh": "zh-Hans"}
# Of the environment: the language of commands and notebooks, and those in which figures are drawn besides.
LANGUAGE, DRAWN = "MFLIB_LANGUAGE", "MFLIB_DRAWN"
# A place of a sentence; with !r what stands in it stays as it is, such as the name of a column.
PLACEHOLDER = re.compile(r"\{(\w+)(?:!r)?\}")
_WORD = re.compile(r"[A-Za-z]{2}")
_NAME = re.compile(r"[A-Za-z]{4}")
_ENGLISH = re.compile(r"(?<![\w`'./-])[a-z]{3,}(?![\w`'/]|-\d)", re.ASCII)
_CLAUSE = re.compile("[:;,] ")
# A file or a setting, and what is said of it alone.
_OF_A_NAME = re.compile(r"(\S*[./_]\S*): ((?:(?!; \S+: ).)+)", re.DOTALL)
# How many words of a text look as if they were left in English, and what is said.
_Said = tuple[int, str]
_SENTENCES = re.compile(r"""(?<=[.!?])([*`"')]*)\s+(?=[A-Z*`"'(\d])""")
_HAN = "[\u3400-\u9fff]"
_SPACES = (
    (rf"(?<={_HAN})(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?={_HAN})", " "),
    (rf"(?<={_HAN}) +(?={_HAN})", ""),
    ("(?<=[\u3000-\u303f\uff01-\uff65]) +| +(?=[\u3001-\u303f\uff01-\uff65])", ""),
)
_QUOTED = re.compile(r"((?<!\w)'[^']*'|`[^`]*`)")
_ENDS = {".": "\u3002", ":": "\uff1a", ";": "\uff1b", "?": "\uff1f"}


def language() -> str:
    """The language of this process: what a command was told, else that of the environment; English by default."""
    stated = [os.environ[name] for name in (LANGUAGE, "LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)]
    name = stated[0] if stated else locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"


def drawn() -> tuple[str, ...]:
    """The languages in which figures are drawn: the process's own first."""
    return tuple(dict.fromkeys([language(), *os.environ.get(DRAWN, "").split()]))


def say(text: str, to: str = "") -> str:
    """A text in the reader's language; what is no text of ours, such as a name, stays as it is.

    Parameters
    ----------
    text : in English
    to : a language; that of the process by default
    """
    to = to or language()
    return text if to == "en" or not _WORD.search(text) else _said(text, to)


def cell(notebook: str, name: str, source: str, to: str) -> str | None:
    """The translation of a notebook's cell by its id; None where this source has none."""
    return _catalogue(to).cells.get((f"{notebook}#{name}", source))


@cache
def digest(to: str) -> str:
    """SHA-256 of everything that is said in a language, and of how it is found."""
    paths = [*sorted((LOCALE / to).glob("*.po")), Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def tell(text: str) -> None:
    """Print a line for whoever waits, in the language of the process."""
    print(say(text), flush=True)


@lru_cache(maxsize=20_000)
def _said(text: str, to: str) -> str:
    if "\n" in text:
        return "\n".join(_said(line, to) for line in text.split("\n"))
    return spaced(_catalogue(to).said(text)[1])


def spaced(text: str) -> str:
    """One space between Chinese and Latin letters or digits, none at full-width marks; what is quoted as it is."""
    if not re.search(_HAN, text):
        return text
    parts = _QUOTED.split(text)
    for found, wanted in _SPACES:
        parts[::2] = [re.sub(found, wanted, part) for part in parts[::2]]
    return "".join(parts)


@dataclass(frozen=True)
class _Template:
    """A sentence with places, and its translation.

    Parameters
    ----------
    source, translation : with places as {name}
    """

    source: str
    translation: str

    @cached_property
    def parts(self) -> list[str]:
        """What stands between the places."""
        return PLACEHOLDER.split(self.source)[::2]

    @cached_property
    def word(self) -> str:
        """Its longest whole word, by which it is looked up; empty where it has none."""
        return max(re.findall(r"(?<![\w{}])[a-z]+(?![\w{])", self.source.casefold()), key=len, default="")

    @cached_property
    def letters(self) -> int:
        """How many letters of it are fixed."""
        return sum(map(str.isalpha, "".join(self.parts)))

    @cached_property
    def weak(self) -> bool:
        """Whether so little of it is fixed that it is found in texts of anybody's."""
        return self.letters < 9 and len(" ".join(self.parts).split()) < 3

    def found(self, text: str) -> dict[str, str] | None:
        """What stands in the places, None where the text is not of this template."""
        if not all(part.strip() in text for part in self.parts):
            return None
        match = _pattern(self.source, self.weak).fullmatch(text)
        names = PLACEHOLDER.findall(self.source)
        return dict(zip(names, match.groups(""), strict=True)) if match else None


@cache
def _pattern(source: str, weak: bool) -> re.Pattern[str]:
    """What is put in may be nothing, and then at an end there is no space beside it; not where little else is fixed."""
    parts = [re.escape(part) for part in PLACEHOLDER.split(source)[::2]]
    places = ["(.+?)" if weak else "(.*?)"] * (len(parts) - 1)
    if not weak and not parts[0] and parts[1].startswith("\\ "):
        places[0], parts[1] = r"(?:(.+?)\ )?", parts[1][2:]
    if not weak and not parts[-1] and parts[-2].endswith("\\ "):
        places[-1], parts[-2] = r"(?:\ (.+?))?", parts[-2][:-2]
    return re.compile("".join(chain.from_iterable(zip(parts, [*places, ""], strict=True))), re.DOTALL)


class _Catalogue:
    """Everything that is said in a language, from the PO files of its folder; what is open or fuzzy is not said."""

    def __init__(self, folder: Path) -> None:
        # Importing it takes a while, which a reader of English need not wait.
        from babel.messages.pofile import read_po

        self.cells: dict[tuple[str, str], str] = {}
        self.exact: dict[str, str] = {}
        templates = []
        for path in sorted(folder.glob("*.po")):
            with path.open("rb") as file:
                messages = [entry for entry in read_po(file) if entry.id and entry.string and not entry.fuzzy]
            for entry in messages:
                source, said = str(entry.id), str(entry.string)
                if entry.context:
                    self.cells[entry.context, source] = said
                    continue
                self.exact[source.casefold()] = said
                if PLACEHOLDER.search(source):
                    templates.append(_Template(source, said))
        self.templates: dict[str, list[_Template]] = {}
        for template in templates:
            self.templates.setdefault(template.word, []).append(template)
        self.known: dict[str, _Said] = {}

    def said(self, text: str) -> _Said:
        """A text, as a whole, by its sentences or by its parts: whichever leaves the least of it in English."""
        bare = text.strip()
        if not _WORD.search(bare):
            return 0, text
        if bare not in self.known:
            found = _best(way(bare) for way in (self._whole, self._sentences, self._parts))
            self.known[bare] = found or (left(bare), bare)
        before, _, after = text.partition(bare)
        open_words, told = self.known[bare]
        return open_words, f"{before}{told}{after}"

    def _whole(self, text: str) -> _Said | None:
        """By its very words, or by a template."""
        if exact := self.exact.get(text.casefold()):
            return 0, exact
        said = _best(self._filled(*fit) for fit in islice(self._fitting(text, weak=False), 4))
        if (said is None or said[0]) and len(text) > 1 and text[-1] in _ENDS and (bare := self._whole(text[:-1])):
            return _best([said, (bare[0], bare[1] + _ENDS[text[-1]])])
        return said

    def _fitting(self, text: str, *, weak: bool) -> Iterator[tuple[_Template, dict[str, str]]]:
        """The templates that a text may be of, those of which most is fixed first, and what stands in the places."""
        words = {"", *re.findall("[a-z]+", text.casefold())}
        named = None if weak else _OF_A_NAME.fullmatch(text)
        likely = [template for word in words for template in self.templates.get(word, ()) if template.weak == weak]
        for template in sorted(
            likely, key=lambda template: (-template.letters, -len(template.source), template.source)
        ):
            if named and (found := template.found(named[2])) is not None:
                yield _Template("", f"{{_!r}}\uff1a{template.translation}"), {"_": named[1], **found}
            if (found := template.found(text)) is not None:
                yield template, found

    def _sentences(self, text: str) -> _Said | None:
        """Sentence by sentence, where possible several at once."""
        parts = list(_split(text))
        if len(parts) == 1:
            return None
        said, at = list[_Said](), 0
        while at < len(parts):
            runs = {end: " ".join(parts[at:end]) for end in range(len(parts) - (not at), at, -1)}
            told = {end: self._whole(run) or (self.said(run) if end == at + 1 else None) for end, run in runs.items()}
            known = {end: run for end, run in told.items() if run is not None}
            at = min(known, key=lambda end: (known[end][0] > 0, -end))
            said.append(known[at])
        blank = "" if all(re.search(_HAN, part) for _, part in said) else " "
        return sum(left for left, _ in said), blank.join(part for _, part in said)

    def _parts(self, text: str) -> _Said | None:
        """By a template of which little is fixed; a text of anybody's stays as it is."""
        tried = []
        for template, found in self._fitting(text, weak=True):
            open_words, said = self._filled(template, found)
            known = "!r" in template.translation or any(self.said(part)[1] != part for part in found.values())
            if not open_words if known else not _NAME.search("".join(found.values())):
                return open_words, said
            # Marks join whatever they stand between, words only what is understood.
            if known and not template.letters:
                tried.append((open_words, said))
        return _best(tried)

    def _filled(self, template: _Template, found: Mapping[str, str]) -> _Said:
        """A translation with what is put in; what stays as it is counts as said."""
        raw = re.findall(r"\{(\w+)!r\}", template.translation)
        # A name has no clauses.
        kept = {name: (left(part) if _CLAUSE.search(part) else 0, part) for name, part in found.items() if name in raw}
        parts = {name: kept.get(name) or self.said(part) for name, part in found.items()}
        said = PLACEHOLDER.sub(lambda place: parts[place[1]][1], template.translation)
        return sum(left for left, _ in parts.values()), said


def left(text: str) -> int:
    """How many words of a text look as if they were left in English."""
    return len(_ENGLISH.findall(text))


def _best(ways: Iterable[_Said | None]) -> _Said | None:
    """The first translation with nothing left in English, or with the least."""
    best: _Said | None = None
    for said in ways:
        if said is not None and (best is None or said[0] < best[0]):
            best = said
        if best is not None and not best[0]:
            break
    return best


def _split(text: str) -> Iterator[str]:
    """The sentences of a text, each with the marks that close it."""
    start = 0
    for end in _SENTENCES.finditer(text):
        yield text[start : end.end(1)]
        start = end.end()
    yield text[start:]


@cache
def _catalogue(to: str) -> _Catalogue:
    return _Catalogue(LOCALE / to)
