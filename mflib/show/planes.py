"""One drawing of a plane of a volume, in mm with depth or elevation down, for every figure and the viewer's picture."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mflib.base.words import Plane
from mflib.show import style

Place = tuple[float, ...]
# The same as in planes.js; the green is lighter, since it lies on black.
# Okabe M, Ito K. Color universal design, 2008: https://jfly.uni-koeln.de/color/
COLOURS = {"bone": "#E69F00", "shadow": "#56B4E9", "roi": "#00C895"}
MUSCLE = "#F0E442"  # its edge, in figures only
MARKERS = {"bone": "o", "shadow": "D"}
OPACITY = 0.75
HALO = [patheffects.withStroke(linewidth=3, foreground="black")]


def slab(values: NDArray[Any], plane: Plane, index: int) -> NDArray[Any]:
    """One plane of an array: what runs down in rows, what runs right in columns."""
    _, right, down, through = plane
    flat = np.take(values, index, axis=through)
    return flat.T if right < down else flat


def draw(
    axes: Axes,
    values: NDArray[Any],
    spacing_mm: Place,
    plane: Plane,
    index: int,
    origin_mm: Place = (0, 0, 0),
    **look: Any,
) -> None:
    """Draw one plane of an array that begins at ``origin_mm``; grey unless ``look`` says otherwise."""
    _, right, down, _ = plane
    end = [origin_mm[axis] + n * spacing_mm[axis] for axis, n in enumerate(values.shape)]
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
    extent = (origin_mm[right], end[right], end[down], origin_mm[down])
    axes.imshow(slab(values, plane, index), extent=extent, **(grey | look))


def crosshair(axes: Axes, plane: Plane, at_mm: Place) -> None:
    """Thin lines where the other two planes cut this one."""
    look: dict[str, Any] = {"color": style.CHALK, "lw": 0.7, "alpha": 0.6, "linestyle": (0, (4, 3))}
    axes.axvline(at_mm[plane[1]], **look)
    axes.axhline(at_mm[plane[2]], **look)


def region(axes: Axes, plane: Plane, first_mm: Place, last_mm: Place) -> None:
    """The box of a region of interest, from corner to corner."""
    _, right, down, _ = plane
    width, height = last_mm[right] - first_mm[right], last_mm[down] - first_mm[down]
    look: dict[str, Any] = {"fill": False, "edgecolor": COLOURS["roi"], "lw": 1.4, "path_effects": HALO}
    axes.add_patch(Rectangle((first_mm[right], first_mm[down]), width, height, label="ROI", **look))


def outline(axes: Axes, mask: NDArray[np.bool_], spacing_mm: Place, plane: Plane, index: int) -> None:
    """The edge of what a mask holds in one plane."""
    _, right, down, _ = plane
    part = slab(mask, plane, index)
    x, y = ((np.arange(n) + 0.5) * spacing_mm[axis] for axis, n in ((right, part.shape[1]), (down, part.shape[0])))
    axes.contour(x, y, part, levels=[0.5], colors=MUSCLE, linewidths=1.4)
    axes.plot([], [], color=MUSCLE, label="multifidus")


def point(axes: Axes, plane: Plane, name: str, at_mm: Place) -> None:
    """A reference point, ``bone`` or ``shadow``."""
    look: dict[str, Any] = {"ms": 6, "mfc": "none", "mew": 1.6, "path_effects": HALO, "label": name, "ls": ""}
    axes.plot(at_mm[plane[1]], at_mm[plane[2]], MARKERS[name], color=COLOURS[name], **look)


def veil(visible_from: float = 0.0, opacity: float = OPACITY) -> Colormap:
    """Colours of a saliency map over grey: light in the dark and dark in the light, more and more opaque.

    Nothing of the map below ``visible_from``; the darkest colours are left out, for they would look like tissue.
    """
    visible = np.clip((np.linspace(0, 1, 256) - visible_from) / (1 - visible_from), 0, 1)
    colours = mpl.colormaps["inferno"](0.35 + 0.6 * visible)
    colours[:, 3] = opacity * visible
    return ListedColormap(colours)
