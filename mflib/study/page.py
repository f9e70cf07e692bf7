"""The report and the page of a checked cohort as HTML files that need nothing else; the exercises for teaching."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import compress
from pathlib import Path
from typing import Any

import latex2mathml.converter
import nbformat
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from mflib.base import files, spoken, words
from mflib.base.errors import InputError
from mflib.base.files import ASSETS
from mflib.base.language import LANGUAGES, language, say
from mflib.base.words import KEY
from mflib.data import quality
from mflib.data.check import Inspection
from mflib.data.quality import Quality
from mflib.show import figures, shown
from mflib.study import methods
from mflib.study.answer import ASKED
from mflib.study.pipeline import NOTEBOOKS, STEPS, Record, chosen

# Cells that set a notebook up say nothing that the page's provenance does not.
SETUP = ("setup", "parameters", "injected-parameters")
# What is seen stands last in a notebook, after it was found out, and first in a chapter; what to check and to try is
# for who has the notebook open, and so is what a cell of the title says of learning and of files.
SEEN, CHECKS, TRY, TITLE_CELL = "seen-do", "checks", "try", "title"
# A tag of a heading: its section is folded, as one that most readers pass by.
ASIDE = "aside"
FOR_THE_NOTEBOOK = ("**Afterwards you can**", "**Minutes.**", "**Before.**", "**Outputs.**")
COMPARISON = "05_comparison"
FIRST = ("figure-roc_curves", "table-key_results")  # of the comparison, on the first page
APPENDICES = ("07_pitfalls", "08_published_figures")
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

    @property
    def appendix(self) -> bool:
        """Whether it is no part of the study itself: folded, below it."""
        return self.step in APPENDICES

    @property
    def gist(self) -> str:
        """The first sentence of what was seen."""
        paragraphs = re.findall(r"<p>(.*?)</p>", self.html.partition(f'id="{self.step}-what-we-saw"')[2], re.DOTALL)
        text = Markup(paragraphs[0]).striptags() if paragraphs else ""
        return re.split(r"(?<=[a-z)%\d]\.) (?=[A-Z])|(?<=\u3002)", text)[0]


class _Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw without a script, and headings one level further down.

    Parameters
    ----------
    step : goes before the anchors, so that they differ between notebooks
    found : gets the level and the entry of each heading
    anchors : those of the same headings in English, so that a place is the same in every language
    """

    def __init__(self, step: str, found: list[tuple[int, Heading]], anchors: Sequence[str] = ()) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.step, self.found, self.anchors = step, found, anchors

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        """The page has the h1."""
        plain = Markup(text).striptags()
        own = f"{self.step}-{re.sub('[^a-z0-9]+', '-', plain.lower()).strip('-')}"
        entry = Heading(self.anchors[len(self.found)] if self.anchors else own, plain)
        self.found.append((level, entry))
        name = f"h{min(level + 1, 6)}"
        return f'<{name} id="{entry.id}">{text}</{name}>\n'

    def block_math(self, body: str) -> str:
        """A wide one scrolls, so the keyboard must reach it."""
        return latex2mathml.converter.convert(body, display="block").replace("<math", '<math tabindex="0"', 1)

    def inline_math(self, body: str) -> str:
        return latex2mathml.converter.convert(body)


def write_page(folder: Path, records: Mapping[str, Record], languages: Sequence[str], **context: Any) -> Path:
    """Join the executed notebooks of a run folder into ``report.html``.

    Parameters
    ----------
    folder : the run folder
    records : how each notebook ended
    languages : of the page; of two, the second waits behind a switch
    context : cohort, external, profile, split, synthetic, notices, provenance, answer, methods and
        design (of ``methods``): what the page says besides the notebooks

    Returns
    -------
    Path
        The written file.
    """
    spoken_there = {LANGUAGES[to]: page_words(to) for to in languages}
    pages = [_page(folder, records, to, words=spoken_there, **context) for to in languages]
    path = folder / "report.html"
    files.write_text(path, _switched(*pages))
    return path


def _page(folder: Path, records: Mapping[str, Record], to: str, **context: Any) -> str:
    sections = {step: section(folder, step, records.get(step), to) for step in chosen(bool(context["external"]))}
    comparison = sections[COMPARISON]
    first, rest = lifted(comparison.html, FIRST)
    sections[COMPARISON] = replace(comparison, html=rest)
    return shown.page(
        "page.html.j2",
        ["page.css"],
        "page.js",
        to,
        title=TITLE,
        asked=ASKED,
        sections=list(sections.values()),
        evidence=first,
        methods=methods.forms(say(context.pop("methods"), to)),
        glossary=methods.glossary(to),
        highlighting=Markup(_highlighting()),
        library=shown.library(),
        dark=shown.DARK,
        **context,
    )


_BODY = re.compile(r'<div id="page">(.*)</div><!-- page -->', re.DOTALL)


def _switched(page: str, *others: str) -> str:
    """A page that holds others in a language of their own, each as it would stand alone."""
    for other in others:
        lang, body = re.findall(r'<html lang="([\w-]+)"', other)[0], _BODY.findall(other)[0]
        page = page.replace("<!-- languages -->", f'<template lang="{lang}">{body}</template><!-- languages -->')
    return page


def page_words(to: str) -> dict[str, str]:
    """What the page's script says, which may change its language while it is open."""
    found = dict[str, str]()
    spoken.script((ASSETS / "page.js").read_text(encoding="utf-8"), lambda text: found.setdefault(text, say(text, to)))
    return found


def section(folder: Path, step: str, record: Record | None, to: str = "en") -> Section:
    """One executed notebook as a section; a notebook that never ran is a section that says so."""
    path = folder / "notebooks" / f"{step}.ipynb"
    status, error = (record.status, record.error) if record else ("not run", "It was not asked for.")
    if not path.exists() or status == "not run":
        return Section(step, step.replace("_", " "), (), Markup("<h2>{}</h2>").format(step), status, error)
    chapter = _converted(path, step, path.stat().st_mtime_ns, to)
    title = next((heading.text for level, heading in chapter.found if level == 1), step)
    headings = tuple(heading for level, heading in chapter.found if level == 2)
    return Section(step, title, headings, chapter.html, status, error)


@dataclass(frozen=True)
class _Chapter:
    """The headings of an executed notebook with their levels, and its body."""

    found: list[tuple[int, Heading]]
    html: Markup


@lru_cache(maxsize=32)  # a report is written again whenever a notebook has ended
def _converted(path: Path, step: str, changed_ns: int, to: str) -> _Chapter:
    anchors = [] if to == "en" else [heading.id for _, heading in _converted(path, step, changed_ns, "en").found]
    figures_folder, found = path.parents[1] / "figures", list[tuple[int, Heading]]()
    notebook = as_chapter(nbformat.read(path, as_version=4), figures_folder, step, to)
    html, _ = _exporter(_Renderer(step, found, anchors)).from_notebook_node(notebook)
    html = re.sub(r' data-zh="[^"]*"', "", html) if to == "en" else spoken.html(html, partial(say, to=to))
    html = methods.explained(html, to)
    # A corner of a table that heads nothing is no head.
    drawn = shown.themed(re.sub(r"<th>\s*</th>", "<td></td>", html), figures_folder, to)
    return _Chapter(found, drawn)


def as_chapter(notebook: NotebookNode, folder: Path, step: str = "", to: str = "en") -> NotebookNode:
    """Put an executed notebook into the order of a report: what was seen first, without what only its user needs.

    Its charts become HTML, with the pictures of them that lie in ``folder``; its cells and what they show are put into
    the language, but for HTML.
    """
    said = partial(say, to=to)
    cells = [cell for cell in notebook.cells if cell.get("id") not in (CHECKS, TRY)]
    places = {cell.get("id"): place for place, cell in enumerate(cells)}
    told = {}
    if TITLE_CELL in places:
        title = cells[places[TITLE_CELL]]
        parts = spoken.cell(step, title, to).split("\n\n")
        kept = [not text.startswith(FOR_THE_NOTEBOOK) for text in title.source.split("\n\n")]
        told[TITLE_CELL] = "\n\n".join(compress(parts, kept))
        last = places.get(SEEN, len(cells))
        cells = [title, *cells[last:], *(cell for cell in cells[:last] if cell is not title)]
    aside = ""
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = told.get(cell.get("id")) or spoken.cell(step, cell, to)
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            heading = cell.source.partition("\n")[0].removeprefix("## ")
            aside = heading if ASIDE in cell.metadata.get("tags", []) else ""
        if aside:
            cell.metadata[ASIDE] = aside
        for output in cell.get("outputs", []):
            # Only JupyterLab has what a widget needs; beside it stands its still picture.
            (data := output.get("data", {})).pop(shown.WIDGET, None)
            if "text/markdown" in data:
                data["text/markdown"] = spoken.markdown(words.minus(data["text/markdown"]), said)
            if shown.LIVE in data:
                output["data"] = NotebookNode({"text/html": shown.alive_html(data[shown.LIVE], folder, to)})
            if "text" in output:
                output["text"] = said(output["text"])
            if "traceback" in output:
                output["traceback"] = [said(line) for line in output["traceback"]]
    notebook.cells = cells
    notebook.metadata.pop("widgets", None)
    return notebook


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


def lifted(html: Markup, names: Sequence[str]) -> tuple[Markup, Markup]:
    """Figures and tables of these ids, and the rest: what stands on the first page does not stand twice."""
    found = []
    for name in names:
        shape = rf'<figure id="{name}">.*?</figure>|<div [^>]*class="table"[^>]*><table id="{name}">.*?</table></div>'
        if match := re.search(shape, html, re.DOTALL):
            found.append(match[0])
            html = Markup(html[: match.start()] + html[match.end() :])
    return Markup("".join(found)), html


def _highlighting() -> str:
    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    plain = re.compile(r"^(\.highlight \{|pre \{|td\.linenos|span\.linenos).*$", re.MULTILINE)
    return plain.sub("", light) + "@media (prefers-color-scheme: dark) {" + plain.sub("", dark) + "}"


SOLUTION = "solution"
ANSWER = re.compile(r"\n*<details>.*?</details>", re.DOTALL)
IN_THE_SOURCE = "found {folder}, where the solutions come from; expected another folder"
WORKED_IN = "found {names} in {folder}, where somebody may have worked; expected a folder without, or --force"


def write_exercises(folder: Path, *, force: bool = False) -> list[Path]:
    """Write each notebook of the study without answers and solutions, and with them as ``NAME_solutions.ipynb``.

    Parameters
    ----------
    folder : made where there is none
    force : replace notebooks that are there

    Returns
    -------
    list of Path
        The notebooks, each before its solutions.

    Raises
    ------
    InputError
        One of them is there already, and ``force`` is not set: a student may have worked in it. Or the folder is the
        one that the notebooks come from.
    """
    if folder.resolve() == NOTEBOOKS.resolve():
        raise InputError(IN_THE_SOURCE.format(folder=folder.name))
    paths = [folder / f"{step}{end}.ipynb" for step in STEPS for end in ("", "_solutions")]
    there = [path.name for path in paths if path.exists()]
    if there and not force:
        raise InputError(WORKED_IN.format(names=", ".join(there[:3]), folder=folder.name))
    for step, without, whole in zip(STEPS, paths[::2], paths[1::2], strict=True):
        notebook = nbformat.read(NOTEBOOKS / f"{step}.ipynb", as_version=4)
        for cell in notebook.cells:
            cell.source = spoken.cell(step, cell, language())
        files.write_text(whole, nbformat.writes(notebook) + "\n")
        notebook.cells = [cell for cell in notebook.cells if SOLUTION not in cell.metadata.get("tags", [])]
        for cell in notebook.cells:
            if cell.id == CHECKS:
                cell.source = ANSWER.sub("", cell.source)
        files.write_text(without, nbformat.writes(notebook) + "\n")
    return paths


SHOWN = {
    "volume": "volume", "status": "status", "bone": "bone", "shadow": "shadow", "gain_db": "gain (dB)",
    "roi_mean_raw": "ROI mean, recorded", "roi_mean": "ROI mean, normalised", "roi_black_pct": "ROI black (%)",
    "roi_saturated_pct": "ROI saturated (%)", "grey_levels": "grey levels", "shadow_mm": "shadow depth (mm)",
    "spacing": "spacing (mm)", "field": "field of view (mm)", "dynamic_range_db": "dynamic range (dB)",
    "gain_percent": "gain stated (%)", "depth_mm": "depth stated (mm)", "day": "day", "site": "site", "flags": "flags",
}  # fmt: skip
DRIFT = (
    "Brightness by order of acquisition and by site. The patient is the unit: means over a patient's segments, P by "
    "permutation of patients or Kruskal-Wallis. What only the recorded means show is the machine's gain; what the "
    "normalised ones still show may be the machine or the patients."
)
OVERVIEW = (
    "Left: grey levels of both reference points; shaded is what a normalisation cannot be trusted with. Right: the "
    "ROI's mean by gain. As recorded it follows the gain; normalised it should not."
)


def write_check(inspection: Inspection, path: Path) -> None:
    """Write what ``mflib check`` found in a cohort folder, sound or not: whole or not at all."""
    measured = inspection.quality
    frame = measured.table
    whole = shown.table_html(_quality_table(measured), "quality", "Quality of each volume.")
    page = shown.page(
        "quality.html.j2",
        ["page.css", "quality.css"],
        "quality.js",
        name=inspection.folder.name,
        synthetic=inspection.folder.description.get("Synthetic") is True,
        faults=inspection.faults,
        notices=inspection.notices + measured.notes,
        summary=_summary(inspection.summary()),
        volumes=len(frame),
        flagged=len(measured.flagged),
        figures=[
            Markup(spoken.html(shown.figure_html(plot, shown.png(plot, dpi=140), name, caption), say))
            for name, plot, caption in _figures(inspection, measured)
        ],
        drift=Markup(spoken.html(shown.table_html(quality.drift(frame), "drift", DRIFT), say)),
        table=Markup(spoken.html(whole, say) if len(frame) else ""),
        csv=base64.b64encode(frame.to_csv(index=False).encode()).decode(),
        patients=[(name, rows.to_dict("records")) for name, rows in frame.groupby("participant_id", sort=False)],
        thumbnails=measured.thumbnails,
        jpeg=shown.jpeg,
    )
    files.write_text(path, page)


def _summary(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary of an inspection as pairs of name and text."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name}: {count}" for name, count in value.items()) or "none"
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

    return [(name.replace("_", " "), text(value)) for name, value in summary.items() if name != "name"]


def _quality_table(measured: Quality) -> pd.DataFrame:
    """The table of quality as it is shown: one column for the key, one for all three axes."""
    frame = measured.table
    names = [" ".join(key) for key in frame[KEY].itertuples(index=False, name=None)]
    lengths = {
        name: [_lengths(row) for row in frame[[f"{name}_{axis}_mm" for axis in "ijk"]].to_numpy()]
        for name in ("spacing", "field")
    }
    return frame.round(2).assign(volume=names, **lengths)[list(SHOWN)].rename(columns=SHOWN)


def _lengths(row: Any) -> str:
    return "n/a" if pd.isna(row).any() else " x ".join(f"{length:.3g}" for length in row)


def _figures(inspection: Inspection, measured: Quality) -> Iterator[tuple[str, Figure, str]]:
    if inspection.cohort is not None:
        caption = "From the screened to the analysed, with the reasons of those who left."
        yield "flow", figures.flow_of_patients(inspection.cohort.flow), caption
    if measured.table["bone"].notna().any():
        yield "overview", figures.quality_overview(measured.table), OVERVIEW
    if (measured.table["status"] == "annotated").any():
        caption = "Mean grey level of each patient's regions by day, where the cohort says it, and by site."
        yield "drift", figures.intensity_drift(measured.table), caption
