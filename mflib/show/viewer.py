"""One volume as an offline triplanar picture, the same in JupyterLab and in the report.

A still picture, the voxels, and a script that brings them to life: HTML that needs nothing else.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from html import escape
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from mflib.base.files import ASSETS
from mflib.base.words import AXES, PLANES, Plane
from mflib.data.volume import Annotation, Volume
from mflib.show import planes
from mflib.show.scene import MAX_VOXELS, Scene, prepare
from mflib.show.shown import Shown

__all__ = ["MAX_VOXELS", "view"]
NEAR_MM = 2.0  # a point is drawn in planes as near as this
_WIDTH = 6.4  # inches, 640 pixels at 100 dpi
_LEFT, _RIGHT, _TOP, _BELOW, _TALLEST = 0.56, 0.08, 0.3, 0.5, 2.6  # inches
_LEAST = 0.9  # inches that a plane takes, however thin, so that its names have room


def view(
    volume: Volume,
    annotation: Annotation | None = None,
    saliency: Any = None,
    *,
    caption: str = "",
) -> Shown:
    """Three linked planes of a volume to click through, the same in JupyterLab and in the report.

    Needs no network. Without a script and on paper the reader sees a still picture of the first position. Grey levels
    are shown as stored; a volume of more than ``MAX_VOXELS`` is averaged down by whole factors, and the view says so.

    Parameters
    ----------
    volume : (ni, nj, nk) uint8 with its spacing
    annotation : reference points and region of interest to mark
    saliency : (ni, nj, nk) non-negative map of the region's shape, or of the volume's, to lay over it
    caption : what to look at; stands below the planes

    Returns
    -------
    Shown
        What a notebook displays; its page is in ``html``, in ASCII, so that it can be written to a file as it is.

    Raises
    ------
    InputError
        Something that cannot be shown; the message says what was found and what was expected.
    """
    scene = prepare(volume, annotation, saliency)
    picture = base64.b64encode(png(scene)).decode()
    packed = [scene.voxels] if scene.veil is None else [scene.voxels, scene.veil.parts]
    parts = [
        '<figure class="mflib-view">',
        f"<style>{(ASSETS / 'view.css').read_text(encoding='utf-8')}</style>",
        f'<img class="mflib-view-still" width="640" alt="{escape(describe(scene))}" ',
        f'src="data:image/png;base64,{picture}">',
        f"<figcaption>{escape(' '.join(filter(None, [caption, _note(scene)])))}</figcaption>",
        f'<script type="application/json">{json.dumps(_settings(scene))}</script>',
        *(f'<script type="application/octet-stream">{_pack(values)}</script>' for values in packed),
        f"<script>{_script()}</script>",
        "</figure>",
    ]
    # A file without a declared encoding would show anything but ASCII wrongly.
    return Shown("".join(parts).encode("ascii", "xmlcharrefreplace").decode())


def _script() -> str:
    """One function for the two files, so that viewers on one page share no name."""
    files = [(ASSETS / name).read_text(encoding="utf-8") for name in ("planes.js", "view.js")]
    return f'(() => {{\n"use strict";\n{"".join(files)}}})();'


def _settings(scene: Scene) -> dict[str, Any]:
    """What the script knows besides the voxels."""
    veil = scene.veil
    return {
        "shape": scene.voxels.shape,
        "spacing": scene.spacing_mm,
        "extent": scene.extent_mm,
        "factors": scene.factors,
        "start": scene.start,
        "name": scene.name,
        "roi": scene.roi_mm,
        "near": NEAR_MM,
        "points": [{"name": name, "at": place} for name, place in scene.points_mm.items()],
        "opacity": planes.OPACITY,
        "saliency": veil
        and {
            "shape": veil.parts.shape,
            "spacing": veil.spacing_mm,
            "origin": veil.origin_mm,
            "highest": f"{veil.highest:.3g}",
            "colours": np.rint(255 * planes.veil()(np.arange(256))[:, :3]).astype(int).ravel().tolist(),
        },
    }


def _note(scene: Scene) -> str:
    """What the picture is, and whether it is less than the volume."""
    size = " \u00d7 ".join(f"{extent:.1f}" for extent in scene.extent_mm)
    note = f"{scene.name and scene.name + ', '}{size} mm (lateral \u00d7 depth \u00d7 elevation)."
    if scene.factors == (1, 1, 1):
        return note
    blocks = " \u00d7 ".join(map(str, scene.factors))
    return f"{note} Too large for a page as it is: each voxel shown is the mean of {blocks} voxels."


def _pack(values: NDArray[np.uint8]) -> str:
    """Voxels, i fastest, compressed; the same voxels give the same text."""
    return base64.b64encode(gzip.compress(values.tobytes(order="F"), mtime=0)).decode()


def describe(scene: Scene) -> str:
    """What the still picture shows, for somebody who cannot see it."""
    size = " x ".join(f"{extent:.1f}" for extent in scene.extent_mm)
    cut = ", ".join(f"{axis} {at:.1f}" for axis, at in zip(AXES, scene.middle_mm(scene.start), strict=True))
    shown = f"Ultrasound volume{scene.name and ' ' + scene.name}, {size} mm ({' x '.join(AXES)}): "
    marks = ["region of interest", "bone and shadow points"] if scene.annotation else []
    marks += ["saliency"] if scene.veil else []
    drawn = f" Overlay where a plane meets it: {', '.join(marks)}." if marks else ""
    return f"{shown}transverse, sagittal and coronal plane through {cut} mm.{drawn}"


def png(scene: Scene) -> bytes:
    """Three planes through the scene's start as a small PNG, 640 pixels wide on white."""
    with style.context(["default", {"font.size": 8.5}]):
        figure = draw(scene)
        content = io.BytesIO()
        figure.savefig(content, dpi=125, format="png", facecolor="white")
    # A palette takes a third of the room.
    picture = Image.open(content).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small = io.BytesIO()
    picture.save(small, format="PNG", optimize=True)
    return small.getvalue()


def draw(scene: Scene) -> Figure:
    """Three planes through the scene's start, on one scale; depth points down."""
    extents = np.array(scene.extent_mm)
    across, down = extents[[plane[1] for plane in PLANES]], extents[[plane[2] for plane in PLANES]]
    scale = _scale(across, float(down.max()))
    height = _TOP + max(float(down.max()) * scale, _LEAST) + _BELOW
    figure = Figure(figsize=(_WIDTH, height))
    left = 0.0
    for plane, wide, high in zip(PLANES, across * scale, down * scale, strict=True):
        left += _LEFT
        bottom = height - _TOP - high
        axes = figure.add_axes((left / _WIDTH, bottom / height, wide / _WIDTH, high / height))
        _draw_plane(axes, scene, plane)
        axes.xaxis.set_major_locator(MaxNLocator(max(1, int(wide / 0.4)), integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(max(1, int(high / 0.3)), integer=True))
        left += max(wide, _LEAST) + _RIGHT
    return figure


def _scale(across: NDArray[np.float64], highest: float) -> float:
    """Inches per mm at which three planes fit beside each other, thin ones with room for their names."""
    room = _WIDTH - 3 * (_LEFT + _RIGHT)
    scale = min(room / float(across.sum()), _TALLEST / highest)
    while np.maximum(across * scale, _LEAST).sum() > room * 1.001:
        scale *= 0.98
    return scale


def _draw_plane(axes: Axes, scene: Scene, plane: Plane) -> None:
    """One plane with what it meets: the saliency, the region, and the points near it."""
    name, right, down, through = plane
    cut, veil, roi = scene.middle_mm(scene.start), scene.veil, scene.roi_mm
    planes.draw(axes, scene.voxels, scene.spacing_mm, plane, scene.start[through], aspect="auto")
    if veil is not None:
        index = int((cut[through] - veil.origin_mm[through]) // veil.spacing_mm[through])
        if 0 <= index < veil.parts.shape[through]:
            look: dict[str, Any] = {"cmap": planes.veil(), "aspect": "auto"}
            planes.draw(axes, veil.parts, veil.spacing_mm, plane, index, veil.origin_mm, **look)
    planes.crosshair(axes, plane, cut)
    if roi is not None and roi[0][through] <= cut[through] <= roi[1][through]:
        planes.region(axes, plane, *roi)
    for point, place in scene.points_mm.items():
        if abs(place[through] - cut[through]) <= NEAR_MM:
            planes.point(axes, plane, point, place)
            _name(axes, point, (place[right], place[down]), place[right] > scene.extent_mm[right] / 2)
    axes.set(xlim=(0, scene.extent_mm[right]), ylim=(scene.extent_mm[down], 0))
    axes.set_xlabel(f"{AXES[right]} (mm)", loc="left")
    axes.set_ylabel(f"{AXES[down]} (mm)", loc="top")
    axes.set_title(name, loc="left", fontsize=8.5)


def _name(axes: Axes, point: str, at: tuple[float, float], right_half: bool) -> None:
    """Write a point's name beside it, towards the middle of the plane."""
    look: dict[str, Any] = {"va": "center", "color": planes.COLOURS[point], "path_effects": planes.HALO}
    side, shift = ("right", -7) if right_half else ("left", 7)
    axes.annotate(point, at, xytext=(shift, 0), textcoords="offset points", ha=side, **look)
