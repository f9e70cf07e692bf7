"""Where the reference points may lie: a bright echo with a dark column below it that its surroundings do not share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mflib.volume import Index, Volume

Floats = NDArray[np.float32]

# The search runs on blocks of about this size: finer than a bone's echo, coarser than speckle.
GRID_MM = 0.5
ECHO_MM = 1.0
COLUMN_MM = (2.0, 4.0)  # across the beam along i and k: a spinous process is wider than that
# Close below a bone lie its blurred echo and reverberations; 1 cm deeper noise begins to gain on the shadow.
SHADOW_FROM_MM, SHADOW_TO_MM, SHADOW_POINT_MM = 2.5, 12.5, 10.0
BESIDE_MM = 8.0  # half the width of a spinous process and its blur
WEAKEST_ECHO = 40.0  # grey levels above the column below
LEAST_DARK = 0.4  # share of the grey level beside that the shadow lacks
FEWEST_RECORDED = 0.1  # what is all zero lies outside the recorded sector


@dataclass(frozen=True)
class Suggestion:
    """Reference points that were computed; nobody has looked at them.

    Parameters
    ----------
    bone, shadow : voxels (i, j, k)
    confidence : 0 to 1; the share of the grey level beside it that the shadow lacks, times the bone's contrast to it
    """

    bone: Index
    shadow: Index
    confidence: float


def suggest(volume: Volume) -> Suggestion | None:
    """Both reference points by what makes them visible, or None where no bone with its own shadow is found.

    A voxel scores by how much brighter it is than the column below it, times how much darker this column is than the
    tissue of the same depth beside it. Fascia is as bright but casts no shadow; a lamina casts one, but a wide one.
    """
    coarse, factors = coarsened(volume)
    spacing = [step * factor for step, factor in zip(volume.spacing_mm, factors, strict=True)]
    if coarse.shape[1] * spacing[1] < SHADOW_TO_MM:
        return None
    echo, below, beside = _parts(coarse, spacing)
    bone, dark = echo - below, 1 - below / np.maximum(beside, 1)
    score = np.where((bone > WEAKEST_ECHO) & (dark > LEAST_DARK), bone * dark, 0)
    if not score.any():
        return None
    i, j, k = _centre(score, echo)
    deeper = j + round(SHADOW_POINT_MM / spacing[1])
    confidence = round(float(score[i, j, k]) / 255, 2)
    return Suggestion(_fine((i, j, k), factors), _fine((i, deeper, k), factors), confidence)


def coarsened(volume: Volume) -> tuple[Floats, Index]:
    """Means of blocks of about ``GRID_MM``, and how many voxels each block spans."""
    i, j, k = (max(1, round(GRID_MM / step)) for step in volume.spacing_mm)
    ni, nj, nk = (n // f for n, f in zip(volume.voxels.shape, (i, j, k), strict=True))
    blocks = volume.voxels[: ni * i, : nj * j, : nk * k].reshape(ni, i, nj, j, nk, k)
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32), (i, j, k)


def _parts(grey: Floats, spacing: list[float]) -> tuple[Floats, Floats, Floats]:
    """Grey level of each voxel's surroundings, of the column below it, and of the brighter tissue beside that column.

    Where the column leaves the volume or the recorded sector, it counts as white: no shadow.
    """
    wide = [max(1, round(mm / step)) for mm, step in zip((COLUMN_MM[0], ECHO_MM, COLUMN_MM[1]), spacing, strict=True)]
    echo = ndimage.uniform_filter(grey, wide, mode="nearest")
    columns = ndimage.uniform_filter1d(ndimage.uniform_filter1d(grey, wide[0], axis=0), wide[2], axis=2)
    below = _mean_below(columns, spacing[1], 255.0)
    recorded = _mean_below((columns > 0).astype(np.float32), spacing[1], 0.0)
    beside = _beside(_mean_below(columns, spacing[1], 0.0), max(1, round(BESIDE_MM / spacing[0])))
    return echo, np.where(recorded < FEWEST_RECORDED, np.float32(255), below), beside


def _mean_below(columns: Floats, step: float, outside: float) -> Floats:
    """Mean of the voxels from ``SHADOW_FROM_MM`` to ``SHADOW_TO_MM`` below each voxel."""
    near, far = round(SHADOW_FROM_MM / step), round(SHADOW_TO_MM / step)
    total = np.cumsum(columns, axis=1, dtype=np.float64)
    means = np.full(columns.shape, outside, np.float32)
    means[:, : -far or None] = (total[:, far:] - total[:, near : near + total.shape[1] - far]) / (far - near)
    return means


def _beside(below: Floats, away: int) -> Floats:
    """The brighter of the two columns that far to the left and right; a process at the edge has only one."""
    left, right = np.zeros_like(below), np.zeros_like(below)
    left[away:], right[:-away] = below[:-away], below[away:]
    return np.maximum(left, right)


def _centre(score: Floats, echo: Floats) -> Index:
    """The echo's crest in the middle of the region that scores at least half of the best voxel."""
    best = np.unravel_index(np.argmax(score), score.shape)
    label, _ = ndimage.label(score > score[best] / 2)
    region = label == label[best]
    # Over depth the region is as thick as the echo; its middle across is where bone and shadow are surest.
    across = np.where(region, score, 0).max(axis=1)
    middle = ndimage.center_of_mass(across)
    i, k = min(np.argwhere(across > 0).tolist(), key=lambda at: (at[0] - middle[0]) ** 2 + (at[1] - middle[1]) ** 2)
    j = int(np.argmax(np.where(region[i, :, k], echo[i, :, k], -1)))
    return i, j, k


def _fine(place: Index, factors: Index) -> Index:
    """The voxel in the middle of a block."""
    i, j, k = (at * factor + factor // 2 for at, factor in zip(place, factors, strict=True))
    return i, j, k
