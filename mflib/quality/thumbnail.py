"""One small picture of a volume, with the places of its annotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mflib.volume import Annotation, Index, Volume

SIDE = 100  # pixels of the longer side: 368 of them stay under a megabyte

Place = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """The middle transverse plane of a volume, small.

    Parameters
    ----------
    pixels : (depth, lateral) uint8, with square pixels
    roi : left, top, width and height of the region of interest, as shares of the picture; None where there is none
    bone, shadow : reference points, from the left and from the top, as shares of the picture
    """

    pixels: NDArray[np.uint8]
    roi: tuple[float, float, float, float] | None = None
    bone: Place | None = None
    shadow: Place | None = None


def of(volume: Volume, annotation: Annotation | None) -> Thumbnail:
    """The plane through the middle of the region of interest, or of the volume where there is none."""
    ni, nj, nk = volume.voxels.shape
    k = nk // 2 if annotation is None else annotation.roi_start[2] + annotation.roi_size[2] // 2
    width, height = ni * volume.spacing_mm[0], nj * volume.spacing_mm[1]
    scale = SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    plane = Image.fromarray(np.ascontiguousarray(volume.voxels[:, :, k].T))
    pixels = np.asarray(plane.resize(size, Image.Resampling.LANCZOS))
    if annotation is None:
        return Thumbnail(pixels)
    (left, top, _), (wide, high, _) = annotation.roi_start, annotation.roi_size
    roi = left / ni, top / nj, wide / ni, high / nj

    def place(point: Index) -> Place:
        return (point[0] + 0.5) / ni, (point[1] + 0.5) / nj

    return Thumbnail(pixels, roi, place(annotation.bone), place(annotation.shadow))
