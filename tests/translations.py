"""Every text that a reader may see, found in the sources, and what stands of it in another language.

``python -m tests.translations`` brings the catalogues up to date and says what is open.
"""

from __future__ import annotations

import ast
import json
import re
import string
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from mflib.base import spoken
from mflib.base.language import LANGUAGES, LOCALE, PLACEHOLDER, spaced

ROOT = Path(__file__).parents[1]
PACKAGE, NOTEBOOKS = ROOT / "mflib", ROOT / "notebooks"
# A catalogue for each; a text that stands in several is in the first.
STEMS = tuple(sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
DOMAINS = ("words", *STEMS, "pages", "study", "show", "stats", "models", "data", "base")
# Arguments of functions that say where or how, and nothing that is read.
SILENT = {"loc", "layout", "engine", "mode", "encoding", "columns", "pattern", "method", "sep", "how", "orient"}
SILENT_CALLS = {"compile", "sub", "split", "fullmatch", "match", "search", "findall", "query", "style"}
# Arguments whose text is read even where it is one word.
READ = {"label", "xlabel", "ylabel", "title", "caption", "help", "description"}
CODE = re.compile(
    r"<[a-z/!]|</|==|\\[sdwb.*(|\[]|\(\?|^\s*[.#]|;\s*\}|::|^import |^from |https?:|sans-serif|^outside |^axes "
)


@dataclass(frozen=True)
class Text:
    """A text of a source; ``context`` names the cell of a notebook, ``told`` what its numbered places stand for."""

    words: str
    domain: str
    place: str
    context: str | None = None
    told: str = ""


def texts() -> list[Text]:
    """All of them, each once, in the order of the sources."""
    found: dict[tuple[str | None, str], Text] = {}
    for walk in (listed, of_notebooks, of_pages, of_code):
        for text in walk():
            found.setdefault((text.context, text.words), text)
    left = set((LOCALE / "unread.txt").read_text(encoding="utf-8").splitlines())
    return sorted((text for key, text in found.items() if key[1] not in left), key=lambda t: DOMAINS.index(t.domain))


def listed() -> Iterator[Text]:
    """Words that stand alone, which no rule tells from names: heads of tables, ticks of figures, values."""
    for line in (LOCALE / "words.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield Text(line, "words", "words.txt")


def of_notebooks() -> Iterator[Text]:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source, place = "".join(cell["source"]), f"{path.name}#{cell['id']}"
            if cell["cell_type"] == "markdown":
                yield Text(source, path.stem, place, f"{path.stem}#{cell['id']}")
            else:
                code = "\n".join(line if not line.startswith("%") else "" for line in source.splitlines())
                yield from of_python(ast.parse(code), path.stem, place, docstrings=False)


def of_pages() -> Iterator[Text]:
    assets = PACKAGE / "_assets"
    for path in sorted(assets.glob("*.html.j2")) + sorted((assets / "notebook").glob("*.j2")):
        yield from collected(spoken.template, path)
        for filled in re.findall(r"\{[{%].*?[%}]\}", path.read_text(encoding="utf-8"), re.DOTALL):
            for literal in re.findall(r'"([^"]*)"', filled):
                if re.search("[A-Za-z] [A-Za-z]", literal) and "%" not in literal:
                    yield Text(literal, "pages", path.name)
    for path in sorted(assets.glob("*.js")):
        yield from collected(spoken.script, path)
    for term, meaning in yaml.safe_load((assets / "glossary.yaml").read_text(encoding="utf-8")).items():
        yield Text(str(term), "pages", "glossary.yaml")
        yield Text(meaning, "pages", "glossary.yaml")
    for path in sorted((assets / "charts").glob("*.yaml")):
        # What is filled in is no text of the chart's.
        bare = re.sub(r"\{%.*?%\}", "", re.sub(r"\{\{.*?\}\}", "{}", path.read_text(encoding="utf-8")))
        drawn = yaml.safe_load(bare)
        yield from collected(lambda _, say, drawn=drawn: spoken.chart(drawn, say), path)


def collected(walk: Callable[..., object], path: Path) -> Iterator[Text]:
    """What a walk over a page or a script would translate."""
    found: list[str] = []

    def say(words: str) -> str:
        found.append(words.strip())
        return words

    walk(path.read_text(encoding="utf-8"), say)
    for words in found:
        if re.search("[A-Za-z]{2}", PLACEHOLDER.sub("", words).replace("{}", "")):
            yield Text(words, "pages", path.name)


def of_code() -> Iterator[Text]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        wing = name.partition("/")[0]
        domain = wing if wing in DOMAINS else "study"
        yield from of_python(ast.parse(path.read_text(encoding="utf-8")), domain, name, docstrings=True)


def of_python(tree: ast.Module, domain: str, place: str, *, docstrings: bool) -> Iterator[Text]:
    """Strings with more than one word, and f-strings as templates; docstrings that somebody reads, too."""
    skipped, read = set[int](), set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if docstrings and isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                skipped.add(id(first.value))
                if isinstance(node, ast.FunctionDef):
                    for told in docstring(node):
                        yield Text(told, domain, f"{place}:{node.lineno}")
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            silent = [keyword.value for keyword in node.keywords if keyword.arg in SILENT]
            for value in silent + (node.args if name in SILENT_CALLS else []):
                skipped |= {id(inner) for inner in ast.walk(value)}
            read |= {id(keyword.value) for keyword in node.keywords if keyword.arg in READ}
        elif isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values if isinstance(value, ast.Constant)}
            skipped |= {
                id(inner) for value in node.values if isinstance(value, ast.FormattedValue) and value.format_spec
                for inner in ast.walk(value.format_spec)
            }  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            template, told = joined(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            template, told = formatted(node.value), ""
        else:
            continue
        for words in blocks(template, whole=docstrings):
            if is_text(words, one=id(node) in read or "|" in template):
                yield Text(words, domain, f"{place}:{node.lineno}", told=told)


def docstring(node: ast.FunctionDef) -> list[str]:
    """What a figure shows, for who cannot see it, and what a command does."""
    names = [ast.unparse(decorator) for decorator in node.decorator_list]
    told = ast.get_docstring(node) or ""
    if any(name.endswith("styled") for name in names):
        return told.splitlines()[:1]
    return [" ".join(part.split()) for part in told.split("\n\n")] if any(n.startswith("app.") for n in names) else []


def joined(node: ast.JoinedStr) -> tuple[str, str]:
    """An f-string with its places as {1}, {2} ..., and what stands in them."""
    text, told = "", []
    for value in node.values:
        if isinstance(value, ast.Constant):
            text += value.value
        elif not text.endswith("}"):
            told.append(ast.unparse(value.value))
            text += f"{{{len(told)}}}"
        else:  # what stands without anything between is one
            told[-1] += f" {ast.unparse(value.value)}"
    return text, ", ".join(f"{n}: {part}" for n, part in enumerate(told, 1))


def formatted(text: str) -> str:
    """A template for ``format`` with its places by name alone; any other text as it is."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return text
    if not any(name and re.fullmatch(r"[a-z_]\w*(-learn)?", name) for _, name, _, _ in parts):
        return text
    told = ""
    for literal, name, _, _ in parts:
        told += literal
        told += f"{{{name.replace('-', '_')}}}" if name and not told.endswith("}") else ""
    return told


def blocks(text: str, *, whole: bool) -> list[str]:
    """The blocks of a Markdown text, as a notebook shows it; of any other text the lines."""
    found: list[str] = []

    def say(words: str) -> str:
        found.append(words.strip())
        return words

    if "\n" in text.strip() and not whole:
        spoken.markdown(text, say)
        return found
    return [line.strip() for line in text.split("\n")]


def is_text(words: str, *, one: bool) -> bool:
    """Whether somebody reads it: words, not a name, a pattern or a style."""
    fixed = PLACEHOLDER.sub("", words)
    if CODE.search(words) or not re.search("[A-Za-z]{2}", fixed):
        return False
    return one or (bool(re.search(r"[\w})%.,:;*'\"`+] +[\w{(*'\"`\[+<]", words)) and bool(re.search("[a-z]{2}", fixed)))


def catalogue(to: str, domain: str) -> Catalog:
    path = LOCALE / to / f"{domain}.po"
    if not path.exists():
        return Catalog(locale=to, fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale=to)


def bring_up_to_date(to: str) -> dict[str, int]:
    """Put new texts into the catalogues of a language and take old ones out; says how many of each are open."""
    found, left = texts(), {}
    for domain in DOMAINS:
        kept = catalogue(to, domain)
        fresh = Catalog(locale=to, fuzzy=False, project="mflib")
        for text in found:
            if text.domain == domain:
                fresh.add(text.words, context=text.context, locations=[(text.place.partition(":")[0], None)],
                          auto_comments=[text.told] if text.told else [])  # fmt: skip
        kept.update(fresh, no_fuzzy_matching=False, update_header_comment=False)
        kept.obsolete.clear()
        path = LOCALE / to / f"{domain}.po"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(kept, path)
        left[domain] = sum(not message.string or message.fuzzy for message in kept if message.id)
    return left


def write(kept: Catalog, path: Path) -> None:
    """A catalogue without dates, so that the same texts give the same file."""
    with path.open("wb") as file:
        write_po(file, kept, width=0, omit_header=True, include_previous=False, ignore_obsolete=True)


def said_in(to: str) -> dict[tuple[str | None, str], Any]:
    """Every entry of a language's catalogues by its context and text."""
    return {
        (message.context, message.id): message
        for domain in DOMAINS for message in catalogue(to, domain) if message.id
    }  # fmt: skip


def open_in(to: str) -> list[str]:
    """Everything that is missing, fuzzy or of an older text in a language's catalogues."""
    said, wanted = said_in(to), {(text.context, text.words): text for text in texts()}
    missing = [f"missing: {text.place}: {text.words}" for key, text in wanted.items() if key not in said]
    stale = [f"stale: {words}" for context, words in said if (context, words) not in wanted]
    undone = [
        f"{'fuzzy' if message.fuzzy else 'open'}: {message.id}" for message in said.values()
        if message.fuzzy or not message.string
    ]  # fmt: skip
    return missing + stale + undone


# The field's words, as the paper and Chinese guidelines use them.
TERMS = {
    "multifidus": "多裂肌",
    "fatty infiltration": "脂肪浸润",
    "spinous process": "棘突",
    "acoustic shadow": "声影",
    "region of interest": "感兴趣区域",
    "co-occurrence matri": "灰度共生矩阵|共生矩阵",
    "random forest": "随机森林",
    "convolutional network": "卷积神经网络",
    "area under the ROC curve": "曲线下面积",
    "sensitivity(?! analysis)": "灵敏度",
    "specificity": "特异度",
    "positive predictive value": "阳性预测值",
    "negative predictive value": "阴性预测值",
    "accuracy": "准确率",
    "cross-validation": "交叉验证",
    "visual analogue": "视觉模拟",
    "body mass index": "体重指数",
    "fascia": "筋膜",
    "ultrasound(?! Multi-frame)": "超声",
    "gain normalis": "增益",
    "threshold": "阈值",
    "calibration": "校准",
    "texture": "纹理",
    "confusion matri": "混淆矩阵",
    "kappa": "[Kk]appa",
    "saliency": "显著",
    "prevalence": "患病率|比例",
}
SHAPES = {
    "code": r"`[^`]+`",
    "formulas": r"\$[^$\n]+\$",
    "links": r"\]\(([^)]*)\)",
    "tags": r"</?\w+>",
    "headings": r"(?m)^#+ ",
    "rows": r"(?m)^\|",
    "items": r"(?m)^ *(?:- |\d+\. )",
}
HAN = "[\u3400-\u9fff]"


def faults_of(source: str, said: str) -> list[str]:
    """What is wrong with a translation, as far as rules can tell."""
    found = []
    places, others = (sorted(PLACEHOLDER.findall(text)) for text in (source, said))
    if places != others:
        found.append(f"places {others}, expected {places}")
    numbers = [set(re.findall(r"\d+(?:[.,]\d+)*", PLACEHOLDER.sub("", text))) for text in (source, said)]
    if more := numbers[1] - numbers[0]:
        found.append(f"numbers that the source does not have: {sorted(more)}")
    for kind, shape in SHAPES.items():
        if sorted(re.findall(shape, source)) != sorted(re.findall(shape, said)):
            found.append(f"{kind} differ")
    bare = re.sub(r"`[^`]*`|\$[^$\n]+\$|\]\([^)]*\)|https?:\S+|</?\w+>", "", said)
    if wrong := re.findall(rf".?{HAN}[,;:?!()].?|.?[,;:?!()]{HAN}.?", bare):
        found.append(f"half-width marks beside Chinese: {wrong[:3]}")
    if re.search(r"(?m)^\|", said) is None and spaced(said) != said:
        found.append(f"spaces between Chinese and Latin: expected {spaced(said)}")
    for term, wanted in TERMS.items():
        if (
            re.search(rf"\b{term}", PLACEHOLDER.sub("", source), re.IGNORECASE)
            and not re.search(wanted, said)
            and re.search(HAN, said)
        ):
            found.append(f"{term}: expected {wanted}")
    if (source[:1].isspace(), source[-1:].isspace()) != (said[:1].isspace(), said[-1:].isspace()):
        found.append("blanks at an end")
    return found


def faults_in(to: str, domains: Sequence[str] = DOMAINS) -> list[str]:
    """Every fault of the translations of a language."""
    return [
        f"{domain}: {message.id!r}: {fault}"
        for domain in domains for message in catalogue(to, domain)
        if message.id and message.string for fault in faults_of(message.id, message.string)
    ]  # fmt: skip


if __name__ == "__main__":
    for other in LANGUAGES.keys() - {"en"}:
        for name, count in bring_up_to_date(other).items():
            if count:
                sys.stdout.write(f"{other}/{name}.po: {count} open\n")
        sys.stdout.write("".join(f"{fault}\n" for fault in faults_in(other, sys.argv[1:] or DOMAINS)))
