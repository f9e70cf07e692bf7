"""One look for all figures: readable 640 pixels wide, by colour-blind people and in grey print."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec
from unittest import mock

import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib import style as mpl_style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from numpy.typing import NDArray

from mflib.base.language import DRAWN, drawn, language, left, say
from mflib.base.spoken import broken
from mflib.base.words import AXES, LABELS, PLANES

WIDTH = 6.4  # inches, 640 pixels at 100 dpi
SMALLEST = 8.5  # points of any text; a page shows no figure below 86 % of its size, so that is 9 pixels and more
TALLEST = 1.65  # inches of a plane; four rows fill a page
# Okabe M, Ito K. Color universal design, 2008: https://jfly.uni-koeln.de/color/
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY = "#666666"
GRID = "#e4e8ec"
INK, PAPER = "#1b1f24", "#ffffff"  # of the page; what has these or GREY follows it into the dark, see `shown.themed`
COAL, CHALK = "#010101", "#fefefe"  # on pictures and coloured cells, which stay as they are
GRADE_COLOURS = ("#F7FBFF", "#9ECAE1", "#4292C6", "#08306B")  # one hue, light to dark: survives grey print
# For ``set_prop_cycle``: lines that can be told apart in grey too.
LINES: dict[str, list[Any]] = {
    "color": [BLUE, VERMILION, GREEN, PURPLE, ORANGE],
    "linestyle": ["-", (0, (5, 1.5)), "-.", (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1))],
}
# Line style and marker tell models apart where colour cannot.
MODEL_LOOKS = {
    "random_forest": (BLUE, "-", "o"),
    "dcnn": (VERMILION, "--", "s"),
    "echo_intensity": (GREEN, "-.", "^"),
    "clinical": (PURPLE, ":", "D"),
}
_OTHER_LOOKS = ((ORANGE, (0, (5, 1)), "v"), (SKY, (0, (3, 1, 1, 1)), "P"), (GREY, (0, (1, 1)), "X"))
# The first comes with matplotlib and has no Chinese. The others have; the first of them that is here is taken.
_LATIN = "DejaVu Sans"
_CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Microsoft YaHei", "PingFang SC",
    "Hiragino Sans GB", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "SimHei", "Noto Sans CJK JP", "Noto Serif CJK SC",
    "Source Han Serif SC", "Noto Serif CJK JP", "Arial Unicode MS",
)  # fmt: skip
_GLYPHS = "\u591a\u88c2\u808c\u8102\u80aa\u6d78\u6da6"  # what a font must have to be asked for more
# Of the extra zh: a package that brings such a font.
_PACKAGE, _FILE = "zhplot", "fonts/NotoSansSC-Regular.ttf"
NO_FONT = "No font here has Chinese signs, so figures stay English: pip install 'mflib[zh]' brings one."
_STYLE = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "legend.fontsize": SMALLEST,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "image.cmap": "cividis",
    "figure.dpi": 100.0,
    "svg.hashsalt": "mflib",  # the same data give the same names inside a drawing
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **{f"boxplot.{part}props.color": INK for part in ("box", "whisker", "cap")},
}
Parameters = ParamSpec("Parameters")


@contextmanager
def own(to: str = "") -> Iterator[None]:
    """Where figures are drawn and written, whatever the user's settings are; they are as they were afterwards.

    Parameters
    ----------
    to : the language of what is written in them; that of the process by default
    """
    to = to or language()
    spoken = to if writes(to) else "en"
    write = Text.set_text
    # Every text of a figure passes here, the numbers of an axis too, and when it is drawn again.
    said = mock.patch.object(
        Text, "set_text", lambda text, words: write(text, words and _signs(_lines(str(words), spoken)))
    )
    with mpl_style.context(["default", {**_STYLE, "font.family": _fonts()}]), said:
        yield


def _lines(words: str, to: str) -> str:
    """A text in a language, line by line; lines that say nothing alone are said as one, and broken again."""
    lines = words.split("\n")
    widest, done, begun = max(map(len, lines)) // 2, list[str](), ""
    for line in lines:
        begun = f"{begun} {line.strip()}" if begun else line
        said = say(begun, to)
        if not left(said):
            done += [said] if begun == line else broken(said, widest)
            begun = ""
    return say(words, to) if begun else "\n".join(done)


def written() -> tuple[str, ...]:
    """The languages in which figures are asked for here and can be written: that of the process first."""
    return tuple(dict.fromkeys(to if writes(to) else "en" for to in drawn()))


def writes(to: str) -> bool:
    """Whether figures can be written in a language here; where they cannot, that is said once."""
    if to == "en" or chinese():
        return True
    if DRAWN not in os.environ:  # in a report's notebooks it would stand on the page; the command has said it
        _regret(to)
    return False


@cache
def _regret(to: str) -> None:
    sys.stderr.write(say(NO_FONT, to) + "\n")


@cache
def chinese() -> str:
    """The font that draws Chinese: the first of the usual ones, any that has the signs, or the package's; else none.

    The one of last resort draws a box for every sign there is.
    """
    known = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist if "Last Resort" not in entry.name}
    here = [name for name in (*_CHINESE, *known) if name in known and _has(known[name])][:1]
    files = set(known.values())
    # matplotlib keeps a list, and what was installed since then is not in it.
    new = (path for path in font_manager.findSystemFonts() if path not in files) if not here else ()
    spec = importlib.util.find_spec(_PACKAGE)
    brought = [str(Path(spec.origin).parent / _FILE)] if spec and spec.origin else []
    for path in [*new, *brought] if not here else ():
        if Path(path).exists() and _has(path):
            font_manager.fontManager.addfont(path)
            return str(font_manager.get_font(path).family_name)
    return here[0] if here else ""


def _has(path: str) -> bool:
    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):  # damaged, or of a kind that matplotlib does not read
        return False
    return all(font.get_char_index(ord(sign)) for sign in _GLYPHS)


def styled(plot: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw with the study's style, whatever the caller's settings are, and leave those as they are.

    The first line of the plot's docstring becomes the figure's label: what it shows, for somebody who cannot see it.
    """
    description = str(plot.__doc__).strip().splitlines()[0]

    @wraps(plot)
    def in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with own():
            figure = plot(*args, **kwargs)
        figure.set_label(description)
        return figure

    return in_style


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, NDArray[Any]]:
    """A figure of the common width and its axes (rows, columns); ``height`` in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def single(height: float) -> tuple[Figure, Axes]:
    """A figure of the common width with one pair of axes; ``height`` in inches."""
    figure, axes = panels(1, 1, height)
    return figure, axes[0, 0]


def grid(names: Sequence[Any], height: float, extra: float = 0.3) -> tuple[Figure, list[Axes]]:
    """A figure with one pair of axes for each name, two to a row; ``height`` of a row in inches."""
    rows = -(-len(names) // 2)
    figure, axes = panels(rows, min(2, len(names)), extra + height * rows)
    for empty in axes.flat[len(names) :]:
        empty.remove()
    return figure, list(axes.flat[: len(names)])


def triplets(rows: int, extent_mm: NDArray[np.float64], below: float) -> tuple[Figure, NDArray[Any]]:
    """Axes (rows, 3) for the planes of volumes of an extent (3,), all on one scale; ``below`` them are inches left.

    A layout engine would leave gaps, because pictures keep their shape: all measures here are in inches.
    """
    left, right, top, between = 0.62, 0.1, 0.3, 0.52
    widths, highest = [float(extent_mm[across]) for _, across, _, _ in PLANES], float(extent_mm[1:].max())
    room = WIDTH - left - right
    scale = min((room - 2 * left) / sum(widths), TALLEST / highest)
    height = top + rows * highest * scale + (rows - 1) * between + below
    figure = Figure(figsize=(WIDTH, height))
    edges = {"left": left / WIDTH, "right": 1 - right / WIDTH, "top": 1 - top / height, "bottom": below / height}
    # Gaps are counted in mean widths and heights.
    gaps = {"wspace": (room / (sum(widths) * scale) - 1) * 3 / 2, "hspace": between / (highest * scale)}
    axes = figure.subplots(rows, 3, squeeze=False, width_ratios=widths, gridspec_kw={**edges, **gaps})
    for panel, (name, across, down, _) in zip(axes.flat, PLANES * rows, strict=True):
        panel.set(xlabel=f"{AXES[across]} (mm)\n{name}", ylabel=f"{AXES[down]} (mm)", anchor="N")
        panel.xaxis.label.set_visible(panel in axes[-1])
    return figure, axes


def model_look(model: str, position: int = 0) -> dict[str, Any]:
    """Label, colour, line style and marker of a model; an unknown one gets its name and a look by its position."""
    if model in MODEL_LOOKS:
        colour, line, marker = MODEL_LOOKS[model]
        return {"label": LABELS[model], "color": colour, "linestyle": line, "marker": marker}
    colour, dashes, marker = _OTHER_LOOKS[position % len(_OTHER_LOOKS)]
    return {"label": _drawable(model), "color": colour, "linestyle": dashes, "marker": marker}


def _fonts() -> list[str]:
    """The fonts that are here; each draws what those before it lack."""
    return [_LATIN, *filter(None, [chinese()])]


def _drawable(name: str) -> str:
    """A name as a figure can show it: its dollars enclose no formula, and a legend does not leave it out."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _signs(text: str) -> str:
    """A text whose signs that no font here can draw stand as their codes, not as boxes."""
    return text if text.isascii() else "".join(sign if _is_drawn(sign) else ascii(sign)[1:-1] for sign in text)


@cache
def _is_drawn(sign: str) -> bool:
    fonts = (font_manager.get_font(font_manager.findfont(FontProperties(family=[font]))) for font in _fonts())
    return sign.isascii() or any(font.get_char_index(ord(sign)) for font in fonts)


def box_and_points(axes: Axes, groups: Sequence[NDArray[np.float64]], names: Sequence[str]) -> None:
    """A box per group with every case as a point; an empty group keeps its place. The sizes stand under the names.

    By hand: seaborn's box plot warns with matplotlib 3.11, and its strip plot scatters by numpy's global generator.
    """
    for position, values in enumerate(groups):
        if len(values):
            axes.boxplot(values, positions=[position], widths=0.55, showfliers=False, medianprops={"color": INK})
        axes.plot(position + spread(len(values)), values, "o", color=BLUE, ms=2.5, alpha=0.45, mew=0)
    labels = [f"{name}\n{len(values)}" for name, values in zip(names, groups, strict=True)]
    axes.set_xticks(range(len(groups)), labels)
    axes.set_xlim(-0.6, len(groups) - 0.4)


def spread(n: int) -> NDArray[np.float64]:
    """Sideways shifts (n,) that keep points of equal height apart: steps of the golden ratio, the same every time."""
    return ((np.arange(n) * (np.sqrt(5) - 1) / 2) % 1 - 0.5) * 0.36


def heat_map(axes: Axes, table: pd.DataFrame, form: str, bar: str = "", **options: Any) -> None:
    """A table as coloured cells, each with its number, NaN white; a bar of the colours where it gets a name."""
    # Not above: it takes 0.4 s of a processor, which whoever imports figures and draws none would pay too.
    import seaborn as sns

    options = {"cmap": _STYLE["image.cmap"], "cbar": bool(bar), "cbar_kws": {"label": bar}, **options}
    sns.heatmap(table, ax=axes, annot=True, fmt=form, annot_kws={"fontsize": SMALLEST}, **options)
    axes.tick_params(axis="y", rotation=0)
    # seaborn writes in white on middle tones, where black stands out more.
    colours = np.reshape(axes.collections[0].get_facecolor(), (*table.shape, 4))
    for text in axes.texts:
        column, row = (int(at) for at in text.get_position())
        text.set_color(COAL if sns.utils.relative_luminance(colours[row, column]) > 0.18 else CHALK)


def intervals(axes: Axes, x: Any, y: Any, rows: Any, *, along: str = "y", **look: Any) -> None:
    """Points with the interval from ``low`` to ``high`` of ``rows`` along one of the two axes."""
    middle = x if along == "x" else y
    look[f"{along}err"] = np.reshape([middle - rows["low"], rows["high"] - middle], (2, -1))
    axes.errorbar(x, y, **look)
