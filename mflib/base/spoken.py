"""What a page, a notebook or a chart shows, in the reader's language: where the words stand in each form.

Every function takes ``say``, which gives a text in another language. What collects the texts instead of translating
them finds the same ones.
"""

from __future__ import annotations

import html as markup
import re
from collections.abc import Callable, Mapping
from functools import partial
from textwrap import wrap
from typing import Any

from mflib.base import language

Say = Callable[[str], str]
LIVE = "application/vnd.vegalite.v5+json"
# What begins a block of Markdown; a line without it goes on with the block before.
_BLOCK = re.compile(r"(\s*(?:[-*] |\d+\. |#+ )+)(.*)|\s*(\|.*|<.*)?")
_HIDDEN = "script|style|pre|code|math|kbd"
# Tags, and what a template computes, inside of them too.
_TAG = r"<(?:\{\{.*?\}\}|\{%.*?%\}|[^<>])*>|\{[%#].*?[%#]\}"
_TOKENS = re.compile(rf"(<({_HIDDEN})\b.*?</\2>|<table translate=.no.>.*?</table>|<!--.*?-->|{_TAG})", re.DOTALL)
# A blank between Chinese and Chinese, with a tag between them.
_WIDE = "\u3000-\u303f\u3400-\u9fff\uff01-\uff65"
_TIGHT = re.compile(
    rf"(?<=[{_WIDE}]) +((?:</?[a-z]+[^<>]*>)+)(?=[{_WIDE}])|(?<=[{_WIDE}])((?:</[a-z]+>)+) +(?=[{_WIDE}])"
)
_ATTRIBUTE = re.compile(r'\b(alt|aria-label|title)="([^"]*)"')
_STILL = re.compile(r'src="[^"]*" data-zh="([^"]*)"')
_FILLED = re.compile(r"\{\{.*?\}\}|\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", re.DOTALL)
_CALL = re.compile(r'\bsay\((?:"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)')
_LITERAL = re.compile(r"'((?:[^'\\]|\\.)*)'")
# Of a chart: keys whose text a reader reads, whose text is compared with that of the data, and that compute.
_READ = ("title", "text", "description", "touch", "bind.name", "subtitle")
_COMPARED = ("value", "options", "labels", "domain", "sort", "oneOf", "equal")
_COMPUTED = ("calculate", "filter", "test", "expr", "labelExpr")


def markdown(text: str, say: Say) -> str:
    """Markdown block by block: paragraphs, items, headings, cells of tables."""
    done: list[str] = []
    begun: tuple[str, list[str]] = ("", [])
    for line in [*text.split("\n"), ""]:
        block = _BLOCK.fullmatch(line)
        if block is None:
            begun[1].append(line.strip())
            continue
        done += [begun[0] + say(" ".join(begun[1]))] if begun[1] else []
        begun = (block[1], [block[2]]) if block[1] else ("", [])
        if not block[1]:
            done.append(_row(line, say) if "|" in line[:2] else html(line, say))
    return "\n".join(done[:-1])


def _row(line: str, say: Say) -> str:
    cells = line.split("|")
    return "|".join(f" {say(cell.strip())} " if cell.strip(" :-") else cell for cell in cells)


def html(text: str, say: Say) -> str:
    """What stands between tags, and the words in their attributes; scripts by their calls of ``say``."""
    tokens = _TOKENS.split(text)
    done = []
    for n in range(0, len(tokens), 3):
        words = re.sub(r"\s+", " ", markup.unescape(tokens[n]))
        done.append(markup.escape(say(words), quote=False) if words.strip() else tokens[n])
        if n + 1 < len(tokens):
            tag = tokens[n + 1]
            done.append(script(tag, say) if tag.startswith("<script") else _attributes(tag, say))
    return _TIGHT.sub(lambda tags: tags[1] or tags[2], "".join(done))


def _attributes(tag: str, say: Say) -> str:
    def said(found: re.Match[str]) -> str:
        return f'{found[1]}="{markup.escape(say(markup.unescape(found[2])))}"'

    # A picture that was drawn in both languages.
    return (
        _ATTRIBUTE.sub(said, _STILL.sub(r'src="\1"', tag)) if not re.match("<(pre|code|table translate)", tag) else tag
    )


def template(text: str, say: Say) -> str:
    """A template of a page: its words, with what is filled in as {1}, {2} ...; strings inside of tags stay."""
    return html(text, lambda words: _around(words, say))


def _around(words: str, say: Say) -> str:
    """A text whose filled-in parts are numbered while it is translated."""
    filled = _FILLED.findall(words)
    numbers = iter(range(1, len(filled) + 1))
    said = say(_FILLED.sub(lambda _: f"{{{next(numbers)}}}", words))
    return re.sub(r"\{(\d+)\}", lambda place: filled[int(place[1]) - 1], said)


def script(text: str, say: Say) -> str:
    """A script, in which a text for readers stands in a call of ``say``."""

    def said(found: re.Match[str]) -> str:
        mark, words = ('"', found[1]) if found[1] is not None else ("`", found[2])
        return f"say({mark}{_around(words, say)}{mark}"

    return _CALL.sub(said, text)


def chart(node: Any, say: Say, key: str = "") -> Any:
    """A specification of a chart; words of its data are translated wherever they are compared, too."""
    if isinstance(node, Mapping):
        if key == "datasets":
            return {name: [_datum(row, say) for row in rows] for name, rows in node.items()}
        # What a reader may choose begins with a value for each of its fields.
        return {
            name: chart(
                value, say, f"{begin}.{name}" if (begin := key.partition(".")[0]) in ("bind", "value") else name
            )
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [chart(value, say, key) for value in node]
    if not isinstance(node, str):
        return node
    if key.removeprefix("value.") in _COMPUTED:
        return _expression(node, say)
    compared = key.removeprefix("bind.") in _COMPARED or key.startswith("value.")
    return say(node) if compared or key in _READ else node


def _datum(row: Any, say: Say) -> Any:
    if isinstance(row, Mapping):
        return {name: _datum(value, say) for name, value in row.items()}
    return say(row) if isinstance(row, str) and not row.startswith("data:") else row


def _expression(text: str, say: Say) -> str:
    """An expression of Vega: what it joins to a sentence as one, other words each for itself."""
    parts, depth, quoted = [""], 0, False
    for sign in text:
        quoted ^= sign == "'"
        depth += 0 if quoted else (sign in "([") - (sign in ")]")
        if sign == "+" and not quoted and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    parts = [part.strip() for part in parts]
    literals = [_LITERAL.fullmatch(part) for part in parts]
    if len(parts) == 1 or not any(literals):
        return _LITERAL.sub(lambda found: f"'{say(found[1])}'", text)
    numbers, filled, joined = iter(range(1, len(parts) + 1)), {}, ""
    for part, literal in zip(parts, literals, strict=True):
        if literal:
            joined += literal[1]
        else:
            filled[place := f"{{{next(numbers)}}}"] = _expression(part, say)
            joined += place
    pieces = re.split(r"(\{\d+\})", say(joined))
    return " + ".join(filled.get(piece, f"'{piece}'") for piece in pieces if piece)


def cell(notebook: str, cell: Any, to: str) -> str:
    """The text of a notebook's cell in a language; that of somebody's own cell as far as it is known."""
    if to == "en" or cell.cell_type != "markdown":
        return str(cell.source)
    known = language.cell(notebook, str(cell.get("id")), cell.source, to)
    return known or markdown(cell.source, partial(language.say, to=to))


def bundle(data: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """What a cell shows, in each of its forms; the caption of a chart is broken into lines again."""
    said = dict(data)
    for kind, walk in {"text/html": html, "text/markdown": markdown}.items():
        if kind in said:
            said[kind] = walk(said[kind], say)
    if LIVE in said:
        drawn = said[LIVE]
        caption = say(" ".join(drawn["title"]["text"]))
        said[LIVE] = {**chart(drawn, say), "title": {"text": lines(caption)}}
    return said


def lines(caption: str) -> list[str]:
    """A caption in lines of at most 96 letters; Chinese ones are twice as wide, and may end anywhere."""
    if caption.isascii() or not re.search("[\u3400-\u9fff]", caption):
        return wrap(caption, 96)
    return broken(caption, 48)


def broken(text: str, width: int) -> list[str]:
    """A Chinese text in lines of about a width: none begins with a mark, and no word or number is cut."""
    shape = f".{{1,{width}}}(?![\uff0c\u3002\uff1b\uff1a\u3001\uff09A-Za-z0-9.])|.{{1,{width + 12}}}"
    return re.findall(shape, text)
