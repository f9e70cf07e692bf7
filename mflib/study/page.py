"""The executed notebooks as one HTML file that needs nothing else, and the pitfalls as notebooks for teaching."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import latex2mathml.converter
import nbformat
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from mflib.base import files
from mflib.base.errors import InputError
from mflib.base.files import ASSETS
from mflib.show import shown
from mflib.study.pipeline import NOTEBOOKS, Record, chosen

# Cells that set a notebook up say nothing that the page's provenance does not.
SETUP = ("setup", "parameters", "injected-parameters")
COMPARISON = "05_comparison"
TITLE = "Fatty infiltration of the lumbar multifidus from 3D ultrasound"


@dataclass(frozen=True)
class Heading:
    """An entry of the contents."""

    id: str
    text: str


@dataclass(frozen=True)
class Section:
    """One notebook on the page."""

    step: str
    title: str
    headings: tuple[Heading, ...]
    html: Markup
    status: str
    error: str


class _Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw without a script, and headings one level further down.

    Parameters
    ----------
    step : goes before the anchors, so that they differ between notebooks
    found : gets the level and the entry of each heading
    """

    def __init__(self, step: str, found: list[tuple[int, Heading]]) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.step, self.found = step, found

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        """The page has the h1."""
        plain = Markup(text).striptags()
        entry = Heading(f"{self.step}-{_slug(plain)}", plain)
        self.found.append((level, entry))
        name = f"h{min(level + 1, 6)}"
        return f'<{name} id="{entry.id}">{text}</{name}>\n'

    def block_math(self, body: str) -> str:
        return latex2mathml.converter.convert(body, display="block")

    def inline_math(self, body: str) -> str:
        return latex2mathml.converter.convert(body)


def write_page(folder: Path, records: Mapping[str, Record], context: Mapping[str, Any]) -> Path:
    """Join the executed notebooks of a run folder into ``report.html``.

    Parameters
    ----------
    folder : the run folder
    records : how each notebook ended
    context : cohort, external, profile, split, synthetic, notices, provenance: what the page says besides the notebooks

    Returns
    -------
    Path
        The written file.
    """
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    sections = {step: section(folder, step, records.get(step)) for step in chosen(bool(context["external"]))}
    page = environment.get_template("page.html.j2").render(
        title=TITLE,
        sections=list(sections.values()),
        key_results=_key_results(folder, records.get(COMPARISON), sections[COMPARISON]),
        style=Markup((ASSETS / "page.css").read_text() + _highlighting()),
        script=Markup((ASSETS / "page.js").read_text()),
        **context,
    )
    path = folder / "report.html"
    files.write_text(path, page)
    return path


def section(folder: Path, step: str, record: Record | None) -> Section:
    """One executed notebook as a section; a notebook that never ran is a section that says so."""
    path = folder / "notebooks" / f"{step}.ipynb"
    status, error = (record.status, record.error) if record else ("not run", "It was not asked for.")
    if not path.exists() or status == "not run":
        return Section(step, step.replace("_", " "), (), Markup("<h2>{}</h2>").format(step), status, error)
    found: list[tuple[int, Heading]] = []
    html, _ = _exporter(_Renderer(step, found)).from_filename(str(path))
    title = next((heading.text for level, heading in found if level == 1), step)
    headings = tuple(heading for level, heading in found if level == 2)
    return Section(step, title, headings, Markup(html), status, error)


def _exporter(renderer: _Renderer) -> HTMLExporter:
    exporter = HTMLExporter(
        config=Config({"TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": list(SETUP)}}),
        template_name="notebook",
        extra_template_basedirs=[str(ASSETS)],
        preprocessors=[CoalesceStreamsPreprocessor(enabled=True)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    exporter.register_filter("markdown2html", MarkdownWithMath(renderer).render)
    return exporter


def _key_results(folder: Path, record: Record | None, comparison: Section) -> Markup:
    # A table of an earlier run would be shown beside notebooks that it does not come from.
    if record is None or record.status != "done":
        return Markup("<p>They come from the comparison notebook, which has not run to its end yet.</p>")
    frame = pd.read_csv(folder / "tables" / "key_results.csv", keep_default_na=False)
    caption = "Ours beside the paper's. Intervals account for the segments of one patient."
    # Without its id: it stands in its notebook too.
    curves = re.findall(r'<figure id="figure-roc_curves">(.*?</figure>)', comparison.html, re.DOTALL)
    return Markup(shown.table_html(frame, "summary", caption) + "".join(f"<figure>{curve}" for curve in curves))


def _highlighting() -> str:
    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    plain = re.compile(r"^(\.highlight \{|pre \{|td\.linenos|span\.linenos).*$", re.MULTILINE)
    return plain.sub("", light) + "@media (prefers-color-scheme: dark) {" + plain.sub("", dark) + "}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


EXERCISE_SOURCE = NOTEBOOKS / "07_pitfalls.ipynb"
SOLUTION = "solution"


def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """The notebook without the cells that are tagged as solutions; everything else stays, parameters too."""
    kept = copy.deepcopy(notebook)
    kept.cells = [cell for cell in kept.cells if SOLUTION not in cell.metadata.get("tags", [])]
    return kept


def write_exercises(folder: Path, *, force: bool = False) -> list[Path]:
    """Write ``07_pitfalls.ipynb`` without its solutions, and ``07_pitfalls_solutions.ipynb`` with them.

    Parameters
    ----------
    folder : made where there is none
    force : replace notebooks that are there

    Returns
    -------
    list of Path
        The two notebooks.

    Raises
    ------
    InputError
        One of them is there already, and ``force`` is not set: a student may have worked in it. Or the folder is the
        one that the notebook comes from.
    """
    if folder.resolve() == NOTEBOOKS.resolve():
        raise InputError(f"found {folder.name}, where the solutions come from; expected another folder")
    paths = [folder / EXERCISE_SOURCE.name, folder / f"{EXERCISE_SOURCE.stem}_solutions.ipynb"]
    there = [path.name for path in paths if path.exists()]
    if there and not force:
        raise InputError(
            f"found {' and '.join(there)} in {folder.name}, where somebody may have worked; expected a folder without, "
            "or --force"
        )
    whole = nbformat.read(EXERCISE_SOURCE, as_version=4)
    folder.mkdir(parents=True, exist_ok=True)
    for path, notebook in zip(paths, (without_solutions(whole), whole), strict=True):
        files.write_text(path, nbformat.writes(notebook) + "\n")
    return paths
