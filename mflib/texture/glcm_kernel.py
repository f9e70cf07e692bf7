"""The compiled part of `mflib.texture.glcm`: pair counts, coarser levels, properties.

Arrays have their axes reversed (k, j, i). Nothing here holds the interpreter's lock, and nothing checks its input.
Counts are uint32: a cell holds up to 4.3e9 pairs. Sums are int64, exact up to 1e9 pairs in one matrix.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def count(voxels, mask, dk, dj, di):  # type: ignore[no-untyped-def]
    """256 x 256 counts of one offset; ``mask`` is None or an array, and each gets its own compiled form."""
    nk, nj, ni = voxels.shape
    counts = np.zeros(256 * 256, dtype=np.uint32)
    first, last = max(0, -di), min(ni, ni - di)
    for k in range(max(0, -dk), min(nk, nk - dk)):
        for j in range(max(0, -dj), min(nj, nj - dj)):
            here = voxels[k, j, first:last]
            there = voxels[k + dk, j + dj, first + di : last + di]
            if mask is None:
                _count_row(here, there, counts)
            else:
                both = mask[k, j, first:last] & mask[k + dk, j + dj, first + di : last + di]
                _count_row(here[both], there[both], counts)
    return counts.reshape(256, 256)


@njit(nogil=True, cache=True)
def _count_row(here, there, counts):  # type: ignore[no-untyped-def]
    # Unsigned indices spare numba's test for negative ones.
    for i in range(here.size):
        counts[(np.uint32(here[i]) << np.uint32(8)) | np.uint32(there[i])] += 1


@njit(nogil=True, cache=True)
def _block_sum(counts, ratio):  # type: ignore[no-untyped-def]
    """Sums of ratio x ratio blocks: the matrix of a coarser level count that divides the finer one."""
    size = counts.shape[0] // ratio
    coarse = np.zeros((size, size), dtype=np.uint32)
    for i in range(size * ratio):
        fine, row = counts[i], coarse[i // ratio]
        for j in range(size):
            for n in range(ratio):
                row[j] += fine[j * ratio + n]
    return coarse


@njit(nogil=True, cache=True)
def requantise(fine, levels):  # type: ignore[no-untyped-def]
    """The matrix of ``g * levels // 256`` from that of 256 levels."""
    if 256 % levels == 0:
        return _block_sum(fine, 256 // levels)
    coarse = np.zeros((levels, levels), dtype=np.uint32)
    for i in range(256):
        for j in range(256):
            coarse[i * levels // 256, j * levels // 256] += fine[i, j]
    return coarse


@njit(nogil=True, cache=True)
def measure(voxels, mask, dk, dj, di, levels, symmetric, out):  # type: ignore[no-untyped-def]
    """Properties of one offset at all level counts into ``out`` (levels, 6); False where it has no pair."""
    fine = count(voxels, mask, dk, dj, di)
    if fine.sum() == 0:
        return False
    current = fine
    for n in np.argsort(-levels):
        size = levels[n]
        if 256 % size == 0:
            current = _block_sum(current, current.shape[0] // size) if size < current.shape[0] else current
            properties(current, symmetric, out[n])
        else:
            properties(requantise(fine, size), symmetric, out[n])
    return True


@njit(nogil=True, cache=True)
def properties(counts, symmetric, out):  # type: ignore[no-untyped-def]
    """The six properties of a matrix, or of its symmetric form without building it, into ``out``."""
    size = counts.shape[0]
    rows, columns = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    # Index j - i + size - 1: along a row the bins are neighbours, and the compiler adds several at once.
    signed = np.zeros(2 * size - 1, dtype=np.int64)
    for i in range(size):
        row, bins = counts[i], signed[size - 1 - i : 2 * size - 1 - i]
        rows[i] = row.sum()
        for j in range(size):
            columns[j] += row[j]
            bins[j] += row[j]
    differences = signed[size - 1 :].copy()
    differences[1:] += signed[size - 2 :: -1]
    total = rows.sum()
    contrast, dissimilarity, homogeneity = 0, 0, 0.0
    for d in range(size):
        contrast += d * d * differences[d]
        dissimilarity += d * differences[d]
        homogeneity += differences[d] / (1.0 + d * d)
    out[0], out[1], out[2] = contrast / total, dissimilarity / total, homogeneity / total
    if symmetric:
        rows += columns
        columns = rows
        total *= 2
        contrast *= 2
    out[3] = _squares(counts, symmetric) / (float(total) * float(total))
    out[4] = np.sqrt(out[3])
    out[5] = _correlation(rows, columns, contrast, total)


@njit(nogil=True, cache=True)
def _squares(counts, symmetric):  # type: ignore[no-untyped-def]
    """Sum of squared cells of the matrix or of its symmetric form."""
    size = counts.shape[0]
    total = np.int64(0)
    for i in range(size):
        for j in range(size):
            cell = np.int64(counts[i, j])
            # (H + H')^2 sums to 2 H^2 + 2 H H'.
            total += 2 * cell * (cell + np.int64(counts[j, i])) if symmetric else cell * cell
    return total


@njit(nogil=True, cache=True)
def _correlation(rows, columns, contrast, total):  # type: ignore[no-untyped-def]
    """Correlation of row and column level from the marginals, the sum of (i-j)^2 and the number of pairs.

    Moments are taken about the level nearest to each mean: in integers they are exact, and what is left to subtract
    in floating point is less than one level.
    """
    level = np.arange(rows.size)
    near_i, near_j = round((rows * level).sum() / total), round((columns * level).sum() / total)
    i, j = level - near_i, level - near_j
    mean_i, mean_j = (rows * i).sum() / total, (columns * j).sum() / total
    squares_i, squares_j = (rows * i * i).sum(), (columns * j * j).sum()
    # 2 sum ij = sum i^2 + sum j^2 - sum (i-j)^2, with i-j shifted by the difference of the two levels taken.
    shift = near_i - near_j
    differences = contrast - 2 * shift * ((rows * level).sum() - (columns * level).sum()) + shift * shift * total
    variance_i = squares_i / total - mean_i * mean_i
    variance_j = squares_j / total - mean_j * mean_j
    if variance_i == 0 or variance_j == 0:
        return 1.0
    covariance = (squares_i + squares_j - differences) / 2 / total - mean_i * mean_j
    return covariance / np.sqrt(variance_i * variance_j)
