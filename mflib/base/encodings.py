"""Text in the encoding that its bytes tell, or that somebody has stated where they do not."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mflib.base.errors import FileError

STATED = "MFLIB_ENCODING"
"""Of the environment: a command's --encoding, which the processes that it starts follow too."""
MARKS = {BOM_UTF8: "utf-8", BOM_UTF16_LE: "utf-16-le", BOM_UTF16_BE: "utf-16-be"}
MAC = "mac_roman"
WIDE = ("gb18030", "big5", "cp932", "cp949")  # as Windows has them in China, Taiwan and Hong Kong, Japan, Korea
LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", MAC)
OTHERS = ("cp1251", "cp1253")
NAMES = {"gb18030": "GB18030", "big5": "Big5", "cp932": "Shift-JIS", "cp949": "EUC-KR", "cp1252": "Windows-1252"}
BETWEEN = re.compile(r"[^\t;,\"\r\n]+")
# What stands in no word: a Chinese, Russian or Greek letter in a Latin one, a sign; Japanese letters of half width.
BROKEN = {
    WIDE: re.compile(r"[A-Za-z][^\x00-\u2fff]+[a-z]|[\uff61-\uff9f]"),
    OTHERS: re.compile(
        r"[A-Za-z][\u0370-\u04ff]|[\u0370-\u04ff](?:[A-Za-z]|[^\w\s.-][\u0370-\u04ff])"
        r"|[\u03ac-\u03ce\u0430-\u045f][\u0386-\u03a9\u0400-\u042f]"
    ),
    LATIN: re.compile(r"[^\W\d_](?=[^\x00-\x7f])(?:[^\w\s\u2018\u2019\u2013\u2014]|[\xb2\xb3\xb9\xaa\xba])+[^\W\d_]"),
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
    encoding, body = MARKS.get(mark, "utf-8"), content.removeprefix(mark)
    text = _strictly(body, encoding)
    if text is None and not mark:
        encoding = os.environ.get(STATED) or _told(body)
        text = _strictly(body, encoding)
    if text is None or "\0" in text:
        raise FileError("bytes that are no text", f"a text in UTF-8, or in {NAMES.get(encoding, encoding)} as stated")
    return text.replace("\ufeff", ""), encoding, mark


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises
    ------
    FileError
        It cannot be read, or is no JSON.
    """
    try:
        text, *_ = decoded(path.read_bytes())
        return json.loads(text)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"a file that cannot be read ({error.strerror})", "a JSON object") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"no valid JSON ({error})", "a JSON object") from error


def _strictly(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _told(content: bytes) -> str:
    """The one code page in which bytes are words that are known here, or a text as people write it."""
    # Its tables need pandas, which a process that reads UTF-8 in sidecars need not wait for.
    from mflib.base import vocabulary

    texts = {name: text for name in (*WIDE, *LATIN, *OTHERS) if (text := _strictly(content, name)) and _is_text(text)}
    known = {name: sum(map(vocabulary.is_known, BETWEEN.findall(text))) for name, text in texts.items()}
    best = max(known.values(), default=0)
    likely = [name for name, text in texts.items() if known[name] == best and (best or _is_plausible(name, text))]
    # Few still write as old Macs do, whose signs look like letters of Windows.
    likely = [name for name in likely if best or name != MAC] or likely
    if len({texts[name] for name in likely}) > 1:
        likely = _orderly(content, likely)
    readings = {texts[name]: name for name in reversed(likely)}
    if not readings:
        raise FileError("bytes that are no text", "a table in UTF-8, or as a spreadsheet saves it")
    if len(readings) > 1:
        shown = ", ".join(f"{_shown(text)!r} in {NAMES.get(name, name)}" for text, name in [*readings.items()][:3])
        raise FileError(f"an encoding that its bytes do not tell ({shown})", "UTF-8, or --encoding with the right one")
    return next(iter(readings.values()))


def _is_text(text: str) -> bool:
    """Whether every letter is one that somebody could have typed: no control, nothing for private use or unassigned."""
    return all(letter in "\t\r\n" or unicodedata.category(letter) not in ("Cc", "Co", "Cn") for letter in text)


def _is_plausible(name: str, text: str) -> bool:
    """Whether the words are made as those of the languages that use a code page."""
    if name == "cp949" and 4 * len(HANJA.findall(text)) > len(HANGUL.findall(text)):
        return False
    # The letters that people use are those of the older standards, of two high bytes: four in five of a text.
    letters = [letter.encode(name) for letter in text if not letter.isascii()]
    if name in ("gb18030", "cp949") and 5 * sum(min(letter) > 0xA0 for letter in letters) < 4 * len(letters):
        return False
    if any(name in names and broken.search(text) for names, broken in BROKEN.items()):
        return False
    foreign = "".join(word for word in re.findall(r"[^\s\t;,\"]+", text) if not word.isascii())
    return name not in LATIN or 2 * sum(not letter.isascii() for letter in foreign) <= len(foreign)


def _orderly(content: bytes, names: Collection[str]) -> list[str]:
    """Those in which the text has the least disorder, and is most like a language; all that cannot be told apart."""
    # It takes a tenth of a second to import, which tables in UTF-8 need not wait.
    from charset_normalizer import from_bytes

    found = list(from_bytes(content, cp_isolation=list(names)))
    found = [match for match in found if match.chaos <= min(match.chaos for match in found) + DISORDER]
    found = [match for match in found if match.coherence >= max(match.coherence for match in found) - LIKENESS]
    return [name for match in found for name in names if name in (match.encoding, *match.could_be_from_charset)]


def _shown(text: str) -> str:
    """The first cell that is not plain ASCII."""
    return next(cell.strip() for cell in BETWEEN.findall(text) if not cell.isascii())[:20]
