"""The viewer as HTML that needs nothing else: a still picture, the voxels, and a script that brings them to life."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mflib.base.files import ASSETS
from mflib.base.words import AXES, PLANES
from mflib.data.volume import Annotation, Volume
from mflib.show.viewer import still
from mflib.show.viewer.scene import Scene, prepare


@dataclass(frozen=True)
class View:
    """A viewer with an HTML form; a notebook displays it by that form.

    Parameters
    ----------
    description : what the still picture shows, in words
    html : the viewer, in ASCII, so that it can be written to a file as it is
    """

    description: str
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def view(
    volume: Volume,
    annotation: Annotation | None = None,
    saliency: Any = None,
    *,
    caption: str = "",
) -> View:
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
    View
        What a notebook displays; its page is in ``html``.

    Raises
    ------
    InputError
        Something that cannot be shown; the message says what was found and what was expected.
    """
    scene = prepare(volume, annotation, saliency)
    return View(still.describe(scene), _html(scene, caption))


def _html(scene: Scene, caption: str) -> str:
    picture = base64.b64encode(still.png(scene)).decode()
    packed = [scene.voxels] if scene.veil is None else [scene.voxels, scene.veil.parts]
    parts = [
        '<figure class="mflib-view">',
        f"<style>{(ASSETS / 'view.css').read_text(encoding='utf-8')}</style>",
        f'<img class="mflib-view-still" width="640" alt="{escape(still.describe(scene))}" ',
        f'src="data:image/png;base64,{picture}">',
        f"<figcaption>{escape(' '.join(filter(None, [caption, _note(scene)])))}</figcaption>",
        f'<script type="application/json">{json.dumps(_settings(scene))}</script>',
        *(f'<script type="application/octet-stream">{_pack(values)}</script>' for values in packed),
        f"<script>{_script()}</script>",
        "</figure>",
    ]
    # A file without a declared encoding would show anything but ASCII wrongly.
    return "".join(parts).encode("ascii", "xmlcharrefreplace").decode()


def _script() -> str:
    """One function for the two files, so that viewers on one page share no name."""
    files = [(ASSETS / name).read_text(encoding="utf-8") for name in ("view_planes.js", "view.js")]
    return f'(() => {{\n"use strict";\n{"".join(files)}}})();'


def _settings(scene: Scene) -> dict[str, Any]:
    """What the script knows besides the voxels."""
    veil = scene.veil
    return {
        "axes": AXES,
        "planes": PLANES,
        "shape": scene.voxels.shape,
        "spacing": scene.spacing_mm,
        "extent": scene.extent_mm,
        "factors": scene.factors,
        "start": scene.start,
        "name": scene.name,
        "roi": scene.roi_mm,
        "region": still.REGION,
        "near": still.NEAR_MM,
        "points": [
            {"name": name, "at": place, "colour": still.LOOKS[name][0]} for name, place in scene.points_mm.items()
        ],
        "opacity": still.OPACITY,
        "saliency": veil
        and {
            "shape": veil.parts.shape,
            "spacing": veil.spacing_mm,
            "origin": veil.origin_mm,
            "highest": f"{veil.highest:.3g}",
            "colours": still.veil_colours().ravel().tolist(),
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
