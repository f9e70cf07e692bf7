"""What a viewer shows: voxels that fit into a page, overlays in mm, and where the three planes cut at first."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mflib.base.errors import InputError
from mflib.base.words import LEVELS, SIDE_NAMES
from mflib.data.volume import Annotation, Index, Volume

MAX_VOXELS = 8_000_000  # about 8 MB of a page; what is larger is averaged down
Place = tuple[float, float, float]


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
    voxels : (ni, nj, nk) uint8, the volume or block means of it
    spacing_mm : size of these voxels
    extent_mm : size of the volume
    factors : how many of the volume's voxels were averaged along each axis; 1, 1, 1 where it is shown as it is
    name : level and side, empty where the sidecar does not say
    annotation : in the volume's own voxels
    own_spacing_mm : size of the volume's own voxels
    veil : saliency
    start : voxel where the three planes cut at first
    """

    voxels: NDArray[np.uint8]
    spacing_mm: Place
    extent_mm: Place
    factors: Index
    name: str
    annotation: Annotation | None
    own_spacing_mm: Place
    veil: Veil | None
    start: Index

    @property
    def points_mm(self) -> dict[str, Place]:
        """The two reference points, from the volume's corner to the middle of their voxels."""
        if self.annotation is None:
            return {}
        places = {"bone": self.annotation.bone, "shadow": self.annotation.shadow}
        return {name: _times(np.add(place, 0.5), self.own_spacing_mm) for name, place in places.items()}

    @property
    def roi_mm(self) -> tuple[Place, Place] | None:
        """First and last corner of the region of interest."""
        if self.annotation is None:
            return None
        first = np.array(self.annotation.roi_start)
        last = first + self.annotation.roi_size
        return _times(first, self.own_spacing_mm), _times(last, self.own_spacing_mm)

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
    voxels = _block_means(volume.voxels, factors)
    veil = None if saliency is None else _veil(_checked_map(saliency, volume, annotation), volume, annotation)
    spacing = _times(factors, volume.spacing_mm)
    return Scene(
        voxels=voxels,
        spacing_mm=spacing,
        extent_mm=_times(volume.voxels.shape, volume.spacing_mm),
        factors=factors,
        name=_name(volume),
        annotation=annotation,
        own_spacing_mm=_times((1, 1, 1), volume.spacing_mm),
        veil=veil,
        start=_start(voxels.shape, np.array(spacing), volume, annotation, veil),
    )


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
    wanted = {"the volume's": volume.voxels.shape}
    if annotation is not None:
        wanted = {"the ROI's": tuple(annotation.roi_size), **wanted}
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
    inside = annotation is not None and values.shape == tuple(annotation.roi_size)
    origin = annotation.roi_start if annotation is not None and inside else (0, 0, 0)
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
    sums, counts = voxels, np.ones((1, 1, 1))
    for axis, (n, factor) in enumerate(zip(voxels.shape, factors, strict=True)):
        starts = np.arange(0, n, factor)
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.uint32)
        along = np.minimum(starts + factor, n) - starts
        counts = counts * np.expand_dims(along, tuple({0, 1, 2} - {axis}))
    return np.rint(sums / counts).astype(np.uint8)


def _start(
    shape: tuple[int, ...],
    spacing: NDArray[np.float64],
    volume: Volume,
    annotation: Annotation | None,
    veil: Veil | None,
) -> Index:
    """The most salient voxel, else the middle of the region, else that of the volume."""
    if veil is not None and veil.highest > 0:
        top = np.unravel_index(int(veil.parts.argmax()), veil.parts.shape)
        place = np.array(veil.origin_mm) + (np.array(top) + 0.5) * veil.spacing_mm
    elif annotation is not None:
        place = (np.array(annotation.roi_start) + np.array(annotation.roi_size) / 2) * volume.spacing_mm
    else:
        place = np.array(volume.voxels.shape) / 2 * volume.spacing_mm
    i, j, k = (int(at) for at in np.minimum(place / spacing, np.array(shape) - 1))
    return i, j, k


def _name(volume: Volume) -> str:
    """Level and side where the sidecar says them in the study's own words; nothing else of it reaches a page."""
    level, side = volume.sidecar.get("SpinalLevel"), volume.sidecar.get("Laterality")
    return " ".join([level if level in LEVELS else "", SIDE_NAMES.get(str(side), "")]).strip()


def _times(first: Any, second: Any) -> Place:
    i, j, k = (float(product) for product in np.multiply(first, second))
    return i, j, k
