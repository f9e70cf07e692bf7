"""The compiled part of `mflib.models.texture.glcm`: pair counts, coarser levels, properties.

Nothing here holds the interpreter's lock, and nothing checks its input. Volumes lie in memory row by row along their
last axis. Counts are uint32 and sums int64, exact up to 2^30 pairs in one matrix.

Counting is bound by the stores into the histogram, one in little more than a cycle. All else is kept out of their way:
eight voxels and their eight partners come with one load each and are put together to eight histogram indices in two
registers, no array is made or sliced inside the loop over rows, and bins are as narrow as the volume allows, so that
more of them lie in the innermost cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

_ONE = np.uint8(1)
_BYTE, _WORD = np.uint64(8), np.uint64(0xFFFF)
_SECOND, _THIRD, _FOURTH = np.uint64(16), np.uint64(32), np.uint64(48)
_EVEN, _ODD = np.uint64(0x00FF00FF00FF00FF), np.uint64(0xFF00FF00FF00FF00)
# Cells of a tile side: a tile and its mirror image fit into the innermost cache.
_TILE = 16


@intrinsic
def _eight(typing: Any, array: Any, position: Any) -> Any:
    """Eight bytes of a contiguous uint8 array from ``position`` on as one uint64, in the machine's byte order."""

    def load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        eight_bytes = context.get_value_type(types.uint64).as_pointer()
        return builder.load(builder.bitcast(builder.gep(data, [arguments[1]]), eight_bytes), align=1)

    return types.uint64(array, types.intp), load


@njit(nogil=True, cache=True)
def count(voxels, da, db, dc, bins):
    """256 x 256 counts of one offset.

    ``bins`` (65536,) is where they are counted, of a type that holds as many as any grey level has voxels.
    """
    na, nb, nc = voxels.shape
    bins[:] = 0
    flat, partner = voxels.reshape(-1), (da * nb + db) * nc + dc
    first, last = max(0, -dc), min(nc, nc - dc)
    for a in range(max(0, -da), min(na, na - da)):
        for b in range(max(0, -db), min(nb, nb - db)):
            row = (a * nb + b) * nc
            _count_row(flat, row + first, row + last, partner, bins)
    return bins.astype(np.uint32).reshape(256, 256)


@njit(nogil=True, cache=True)
def _count_row(flat, start, stop, partner, bins):
    whole = stop - (stop - start) % 8
    for i in range(start, whole, 8):
        here, there = _eight(flat, i), _eight(flat, i + partner)
        # Four indices here * 256 + there side by side, of every other voxel; their order does not matter.
        _count_four(((here & _EVEN) << _BYTE) | (there & _EVEN), bins)
        _count_four((here & _ODD) | ((there >> _BYTE) & _EVEN), bins)
    for i in range(whole, stop):
        bins[(np.uint64(flat[np.uint64(i)]) << _BYTE) | np.uint64(flat[np.uint64(i + partner)])] += _ONE


@njit(nogil=True, cache=True)
def _count_four(indices, bins):
    bins[indices & _WORD] += _ONE
    bins[(indices >> _SECOND) & _WORD] += _ONE
    bins[(indices >> _THIRD) & _WORD] += _ONE
    bins[indices >> _FOURTH] += _ONE


@njit(nogil=True, cache=True)
def requantise(counts, levels):
    """The matrix of ``levels`` from a finer one of ``size``: of 256 levels, or of a multiple of ``levels``."""
    size = counts.shape[0]
    coarse = np.zeros((levels, levels), dtype=np.uint32)
    if size == 2 * levels:
        for i in range(levels):
            upper, lower, row = counts[2 * i], counts[2 * i + 1], coarse[i]
            for j in range(levels):
                row[j] = upper[2 * j] + upper[2 * j + 1] + lower[2 * j] + lower[2 * j + 1]
        return coarse
    level = np.arange(size) * levels // size
    for i in range(size):
        for j in range(size):
            coarse[level[i], level[j]] += counts[i, j]
    return coarse


@njit(nogil=True, cache=True)
def measure(voxels, offsets, bins, levels, symmetric, out):
    """Properties of offsets (n, 3), each with a pair, at all level counts, falling, into ``out`` (n, levels, 6)."""
    for n in range(offsets.shape[0]):
        fine = count(voxels, offsets[n, 0], offsets[n, 1], offsets[n, 2], bins)
        current = fine
        for m in range(levels.size):
            if 256 % levels[m] == 0:
                # Of what is there already, halved as often as it takes: every level is a sum of blocks of the last.
                while current.shape[0] > levels[m]:
                    current = requantise(current, current.shape[0] // 2)
                properties(current, symmetric, out[n, m])
            else:
                properties(requantise(fine, levels[m]), symmetric, out[n, m])


@njit(nogil=True, cache=True)
def properties(counts, symmetric, out):
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
def _squares(counts, symmetric):
    """Sum of squared cells of the matrix or of its symmetric form."""
    size, squares = counts.shape[0], np.int64(0)
    for i in range(size):
        row = counts[i]
        for j in range(size):
            squares += np.int64(row[j]) * np.int64(row[j])
    # (H + H')^2 sums to 2 H^2 + 2 H H'.
    return 2 * (squares + _mirrored(counts)) if symmetric else squares


@njit(nogil=True, cache=True)
def _mirrored(counts):
    """Sum over all cells of the cell times its mirror image, tile by tile: read down a column, memory is slow."""
    size, diagonal, below = counts.shape[0], np.int64(0), np.int64(0)
    for i in range(size):
        diagonal += np.int64(counts[i, i]) * np.int64(counts[i, i])
    for top in range(0, size, _TILE):
        for left in range(0, top + 1, _TILE):
            # Unsigned positions spare numba's test for negative ones.
            for i in range(np.uint64(top), np.uint64(min(top + _TILE, size))):
                for j in range(np.uint64(left), np.uint64(min(left + _TILE, np.int64(i)))):
                    below += np.int64(counts[i, j]) * np.int64(counts[j, i])
    return diagonal + 2 * below


@njit(nogil=True, cache=True)
def _correlation(rows, columns, contrast, total):
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
