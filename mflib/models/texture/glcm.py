"""Grey-level co-occurrence in three dimensions.

A matrix counts how often grey level a lies at an offset from grey level b. The offset is direction times step in
voxels: step 15 on a diagonal is (15, 15, 0), where scikit-image's two-dimensional ``graycomatrix`` would round to a
Euclidean length of 15. Matrices are symmetric by default, the convention of IBSI (doi:10.1148/radiol.2020191145):
ASM, energy and correlation depend on it, the other three properties do not.

Every offset is counted once, in 256 levels. Any coarser quantisation ``g * levels // 256`` of 8-bit grey is a sum of
cells of that one matrix, so six level counts cost one pass over the voxels, and all properties but the last division
are exact integers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base.errors import InputError

Offset = tuple[int, int, int]
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "ASM", "energy", "correlation")
# One of each pair of opposite neighbours: the first non-zero component is positive.
DIRECTIONS: tuple[Offset, ...] = tuple((i, j, k) for i, j, k in product((-1, 0, 1), repeat=3) if (i, j, k) > (0, 0, 0))
LEVELS = (8, 16, 32, 64, 128, 256)
STEPS = tuple(range(1, 16))
# Sums of one matrix stay exact up to so many voxels.
LARGEST = 2**30
# A gigabyte, since a mean takes eight bytes.
LARGEST_RESAMPLED = 2**27


def matrix(volume: NDArray[np.uint8], offset: Offset, levels: int, *, symmetric: bool = True) -> NDArray[np.int64]:
    """Co-occurrence counts of one offset.

    Parameters
    ----------
    volume : (ni, nj, nk) uint8
    offset : from the first voxel of a pair to the second, in voxels along i, j, k
    levels : grey levels after quantisation ``g * levels // 256``, 2 to 256
    symmetric : count each pair in both orders

    Returns
    -------
    (levels, levels) int64
        Row: level of the first voxel; column: level of the second.

    Raises
    ------
    ValueError
        Not a three-dimensional uint8 volume, levels outside 2 to 256, an offset of zero, or one that leaves no pair.
    """
    # Here and below: importing numba takes half a second, which those who only want names need not wait.
    from mflib.models.texture import glcm_kernel as kernel

    _check_volume(volume)
    if not 2 <= levels <= 256:
        raise ValueError(f"GLCM: found {levels} grey levels, expected a whole number from 2 to 256")
    if not any(offset):
        raise ValueError(f"GLCM offset: found {offset}, expected three whole numbers that are not all 0")
    if not _fits(offset, volume.shape):
        raise ValueError(f"GLCM offset {offset} leaves no pair of voxels in a volume of {volume.shape}")
    voxels, order = _laid_out(volume)
    first, second, third = (offset[axis] for axis in order)
    fine = kernel.count(voxels, first, second, third, np.empty(256 * 256, _width(voxels)))
    coarse = (fine if levels == 256 else kernel.requantise(fine, levels)).astype(np.int64)
    return coarse + coarse.T if symmetric else coarse


def properties(counts: NDArray[np.int64]) -> pd.Series:
    """The six properties of one matrix of counts, named as in `PROPERTIES`.

    With p = counts / sum: contrast sum p (i-j)^2, dissimilarity sum p |i-j|, homogeneity sum p / (1 + (i-j)^2)
    (IBSI's inverse difference moment), ASM sum p^2, energy sqrt(ASM), and the correlation of i and j. A matrix in
    which i or j has a single level has no correlation; it is given 1, as scikit-image does.

    Parameters
    ----------
    counts : (levels, levels) int64, not all zero

    Raises
    ------
    ValueError
        The matrix is not square, or empty of counts.
    """
    from mflib.models.texture import glcm_kernel as kernel

    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.any():
        raise ValueError(f"found a matrix of {counts.shape} with sum {counts.sum()}, expected a square one with counts")
    out = np.empty(len(PROPERTIES))
    kernel.properties(np.ascontiguousarray(counts, dtype=np.int64), False, out)
    return pd.Series(out, index=list(PROPERTIES))


def features(
    volume: NDArray[np.uint8],
    *,
    levels: Sequence[int] = LEVELS,
    steps: Sequence[int] = STEPS,
    symmetric: bool = True,
) -> pd.Series:
    """Six properties of every combination of grey-level count, step and direction.

    Parameters
    ----------
    volume : (ni, nj, nk) uint8
    levels : different grey-level counts, each 2 to 256
    steps : different distances in voxels along each non-zero component of the direction
    symmetric : as in `matrix`

    Returns
    -------
    Series
        ``glcm_{levels}_{step}_{i}.{j}.{k}_{property}``, in the order of `names`. Combinations whose offset leaves no
        pair of voxels are left out.

    Raises
    ------
    ValueError
        Not a three-dimensional uint8 volume, a flat one, or steps of which none fits.
    """
    from mflib.models.texture import glcm_kernel as kernel

    _check_volume(volume)
    if volume.min() == volume.max():
        found = f"{volume.size} voxels, all of grey level {volume.flat[0]}"
        raise InputError(f"GLCM: found {found}, expected at least two grey levels")
    offsets = [offset for offset in _offsets(steps) if _fits(offset, volume.shape)]
    if not offsets:
        raise InputError(f"no step of {list(steps)} leaves a pair of voxels in a volume of {volume.shape}")
    voxels, order = _laid_out(volume)
    laid_out = np.ascontiguousarray(np.asarray(offsets)[:, order])
    falling, bins = np.argsort(levels)[::-1], np.empty(256 * 256, _width(voxels))
    values = np.zeros((len(offsets), len(levels), len(PROPERTIES)))
    kernel.measure(voxels, laid_out, bins, np.asarray(levels)[falling], symmetric, values)
    in_order = values[:, np.argsort(falling)].transpose(1, 0, 2)
    return pd.Series(in_order.ravel(), index=_index(tuple(levels), tuple(offsets)))


def size_in(shape: Sequence[int], spacing_mm: Sequence[float], voxel_mm: Sequence[float]) -> tuple[int, int, int]:
    """Extent of a region (ni, nj, nk) in voxels of another size; sizes in mm along i, j, k."""
    i, j, k = (max(1, round(n * own / new)) for n, own, new in zip(shape, spacing_mm, voxel_mm, strict=True))
    return i, j, k


def resampled(volume: NDArray[np.uint8], spacing_mm: Sequence[float], voxel_mm: Sequence[float]) -> NDArray[np.uint8]:
    """A region in voxels of another size, each of them the mean of what it covers of the region's own.

    A mean smooths: speckle that is finer than the new voxel is gone, and so are the gaps of a stretched histogram. It
    takes from every volume what the coarsest one cannot show. Interpolation between voxel centres does not: it smooths
    most where a new centre falls midway and not at all where it meets an old one, which again tells the voxel size.

    Parameters
    ----------
    volume : (ni, nj, nk) uint8
    spacing_mm : its voxel size along i, j, k
    voxel_mm : the other one

    Returns
    -------
    uint8 array of the extent `size_in`
        The very same region where both sizes are equal.

    Raises
    ------
    ValueError
        More voxels than the memory should hold as numbers.
    """
    size = size_in(volume.shape, spacing_mm, voxel_mm)
    if tuple(spacing_mm) == tuple(voxel_mm):
        return volume
    if (count := math.prod(map(max, size, volume.shape))) > LARGEST_RESAMPLED:
        found = f"{count} voxels of {tuple(spacing_mm)} mm in voxels of {tuple(voxel_mm)} mm"
        raise InputError(f"found {found}, expected at most {LARGEST_RESAMPLED}")
    ratios = (new / own for own, new in zip(spacing_mm, voxel_mm, strict=True))
    first, second, third = (_covered(n, m, ratio) for n, m, ratio in zip(volume.shape, size, ratios, strict=True))
    planes = (first @ volume.reshape(len(volume), -1)).reshape(-1, *volume.shape[1:])
    # A mean midway between two grey levels goes up, whatever a processor's order of summing leaves in its last digits.
    return np.floor(second @ planes @ third.T + (0.5 + 1e-6)).astype(np.uint8)


def _covered(n: int, m: int, ratio: float) -> NDArray[np.float64]:
    """Share (m, n) that each of n voxels has in each of m voxels that are ``ratio`` times as long."""
    ends = np.minimum(np.arange(1, n + 1), ratio * np.arange(1, m + 1)[:, None])
    starts = np.maximum(np.arange(n), ratio * np.arange(m)[:, None])
    length = np.clip(ends - starts, 0, None)
    return np.asarray(length / length.sum(axis=1, keepdims=True))


def names(shape: Sequence[int], levels: Sequence[int] = LEVELS, steps: Sequence[int] = STEPS) -> list[str]:
    """Names and order of what `features` returns for a volume of this shape.

    The order is levels, steps, directions, properties. Every name for a shape is also one for each larger shape.
    """
    return list(_index(tuple(levels), tuple(offset for offset in _offsets(steps) if _fits(offset, shape))))


@functools.lru_cache(maxsize=64)
def _index(levels: tuple[int, ...], offsets: tuple[Offset, ...]) -> pd.Index:
    """Names of the features; building them takes longer than measuring a small region, so it is done once."""
    stems = []
    for offset in offsets:
        step = max(map(abs, offset))
        stems.append(f"{step}_" + ".".join(str(component // step) for component in offset))
    return pd.Index([f"glcm_{count}_{stem}_{name}" for count in levels for stem in stems for name in PROPERTIES])


def _offsets(steps: Sequence[int]) -> list[Offset]:
    return [(step * i, step * j, step * k) for step in steps for i, j, k in DIRECTIONS]


def _fits(offset: Sequence[int], shape: Sequence[int]) -> bool:
    return all(abs(component) < size for component, size in zip(offset, shape, strict=True))


def _check_volume(volume: NDArray[np.uint8]) -> None:
    if volume.ndim != 3 or volume.dtype != np.uint8:
        raise ValueError(f"GLCM: found {volume.ndim} axes of {volume.dtype}, expected three axes of uint8")
    if volume.size > LARGEST:
        raise ValueError(f"GLCM: found {volume.size} voxels, expected at most {LARGEST}")


def _width(voxels: NDArray[np.uint8]) -> type[np.unsignedinteger]:
    """The narrowest type of bin that no pair of grey levels can overflow."""
    # No pair of levels can occur more often at one offset than one of them does. Counted plane by plane, since bincount
    # makes eight bytes of each voxel.
    counts = np.sum([np.bincount(plane.ravel(), minlength=256) for plane in voxels], axis=0)
    return np.uint16 if counts.max() < 2**16 else np.uint32


def _laid_out(volume: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[int]]:
    """The volume in memory with the longest axis last, for long rows, and the order of its axes."""
    # Of equally long axes the one that is last already, so that nothing is copied without need.
    order = sorted(range(3), key=lambda axis: (volume.shape[axis], -abs(volume.strides[axis])))
    return np.ascontiguousarray(volume.transpose(order)), order
