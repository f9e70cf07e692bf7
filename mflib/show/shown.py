"""Figures and tables as a reader sees them: the same in JupyterLab and in the report, with caption and alt text."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import DisplayHandle, display
from jinja2 import Environment, FunctionLoader
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from mflib.base import files, spoken, words
from mflib.base.files import ASSETS
from mflib.base.language import LANGUAGES, language, say
from mflib.base.spoken import LIVE
from mflib.show import style

# A column of nothing but these is aligned to the right.
NUMBER = r"[\u2212+<]?[\d.,]+(e\u2212?\d+)?( ± [\d.,]+)?|n/a"


@dataclass(frozen=True)
class Shown:
    """Something with an HTML form; a notebook displays it by that form.

    Parameters
    ----------
    html : the form; not part of its repr, which a notebook stores beside it
    """

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def figure(plot: Figure, folder: Path, name: str, *, caption: str) -> Shown:
    """Write a figure as SVG and PNG and show it.

    Parameters
    ----------
    plot : the figure; its label says what it shows, for somebody who cannot see it
    folder, name : where the two files go
    caption : how to read it
    """
    _, picture = save(plot, folder, name)
    return Shown(figure_html(plot, picture.read_bytes(), name, caption))


def save(plot: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as SVG and PNG, each whole or not at all; the same data give the same files.

    Those in another language than English go to a folder of their own in ``folder``. The paths are those in the
    process's language.
    """
    paths = _paths(folder, name)
    for to, (drawing, picture) in paths.items():
        with style.own(to):
            for text in plot.findobj(Text):
                text.set_text(text.get_text())
            with files.replacing(drawing) as kept:
                plot.savefig(kept, metadata={"Date": None})
        with files.replacing(picture) as kept:
            kept.write_bytes(png(plot, 160, to))
    return next(iter(paths.values()))


def _paths(folder: Path, name: str) -> dict[str, tuple[Path, Path]]:
    """The two files of a figure in each language that is asked for; their folders are made."""
    places = {to: spoken_in(folder, to) for to in style.written()}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    return {to: (place / f"{name}.svg", place / f"{name}.png") for to, place in places.items()}


def spoken_in(folder: Path, to: str) -> Path:
    """Where figures in a language lie."""
    return folder if to == "en" else folder / to


# A drawing that is embedded as a picture sees the scheme of the reader's system, and no style of the page.
DARK = {
    style.INK: "#e3e7ec",
    style.GREY: "#a3adb8",
    style.PAPER: "#14181d",
    style.GRID: "#2b323a",
    style.BLUE.lower(): "#4aa3e0",
}
_RULES = "".join(
    f'[style*="{part}: {light}"],[{part}="{light}"]{{{part}:{dark}!important}}'
    for light, dark in DARK.items()
    for part in ("fill", "stroke")
)


def themed(html: str, folder: Path, to: str = "en") -> Markup:
    """A page whose figures are drawings, sharp at every size and light or dark as the page.

    Parameters
    ----------
    html : with figures of `figure`
    folder : their files
    to : the language in which they are written
    """

    def exchanged(match: re.Match[str]) -> str:
        path = _nearest(folder, f"{match[2]}.svg", to)
        if not path.exists():
            return match[0]
        return f"{match[1]}data:image/svg+xml;base64,{_drawing(path)}"

    shape = r'(<figure id="figure-([\w-]+)"><img [^>]*?src=")data:image/png;base64,[^"]*'
    return Markup(re.sub(shape, exchanged, html))


def _nearest(folder: Path, name: str, to: str) -> Path:
    """A figure in a language or, where no font could write it, in English."""
    path = spoken_in(folder, to) / name
    return path if path.exists() else folder / name


def _drawing(path: Path) -> str:
    """An SVG that follows the reader's system into the dark, in base64."""
    rules = f"<style>@media (prefers-color-scheme: dark) {{{_RULES}}}</style></svg>"
    # The last one closes the drawing; charts have drawings inside.
    whole, _, after = path.read_text(encoding="utf-8").rpartition("</svg>")
    return base64.b64encode(f"{whole}{rules}{after}".encode()).decode()


def figure_html(plot: Figure, picture: bytes, name: str, caption: str) -> str:
    """A drawn figure with its caption, and what it shows for somebody who cannot see it."""
    image = picture_html(plot, picture)
    return f'<figure id="figure-{name}">{image}<figcaption>{escape(caption)}</figcaption></figure>'


def picture_html(plot: Figure, picture: bytes) -> str:
    """A drawn figure alone, and what it shows for somebody who cannot see it."""
    code, width = base64.b64encode(picture).decode(), round(plot.get_figwidth() * 96)
    return f'<img alt="{escape(str(plot.get_label()))}" width="{width}" src="data:image/png;base64,{code}">'


def png(plot: Figure, dpi: int, to: str = "") -> bytes:
    """A figure as the bytes of a picture, written in a language."""
    content = io.BytesIO()
    with style.own(to):
        plot.savefig(content, dpi=dpi, format="png", facecolor=style.PAPER)
    return content.getvalue()


JPEG_QUALITY = 38


def jpeg(pixels: NDArray[np.uint8]) -> str:
    """Grey levels (rows, columns) as a picture that stands in a page itself."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


@contextmanager
def live(
    chart_of: Callable[[pd.DataFrame], Mapping[str, Any]], every: float = 5.0
) -> Iterator[Callable[[pd.DataFrame], None]]:
    """A chart that is drawn again while its table grows, and is gone when the work is done.

    A plain picture that replaces itself: widgets vanish from executed notebooks, and some wait for a browser.

    Parameters
    ----------
    chart_of : a table
    every : seconds between two drawings, which take the time of a processor that may be needed

    Yields
    ------
    callable
        To be called with the table whenever it has grown.
    """
    import vl_convert

    handle = DisplayHandle()
    drawn: list[float] = []

    def draw(frame: pd.DataFrame) -> None:
        if drawn and time.monotonic() - drawn[-1] < every:
            return
        code = base64.b64encode(vl_convert.vegalite_to_png(json.dumps(chart_of(frame)))).decode()
        picture = Shown(f'<img alt="" src="data:image/png;base64,{code}">')
        display(picture, display_id=handle.display_id, update=bool(drawn))
        drawn.append(time.monotonic())

    try:
        yield draw
    finally:
        if drawn:
            handle.update(Shown(""))


WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Alive(Shown):
    """A chart that answers when touched: JupyterLab draws its specification, whatever cannot shows a picture of it.

    Parameters
    ----------
    chart : its Vega-Lite specification
    picture : PNG
    """

    chart: Mapping[str, Any] = field(repr=False)
    picture: bytes = field(repr=False)

    # JupyterLab would rather show HTML than a chart.
    _repr_html_ = None  # type: ignore[assignment]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {LIVE: self.chart, "image/png": base64.b64encode(self.picture).decode()}


def chart(specified: Mapping[str, Any], folder: Path, *, caption: str) -> Alive:
    """Write the picture of a chart as SVG and PNG and show the chart.

    Parameters
    ----------
    specified : of ``show.charts``; its ``description`` says what it shows, for somebody who cannot see it
    folder : where the two files go
    caption : how to read it; what it answers to stands in its specification
    """
    caption = f"{caption} {specified['usermeta']['touch']}"
    picture = save_chart(specified, folder)[1].read_bytes()
    return Alive("", {**specified, "title": {"text": spoken.lines(caption)}}, picture)


def save_chart(specified: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write the picture of a chart as SVG and PNG, each whole or not at all; languages as for `save`."""
    # Starting its engine takes a second, which a notebook without charts need not wait.
    import vl_convert

    paths = _paths(folder, str(specified["name"]))
    for to, (drawing, picture) in paths.items():
        code = vl_convert.vegalite_to_svg(json.dumps(spoken.chart(specified, partial(say, to=to))))
        files.write_text(drawing, code)
        with files.replacing(picture) as kept:
            kept.write_bytes(vl_convert.svg_to_png(code, scale=2))
    return next(iter(paths.values()))


def alive_html(specified: Mapping[str, Any], folder: Path, to: str = "en") -> str:
    """A chart of `chart` for the page: the picture, which the page's script replaces, and the specification.

    Parameters
    ----------
    specified : as a notebook keeps it
    folder : its picture
    to : the language in which it stands on the page
    """
    name = str(specified["name"])
    caption = say(" ".join(specified["title"]["text"]), to)
    specified = spoken.chart(specified, partial(say, to=to))
    code = _drawing(_nearest(folder, f"{name}.svg", to))
    content = {key: value for key, value in specified.items() if key not in ("$schema", "title", "name")}
    # What a script holds ends with the first "</".
    held = json.dumps(content, separators=(",", ":")).replace("</", "<\\/")
    return (
        f'<figure id="figure-{name}" class="chart"><img alt="{escape(str(specified["description"]))}" '
        f'src="data:image/svg+xml;base64,{code}"><figcaption>{escape(caption)}</figcaption>'
        f'<script type="application/json">{held}</script></figure>'
    )


def library() -> Markup:
    """What draws charts on a page, as one script."""
    import vl_convert

    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


NOT_COMPUTED = "Not computed: {what}."


def table(frame: pd.DataFrame, folder: Path, name: str, *, caption: str, needs: str = "") -> Shown:
    """Write a table as CSV and show it, numbers aligned to the right and missing values as n/a.

    A table without rows is not shown.

    Parameters
    ----------
    frame : the table; its index is not shown
    folder, name : where the CSV goes
    caption : what it holds and how to read it
    needs : a column; rows without a value there become a sentence of their first cell and their ``note``
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / f"{name}.csv", frame.to_csv(index=False))
    left = frame[frame[needs].isna()] if needs else frame[:0]
    rows = frame.drop(index=left.index)
    named = dict.fromkeys(f"{row[frame.columns[0]]} ({row['note']})" for _, row in left.iterrows())
    said = f"<p>{escape(NOT_COMPUTED.format(what='; '.join(named)))}</p>" if named else ""
    return Shown((table_html(rows, name, caption) if len(rows) else "") + said)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Heads and cells of a table as a reader reads them; without a column of notes where there is none."""
    if "note" in frame and not frame["note"].fillna("").astype(bool).any():
        frame = frame.drop(columns="note")
    known = frame.astype(object).where(frame.notna(), None)
    cells = [words.cells(str(column), known[column]) for column in known]
    heads = [words.heading(str(column)) for column in known]
    return pd.DataFrame(dict(enumerate(cells)), dtype="str").set_axis(heads, axis=1)


def table_html(frame: pd.DataFrame, name: str, caption: str) -> str:
    """A table as accessible HTML: caption, header scope, scrolling in a region of its own where it is wide."""
    texts = readable(frame)
    numeric = [cells.str.fullmatch(NUMBER).all() for _, cells in texts.items()]
    kinds = [' class="number"' if number else "" for number in numeric]
    names = [escape(name) for name in texts]
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(names, kinds, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in texts.itertuples(index=False, name=None)
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{escape(caption)}"><table id="table-{name}">'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def bold(text: str) -> Markup:
    """A sentence whose words between double asterisks are strong, and those between backticks code."""
    strong = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", strong))


def page(template: str, styles: Sequence[str], script: str = "", to: str = "", **context: Any) -> str:
    """An HTML page that needs nothing else: a template, its styles and its script by their names in ``_assets``.

    Parameters
    ----------
    template, styles, script : names
    to : the language of the page; that of the process by default
    context : what the template fills in; texts are translated, what is marked up already is not
    """
    to = to or language()
    said = partial(say, to=to)

    def read(name: str) -> str:
        return (ASSETS / name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(lambda name: spoken.template(read(name), said)),
        finalize=lambda value: said(value) if type(value) is str else value,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bold"] = lambda text: bold(said(text))
    # One that may change the language of its page takes the words with it.
    running = Markup(read(script) if "words" in context else spoken.script(read(script), said) if script else "")
    style = Markup("".join(map(read, styles)))
    return environment.get_template(template).render(style=style, script=running, lang=LANGUAGES[to], **context)


def speak() -> None:
    """From now on, whatever this notebook shows is in the language of the process."""
    shell = get_ipython()
    if shell is None or language() == "en" or hasattr(shell.display_formatter, "speaks"):
        return
    form = shell.display_formatter.format

    def speaking(*shown: Any, **how: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = form(*shown, **how)
        return spoken.bundle(data, say), metadata

    shell.display_formatter.format, shell.display_formatter.speaks = speaking, True


def settings_html(told: str, settings: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    """What a study says of itself, and its settings to be unfolded; those that were changed are marked."""
    rows = []
    for name, value in settings.items():
        cell = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        mark = say(" (changed)") if name in changed else ""
        rows.append(f'<tr><th scope="row">{escape(name)}</th><td>{escape(cell)}{mark}</td></tr>')
    # They are typed as they stand, in every language.
    table = f'<table translate="no">{"".join(rows)}</table>'
    return f"<p>{escape(told)}</p><details><summary>Settings</summary>{table}</details>"
