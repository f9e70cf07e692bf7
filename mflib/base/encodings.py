"""Text in the encoding that its bytes tell, or that somebody has stated where they do not."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from mflib.base.errors import FileError

STATED = "MFLIB_ENCODING"
"""Of the environment: a command's --encoding, which the processes that it starts follow too."""
MARKS = {BOM_UTF8: "utf-8", BOM_UTF16_LE: "utf-16-le", BOM_UTF16_BE: "utf-16-be"}
# As Windows has them in China, Taiwan and Hong Kong, Japan, Korea; in Europe; and as old Macs and DOS had them.
WIDE = ("gb18030", "big5hkscs", "cp950", "cp932", "cp949")
OLD = ("mac_roman", "cp850")
LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", *OLD)
OTHERS = ("cp1251", "cp1253")
NAMES = {"gb18030": "GB18030", "big5hkscs": "Big5", "cp950": "Big5", "cp932": "Shift-JIS", "cp949": "EUC-KR",
         "cp1252": "Windows-1252"}  # fmt: skip
SAMPLE = 2**16  # bytes by which an encoding is told
BETWEEN = re.compile(r"[^\t;,\"\r\n]+")
# What stands in no word: a Chinese, Russian or Greek letter in a Latin one, a sign; Japanese letters of half width.
BROKEN = {
    WIDE: re.compile(r"[A-Za-z][^\x00-\x7f]+[a-z]|[\uff61-\uff9f]"),
    OTHERS: re.compile(
        r"[A-Za-z][\u0370-\u04ff]|[\u0370-\u04ff](?:[A-Za-z]|[^\w\s.-][\u0370-\u04ff])"
        r"|[\u03ac-\u03ce\u0430-\u045f][\u0386-\u03a9\u0400-\u042f]"
    ),
    LATIN: re.compile(r"[^\W\d_](?=[^\x00-\x7f])(?:[^\w\s\u2018\u2019\u2013\u2014]|[\xb2\xb3\xb9\xaa\xba])+[^\W\d_]"),
}
# The letters beyond ASCII of each language that these code pages are for: German, French, Spanish, Portuguese, Italian,
# the Nordic ones, Polish, Czech and Slovak, Hungarian, Turkish, Latvian, Lithuanian, Estonian.
LETTERS = (
    "äöüß", "àâæçéèêëîïôœùûüÿ", "áéíñóúü", "ãáàâçéêíóôõú", "àèéìíîòóù", "åäöæøé", "ąćęłńóśźż", "áčďéěíňóřšťúůýžĺľŕäô",
    "áéíóöőúüű", "çğıöşüâîû", "āčēģīķļņšūž", "ąčęėįšųūž", "õäöüšž",
)  # fmt: skip
# The letters that people use, by their two bytes: four in five of a text.
USUAL: dict[str, Callable[[int, int], bool]] = {
    **dict.fromkeys(("gb18030", "cp949"), lambda lead, trail: min(lead, trail) > 0xA0),
    **dict.fromkeys(("big5hkscs", "cp950"), lambda lead, trail: 0xA1 <= lead <= 0xC6),
}
HANGUL, HANJA = re.compile("[\uac00-\ud7a3]"), re.compile("[\u4e00-\u9fff]")
# Of charset-normalizer's measures, disorder and likeness to a language: what is no more than this apart is a tie.
DISORDER, LIKENESS = 0.02, 0.1


def decoded(content: bytes) -> tuple[str, str, bytes]:
    """A text, its codec, and the mark before it, often none: UTF-8, UTF-16 with its mark, or a national code page.

    Raises
    ------
    FileError
        Bytes that are no text, or that can be read in several ways.
    """
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    # DOS ended a text with the last of these.
    encoding, body = MARKS.get(mark, "utf-8"), content.removeprefix(mark).rstrip(b"\x1a")
    text, stated = _strictly(body, encoding), os.environ.get(STATED, "")
    # Escapes are those of Japanese mails, which are ASCII otherwise.
    if not mark and (text is None or re.search("[\0\x1b]", text)):
        encoding = stated or _told(body)
        text = _strictly(body, encoding)
    if text is None or "\0" in text:
        expected = f"a text in {NAMES.get(encoding, encoding)}{', as stated' if stated and not mark else ''}"
        raise FileError("bytes that are no text", expected)
    return text.replace("\ufeff", ""), encoding, mark


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises
    ------
    FileError
        It cannot be read, is no JSON, or holds something else.
    """
    try:
        text, *_ = decoded(path.read_bytes())
        content = json.loads(text)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"a file that cannot be read ({error.strerror})", "a JSON object") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"no valid JSON ({error})", "a JSON object") from error
    if not isinstance(content, dict):
        raise FileError(f"a {type(content).__name__}", "a JSON object")
    return content


def _strictly(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None
    except LookupError as error:
        expected = "one that Python knows, such as gb18030, big5 or cp1252"
        raise FileError(f"--encoding {encoding!r} (in the environment {STATED})", expected) from error


def _told(content: bytes) -> str:
    """The one code page in which bytes are words that are known here, or a text as people write it."""
    # Its tables need pandas, which a process that reads UTF-8 in sidecars need not wait for.
    from mflib.base import vocabulary

    if b"\0" in content:
        raise FileError("bytes that are no text", "a table in UTF-8, or as a spreadsheet saves it")
    _refuse_broken(content)
    sample = content if len(content) <= SAMPLE else content[:SAMPLE].rpartition(b"\n")[0]
    texts = {name: text for name in (*WIDE, *LATIN, *OTHERS) if (text := _strictly(sample, name)) and _is_text(text)}
    known = {name: sum(map(vocabulary.is_known, BETWEEN.findall(text))) for name, text in texts.items()}
    best = max(known.values(), default=0)
    likely = [name for name, text in texts.items() if known[name] == best and (best or _is_plausible(name, text))]
    # Few still write as old Macs and DOS did, whose signs look like letters of Windows.
    likely = [name for name in likely if best or name not in OLD] or likely
    likely = likely or [name for name in texts if name not in OLD]
    if len({texts[name] for name in likely}) > 1:
        likely = _orderly(sample, likely)
    readings = {texts[name]: name for name in reversed(likely)}
    if len(readings) == 1:
        return next(iter(readings.values()))
    cells = [[cell.strip() for cell in BETWEEN.findall(text)] for text in readings]
    # The first cell in which they differ.
    shown = next(filter(lambda same: len(set(same)) > 1, zip(*cells, strict=False)), ())
    said = [f"{cell[:20]!r} in {NAMES.get(name, name)}" for cell, name in zip(shown, readings.values(), strict=False)]
    found = f"an encoding that its bytes do not tell ({', '.join(said[:3])})"
    raise FileError(found, "UTF-8, or --encoding with the right one")


def _refuse_broken(content: bytes) -> None:
    """Refuse what is UTF-8 but for a byte or two, and say where."""
    foreign = [letter for letter in content.decode("utf-8", "replace") if not letter.isascii()]
    if len(foreign) >= 10 * (foreign.count("\ufffd") or 1):
        row = content.decode("utf-8", "replace").partition("\ufffd")[0].count("\n") + 1
        raise FileError(f"UTF-8 but for a byte in row {row}", "the table saved again as UTF-8")


def _is_text(text: str) -> bool:
    """Whether every letter is one that somebody could have typed: no control, nothing for private use or unassigned."""
    return all(letter in "\t\r\n\v\f" or unicodedata.category(letter) not in ("Cc", "Co", "Cn") for letter in set(text))


def _is_plausible(name: str, text: str) -> bool:
    """Whether the words are made as those of the languages that use a code page."""
    if any(name in names and broken.search(text) for names, broken in BROKEN.items()):
        return False
    letters = Counter(letter for letter in text if not letter.isascii())
    if name == "cp949" and 4 * len(HANJA.findall(text)) > len(HANGUL.findall(text)):
        return False
    if name in USUAL:
        codes = [(letter.encode(name), count) for letter, count in letters.items()]
        usual = sum(count for code, count in codes if len(code) == 2 and USUAL[name](*code))
        return 5 * usual >= 4 * sum(count for code, count in codes if len(code) == 2)
    if name not in LATIN:
        return True
    foreign = "".join(word for word in re.findall(r"[^\s\t;,\"]+", text) if not word.isascii())
    of_words = {letter.lower() for letter in letters if letter.isalpha()}
    few = 2 * sum(not letter.isascii() for letter in foreign) <= len(foreign)
    return few and (bool(of_words) or name not in OLD) and any(of_words <= {*language} for language in LETTERS)


def _orderly(content: bytes, names: Collection[str]) -> list[str]:
    """Those in which the text has the least disorder, and is most like a language; all that cannot be told apart."""
    # It takes a tenth of a second to import, which tables in UTF-8 need not wait.
    from charset_normalizer import from_bytes

    found = list(from_bytes(content, cp_isolation=list(names)))
    found = [match for match in found if match.chaos <= min(match.chaos for match in found) + DISORDER]
    found = [match for match in found if match.coherence >= max(match.coherence for match in found) - LIKENESS]
    return [name for match in found for name in names if name in (match.encoding, *match.could_be_from_charset)]
