"""One volume as an offline triplanar picture, the same in JupyterLab and in the report.

A still picture, the voxels, and a script that brings them to life: HTML that needs nothing else.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import dataclass
from html import escape
from math import prod
from typing import Any

import numpy as np
from matplotlib import rcParams, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import block_reduce

from mflib.base.errors import InputError
from mflib.base.files import ASSETS
from mflib.base.words import AXES, LEVEL_NAMES, PLANES, SIDE_NAMES, Plane
from mflib.data.volume import Annotation, Index, Volume
from mflib.show import planes, shown
from mflib.show.shown import Shown
from mflib.show.style import own, written

MAX_VOXELS = 8_000_000  # about 8 MB of a page; what is larger is averaged down
NEAR_MM = 2.0  # a point is drawn in planes as near as this
_WIDTH = 6.4  # inches, 640 pixels at 100 dpi
_LEFT, _RIGHT, _TOP, _BELOW, _TALLEST = 0.56, 0.08, 0.3, 0.5, 2.6  # inches
_LEAST = 0.9  # inches that a plane takes, however thin, so that its names have room
Place = tuple[float, float, float]


def view(volume: Volume, annotation: Annotation | None = None, saliency: Any = None, *, caption: str = "") -> Shown:
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
    stills = [f"data:image/png;base64,{base64.b64encode(png(scene, to)).decode()}" for to in written()]
    # A page takes the one in its language, see `spoken.html`.
    sources = " ".join(f'{name}="{still}"' for name, still in zip(("src", "data-zh"), stills, strict=False))
    packed = [scene.voxels] if scene.veil is None else [scene.voxels, scene.veil.parts]
    parts = [
        '<figure class="mflib-view">',
        f"<style>{(ASSETS / 'view.css').read_text(encoding='utf-8')}</style>",
        f'<img class="mflib-view-still" width="640" alt="{escape(describe(scene))}" {sources}>',
        f"<figcaption>{escape(caption)} <span>{escape(_note(scene))}</span></figcaption>",
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
    volume = f"Ultrasound volume{scene.name and ' ' + scene.name}, {size} mm ({' x '.join(AXES)}): "
    marks = ["region of interest", "bone and shadow points"] if scene.annotation else []
    marks += ["saliency"] if scene.veil else []
    drawn = f" Overlay where a plane meets it: {', '.join(marks)}." if marks else ""
    return f"{volume}transverse, sagittal and coronal plane through {cut} mm.{drawn}"


def png(scene: Scene, to: str = "") -> bytes:
    """Three planes through the scene's start as a small PNG, 640 pixels wide on white, written in a language."""
    with own(to), style.context(["default", {"font.size": 8.5, "font.family": rcParams["font.family"]}]):
        content = shown.png(draw(scene), 125, to)
    # A palette takes a third of the room.
    picture = Image.open(io.BytesIO(content)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
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
            spacing_mm, origin_mm = veil.spacing_mm, veil.origin_mm
            planes.draw(axes, veil.parts, spacing_mm, plane, index, origin_mm, cmap=planes.veil(), aspect="auto")
    planes.crosshair(axes, plane, cut)
    if roi is not None and roi[0][through] <= cut[through] <= roi[1][through]:
        planes.region(axes, plane, *roi)
    for point, place in scene.points_mm.items():
        if abs(place[through] - cut[through]) <= NEAR_MM:
            planes.point(axes, plane, point, place)
            # The name stands towards the middle of the plane.
            side, shift = ("right", -7) if place[right] > scene.extent_mm[right] / 2 else ("left", 7)
            beside: dict[str, Any] = {"xytext": (shift, 0), "textcoords": "offset points", "ha": side, "va": "center"}
            look: dict[str, Any] = {"color": planes.COLOURS[point], "path_effects": planes.HALO}
            axes.annotate(point, (place[right], place[down]), **beside, **look)
    axes.set(xlim=(0, scene.extent_mm[right]), ylim=(scene.extent_mm[down], 0))
    axes.set_xlabel(f"{AXES[right]} (mm)", loc="left")
    axes.set_ylabel(f"{AXES[down]} (mm)", loc="top")
    axes.set_title(name, loc="left", fontsize=8.5)


@dataclass(frozen=True, eq=False)
class Veil:
    """A saliency map laid over a part of the volume.

    Parameters
    ----------
    parts : (ni, nj, nk) uint8, 255 at the map's maximum and 0 where nothing is salient
    highest : the map's maximum
    origin_mm, spacing_mm : where it begins in the volume, and its voxels' size
    """

    parts: NDArray[np.uint8]
    highest: float
    origin_mm: Place
    spacing_mm: Place


@dataclass(frozen=True, eq=False)
class Scene:
    """One volume with its overlays, ready to be drawn.

    Parameters
    ----------
    volume : as it was recorded
    voxels : (ni, nj, nk) uint8, the volume or block means of it
    spacing_mm : size of these voxels
    factors : how many of the volume's voxels were averaged along each axis; 1, 1, 1 where it is shown as it is
    annotation : in the volume's own voxels
    veil : saliency
    start : voxel where the three planes cut at first
    """

    volume: Volume
    voxels: NDArray[np.uint8]
    spacing_mm: Place
    factors: Index
    annotation: Annotation | None
    veil: Veil | None
    start: Index

    @property
    def name(self) -> str:
        """Level and side where the sidecar says them in the study's own words; nothing else of it reaches a page."""
        level, side = self.volume.sidecar.get("SpinalLevel"), self.volume.sidecar.get("Laterality")
        return f"{LEVEL_NAMES.get(str(level), '')} {SIDE_NAMES.get(str(side), '')}".strip()

    @property
    def extent_mm(self) -> Place:
        """Size of the volume."""
        return _times(self.volume.voxels.shape, self.volume.spacing_mm)

    @property
    def points_mm(self) -> dict[str, Place]:
        """The two reference points, from the volume's corner to the middle of their voxels."""
        if self.annotation is None:
            return {}
        places = {"bone": self.annotation.bone, "shadow": self.annotation.shadow}
        return {name: _times(np.add(place, 0.5), self.volume.spacing_mm) for name, place in places.items()}

    @property
    def roi_mm(self) -> tuple[Place, Place] | None:
        """First and last corner of the region of interest."""
        if self.annotation is None:
            return None
        first, size = self.annotation.boxes["roi"]
        return _times(first, self.volume.spacing_mm), _times(np.add(first, size), self.volume.spacing_mm)

    def middle_mm(self, index: Index) -> Place:
        """Middle of a drawn voxel, from the volume's corner."""
        return _times(np.add(index, 0.5), self.spacing_mm)


def prepare(volume: Volume, annotation: Annotation | None, saliency: Any) -> Scene:
    """A volume with its overlays, checked and small enough for a page.

    Parameters
    ----------
    volume : grey levels
    annotation : reference points and region of interest
    saliency : non-negative numbers of the region's shape or of the volume's

    Raises
    ------
    InputError
        Not a volume, an annotation that leaves it, a map of another shape or one that holds NaN or negative numbers.
    """
    _check_volume(volume)
    if annotation is not None:
        if not isinstance(annotation, Annotation):
            raise InputError(f"found a {type(annotation).__name__}, expected an Annotation")
        annotation.check_inside(volume.voxels.shape)
    factors = _factors(volume.voxels.shape, volume.spacing_mm)
    voxels, spacing = _block_means(volume.voxels, factors), _times(factors, volume.spacing_mm)
    veil = None if saliency is None else _veil(_checked_map(saliency, volume, annotation), volume, annotation)
    # The most salient voxel, else the middle of the region, else that of the volume.
    if veil is not None and veil.highest > 0:
        top = np.unravel_index(int(veil.parts.argmax()), veil.parts.shape)
        place = veil.origin_mm + np.add(top, 0.5) * veil.spacing_mm
    else:
        first, size = annotation.boxes["roi"] if annotation else ((0, 0, 0), volume.voxels.shape)
        place = np.add(first, np.array(size) / 2) * volume.spacing_mm
    i, j, k = (int(at) for at in np.minimum(place / np.array(spacing), np.array(voxels.shape) - 1))
    return Scene(volume, voxels, spacing, factors, annotation, veil, (i, j, k))


def _check_volume(volume: Volume) -> None:
    if not isinstance(volume, Volume):
        raise InputError(f"found a {type(volume).__name__}, expected a volume; mflib.data.volume.read(path) gives one")
    voxels, spacing = volume.voxels, volume.spacing_mm
    if voxels.dtype != np.uint8 or voxels.ndim != 3 or voxels.size == 0:
        raise InputError(f"found voxels {voxels.shape} of {voxels.dtype}, expected three axes of uint8")
    if len(spacing) != 3 or not all(0 < step < np.inf for step in spacing):
        raise InputError(f"found spacing {spacing}, expected three voxel sizes in mm")


def _checked_map(saliency: Any, volume: Volume, annotation: Annotation | None) -> NDArray[np.float64]:
    """A saliency map as numbers that can be shown: of the region's shape or the volume's, finite, not negative."""
    values = np.asarray(saliency, dtype=np.float64)
    wanted = {} if annotation is None else {"the ROI's": tuple(annotation.roi_size)}
    wanted |= {"the volume's": volume.voxels.shape}
    if values.shape not in wanted.values():
        sizes = " or ".join(f"{whose} {_size(shape)}" for whose, shape in wanted.items())
        raise InputError(f"saliency: found shape {_size(values.shape)}, expected {sizes}")
    if not np.isfinite(values).all():
        raise InputError(f"saliency: found {np.sum(~np.isfinite(values))} values NaN or infinite, expected none")
    if values.min() < 0:
        raise InputError(f"saliency: found {values.min():.3g}, expected no negative value; clip the map at 0")
    return values


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _veil(values: NDArray[np.float64], volume: Volume, annotation: Annotation | None) -> Veil:
    origin = annotation.roi_start if annotation and values.shape == tuple(annotation.roi_size) else (0, 0, 0)
    factors = _factors(values.shape, volume.spacing_mm)
    highest = float(values.max())
    parts = _block_means(np.rint(255 * values / (highest or 1)).astype(np.uint8), factors)
    return Veil(parts, highest, _times(origin, volume.spacing_mm), _times(factors, volume.spacing_mm))


def _factors(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Index:
    """Whole factors that bring a volume under the limit; the axis with the finest voxels gives way first."""
    factors = [1, 1, 1]
    while prod(-(-n // f) for n, f in zip(shape, factors, strict=True)) > MAX_VOXELS:
        steps = [f * step if n > f else np.inf for n, f, step in zip(shape, factors, spacing_mm, strict=True)]
        factors[int(np.argmin(steps))] += 1
    i, j, k = factors
    return i, j, k


def _block_means(voxels: NDArray[np.uint8], factors: Index) -> NDArray[np.uint8]:
    """Rounded means of blocks; the last ones hold what is left."""
    if factors == (1, 1, 1):
        return voxels
    both = (voxels, np.ones_like(voxels))
    sums, counts = (block_reduce(values, factors, np.sum, func_kwargs={"dtype": np.uint32}) for values in both)
    return np.rint(sums / counts).astype(np.uint8)


def _times(first: Any, second: Any) -> Place:
    i, j, k = (float(product) for product in np.multiply(first, second))
    return i, j, k
