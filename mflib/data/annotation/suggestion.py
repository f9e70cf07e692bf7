"""Where the reference points and the region of interest may lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mflib.data.annotation.marks import Roi
from mflib.data.preprocess import CLEFT_MM, ROI_MARGIN_MM, Millimetres, roi_columns
from mflib.data.volume import Index, Volume

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


def suggest(volume: Volume) -> tuple[Index, Index] | None:
    """Bone and shadow by what makes them visible, or None where no bone with its own shadow is found.

    A voxel scores by how much brighter it is than the column below it, times how much darker this column is than the
    tissue of the same depth beside it. Fascia is as bright but casts no shadow; a lamina casts one, but a wide one.
    """
    coarse, factors, spacing = coarsened(volume)
    if coarse.shape[1] * spacing[1] < SHADOW_TO_MM:
        return None
    echo, below, beside = _parts(coarse, spacing)
    bone, dark = echo - below, 1 - below / np.maximum(beside, 1)
    score = np.where((bone > WEAKEST_ECHO) & (dark > LEAST_DARK), bone * dark, 0)
    if not score.any():
        return None
    i, j, k = _centre(score, echo)
    deeper = j + round(SHADOW_POINT_MM / spacing[1])
    return _fine((i, j, k), factors), _fine((i, deeper, k), factors)


def coarsened(volume: Volume) -> tuple[Floats, Index, list[float]]:
    """Means of blocks of about ``GRID_MM``, how many voxels each block spans, and how many mm."""
    i, j, k = (max(1, round(GRID_MM / step)) for step in volume.spacing_mm)
    ni, nj, nk = (n // f for n, f in zip(volume.voxels.shape, (i, j, k), strict=True))
    blocks = volume.voxels[: ni * i, : nj * j, : nk * k].reshape(ni, i, nj, j, nk, k)
    spacing = [step * factor for step, factor in zip(volume.spacing_mm, (i, j, k), strict=True)]
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32), (i, j, k), spacing


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
    padded = np.pad(below, ((away, away), (0, 0), (0, 0)))
    return np.maximum(padded[: -2 * away], padded[2 * away :])


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


REGION_BESIDE_MM = 5.0  # from the crest of a process to the muscle beside its shadow, where no edge is found
NARROWEST_MM, WIDEST_MM = 2.0, 10.0  # between these a shadow's edge is looked for
FASCIA_MM = 4.0  # no fascia lies deeper below the crest of a process, or is looked for higher above it
LAMINA_BELOW_MM = 10.0  # no lamina lies closer below the crest of its process
LEAST_BELOW_MM = 1.0  # recorded below an echo to say that it is dark there
LAMINA_SPREAD_MM = 5.0  # a sheet of bone with its facet joint stays within that
LEAST_LAMINA = 0.5  # share of the columns in which it is seen: between two laminae there is none
LAMINA_DARK = 0.85  # grey below a lamina over that of the muscle above it, at most
HIGHEST = 5  # percentile of the lamina's depths that counts as its upper edge


def suggest_roi(volume: Volume, bone: Index, level: str, lat: str, size_mm: Millimetres) -> Roi:
    """A region of interest of at most ``size_mm`` on the multifidus beside a bone, cut to what the volume holds there.

    It begins beside the shadow, at the bone's depth or below the fascia where that is deeper, has its middle in the
    bone's plane, and ends above the lamina and at the level's usual cleft; it is never narrower than texture needs
    (``preprocess.roi_columns``). What cannot be seen in the volume limits nothing. The muscle of a left side
    lies to the left of the midline; where less than a third of the volume is there, the picture is mirrored and the
    other side holds it.

    Parameters
    ----------
    volume : in which edges are looked for
    bone : voxel on the spinous process
    level, lat : of the segment; the level by its name in ``words.LEVELS``, L or R
    size_mm : extent along i, j, k

    Returns
    -------
    (start, size) in voxels
    """
    nj, step = volume.voxels.shape[1], volume.spacing_mm
    side = _side(volume, bone[0], lat)
    cleft = round((CLEFT_MM[level] - ROI_MARGIN_MM) / step[0])
    away = (_shadow_edge(volume, bone, side), cleft, _recorded(volume, bone, side))
    i, k = roi_columns(volume.voxels.shape, step, bone, side, away, size_mm)
    above = _muscle(volume, (i, k), bone[1])
    top, bottom = min(above[0], nj - 2), max(above[1], above[0] + 2)
    deep = min(max(2, round(size_mm[1] / step[1])), bottom - top, nj - top)
    return (i.start, top, k.start), (i.stop - i.start, deep, k.stop - k.start)


def _side(volume: Volume, bone: int, lat: str) -> str:
    """On which side of the bone the picture holds the muscle."""
    ni, away = volume.voxels.shape[0], round(REGION_BESIDE_MM / volume.spacing_mm[0])
    rooms = {"L": bone - away, "R": ni - bone - away}
    return lat if 3 * rooms[lat] >= ni else max(rooms, key=lambda name: rooms[name])


def _recorded(volume: Volume, bone: Index, side: str) -> int:
    """Voxels from the crest to the edge of the recorded sector at the muscle's depth; outside all is zero."""
    deep = slice(bone[1], bone[1] + max(1, round(SHADOW_TO_MM / volume.spacing_mm[1])))
    recorded = (volume.voxels[:, deep] > 0).mean(axis=(1, 2)) >= FEWEST_RECORDED
    outwards = recorded[bone[0] :: -1] if side == "L" else recorded[bone[0] :]
    return int(np.flatnonzero(outwards)[-1]) + 1 if outwards.any() else len(outwards)


def _shadow_edge(volume: Volume, bone: Index, side: str) -> int:
    """Voxels from the crest to the muscle: to where the grey below its depth has risen half way, and the margin."""
    step, depth = volume.spacing_mm[0], volume.spacing_mm[1]
    rows = slice(bone[1] + round(SHADOW_FROM_MM / depth), bone[1] + round(SHADOW_TO_MM / depth))
    reach = max(1, round(2.0 / volume.spacing_mm[2]))
    below = volume.voxels[:, rows, max(0, bone[2] - reach) : bone[2] + reach + 1]
    fallback = round(REGION_BESIDE_MM / step)
    if below.size == 0:
        return fallback
    profile = ndimage.uniform_filter1d(below.mean(axis=(1, 2), dtype=np.float64), max(1, round(1.0 / step)))
    outwards = profile[bone[0] :: -1] if side == "L" else profile[bone[0] :]
    near, far = max(1, round(NARROWEST_MM / step)), max(1, round(WIDEST_MM / step))
    if len(outwards) <= near:
        return fallback
    dark, bright = outwards[:near].mean(), np.median(outwards[near : 2 * far])
    risen = np.flatnonzero(outwards[near : far + 1] > (dark + bright) / 2)
    return near + int(risen[0]) + round(ROI_MARGIN_MM / step) if bright > dark and len(risen) else fallback


def _muscle(volume: Volume, columns: tuple[slice, slice], crest: int) -> tuple[int, int]:
    """First voxel in depth below the fascia and first behind the muscle, in these columns (along i and k)."""
    coarse, factors, spacing = coarsened(volume)
    i, k = (slice(part.start // f, -(-part.stop // f)) for part, f in zip(columns, factors[::2], strict=True))
    grey = coarse[i, :, k]
    start = _below_fascia(grey, spacing[1], crest // factors[1])
    end = _above_lamina(grey, spacing, crest // factors[1])
    return max(crest, start * factors[1]), volume.voxels.shape[1] if end is None else end * factors[1]


def _below_fascia(grey: Floats, step: float, crest: int) -> int:
    """First depth from the crest on where the mean of all columns is nearer to muscle than to fascia."""
    reach, profile = max(1, round(FASCIA_MM / step)), grey.mean(axis=(0, 2))
    near, deep = profile[crest : crest + reach], profile[crest + reach : crest + reach + round(LAMINA_BELOW_MM / step)]
    if deep.size == 0:
        return crest
    muscle, fascia = np.median(deep), profile[max(0, crest - reach) : crest + reach].max()
    bright = np.flatnonzero(near > (muscle + fascia) / 2)
    if fascia - muscle < WEAKEST_ECHO or len(bright) == 0:
        return crest
    start = crest + int(bright[-1]) + 1 + round(ROI_MARGIN_MM / step)
    # A fascia has an edge; where the grey level falls slowly it is only the depth.
    return start if start < len(profile) and profile[start] < muscle + (fascia - muscle) / 4 else crest


def _above_lamina(grey: Floats, spacing: list[float], crest: int) -> int | None:
    """First depth that the lamina reaches, less the margin; None where no lamina is seen.

    Bone lets nothing through: the lamina is in each column the echo that stands out most from what lies below it, at
    about the same depth in all of them, and what lies below is darker than the muscle.
    """
    wide = [max(1, round(mm / step)) for mm, step in zip((1.5, 1.0, 1.5), spacing, strict=True)]
    echo = ndimage.uniform_filter(grey, wide, mode="nearest")
    below = _mean_to_the_end(grey, spacing[1])
    first = crest + round(LAMINA_BELOW_MM / spacing[1])
    contrast = (echo - below)[:, first:]
    if contrast.shape[1] == 0:
        return None
    depths, strength = contrast.argmax(axis=1), contrast.max(axis=1)
    seen = (strength > WEAKEST_ECHO) & (depths > 0)  # at the first depth it is no crest, only brighter tissue above
    if not seen.any():
        return None
    sheet = seen & (np.abs(depths - np.median(depths[seen])) * spacing[1] <= LAMINA_SPREAD_MM)
    at = first + depths
    dark = np.take_along_axis(below, at[:, None], axis=1)[:, 0][sheet]
    if sheet.mean() < LEAST_LAMINA or np.median(dark) > LAMINA_DARK * grey[:, crest:first].mean():
        return None
    return int(np.percentile(at[sheet], HIGHEST)) - round(ROI_MARGIN_MM / spacing[1])


def _mean_to_the_end(grey: Floats, step: float) -> Floats:
    """Mean of the voxels below each one, from ``SHADOW_FROM_MM`` to ``SHADOW_TO_MM`` or the end; 255 where it ends."""
    near, far, n = round(SHADOW_FROM_MM / step), round(SHADOW_TO_MM / step), grey.shape[1]
    total = np.pad(np.cumsum(grey, axis=1, dtype=np.float64), ((0, 0), (1, 0), (0, 0)))
    depth = np.arange(n)
    start, stop = np.minimum(depth + near, n), np.minimum(depth + far, n)
    count = (stop - start)[None, :, None]
    mean = (total[:, stop] - total[:, start]) / np.maximum(count, 1)
    return np.where(count * step >= LEAST_BELOW_MM, mean, 255).astype(np.float32)
