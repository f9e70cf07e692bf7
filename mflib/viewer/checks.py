"""What cannot be shown is refused before anything is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mflib.volume import Annotation, Volume


class ViewError(ValueError):
    """What was asked for cannot be shown; the message says what was found and what was expected."""


def check_volume(volume: Volume) -> None:
    """Refuse what is no grey volume in mm."""
    if not isinstance(volume, Volume):
        raise ViewError(f"found a {type(volume).__name__}, expected a volume; mflib.volume.read(path) gives one")
    voxels, spacing = volume.voxels, volume.spacing_mm
    if voxels.dtype != np.uint8 or voxels.ndim != 3 or voxels.size == 0:
        raise ViewError(f"found voxels {voxels.shape} of {voxels.dtype}, expected three axes of uint8")
    if len(spacing) != 3 or not all(0 < step < np.inf for step in spacing):
        raise ViewError(f"found spacing {spacing}, expected three voxel sizes in mm")


def check_annotation(annotation: Annotation, shape: tuple[int, ...]) -> None:
    """Refuse points and a region that leave a volume of ``shape``."""
    if not isinstance(annotation, Annotation):
        raise ViewError(f"found a {type(annotation).__name__}, expected an Annotation")
    for name, place in (("bone", annotation.bone), ("shadow", annotation.shadow)):
        if not all(0 <= at < n for at, n in zip(place, shape, strict=True)):
            raise ViewError(f"{name}: found voxel {place}, expected one inside the volume of {_sizes(shape)}")
    last = np.add(annotation.roi_start, annotation.roi_size)
    if min(annotation.roi_start) < 0 or min(annotation.roi_size) < 1 or (last > shape).any():
        raise ViewError(
            f"ROI: found voxels {annotation.roi_start} and on, {_sizes(annotation.roi_size)} of them, "
            f"expected a box inside the volume of {_sizes(shape)}"
        )


def checked_map(saliency: Any, volume: Volume, annotation: Annotation | None) -> NDArray[np.float64]:
    """A saliency map as numbers that can be shown: of the region's shape or the volume's, finite, not negative."""
    values = np.asarray(saliency, dtype=np.float64)
    region = None if annotation is None else tuple(annotation.roi_size)
    if values.shape not in (region, volume.voxels.shape):
        wanted = f"the volume's {_sizes(volume.voxels.shape)}"
        wanted = wanted if region is None else f"the ROI's {_sizes(region)} or {wanted}"
        raise ViewError(f"saliency: found shape {_sizes(values.shape)}, expected {wanted}")
    if not np.isfinite(values).all():
        raise ViewError(f"saliency: found {np.sum(~np.isfinite(values))} values NaN or infinite, expected none")
    if values.min() < 0:
        raise ViewError(f"saliency: found {values.min():.3g}, expected no negative value; clip the map at 0")
    return values


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
