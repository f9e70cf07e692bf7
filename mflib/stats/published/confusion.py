"""Confusion matrices of whole cases that give printed percentages: every one of them, by exhaustive search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mflib.base.errors import InputError
from mflib.stats.published.printed import LENIENT, NAMES, FoldTable, Printed, readings

CELLS = ("tp", "fp", "fn", "tn")
# What each percentage divides: cells of the confusion matrix counted, and those counted over.
PROPORTIONS = {
    "accuracy_pct": ([0, 3], [0, 1, 2, 3]),
    "ppv_pct": ([0], [0, 1]),
    "npv_pct": ([3], [2, 3]),
    "sensitivity_pct": ([0], [0, 2]),
    "specificity_pct": ([3], [1, 3]),
}
MOST = 2 * 10**7  # matrices to go through in one fold: a second or two
MOST_FITTING = 10**6  # of these that give the percentages; with so many the percentages tell little
BLOCK = 2**16  # matrices at a time
NEAR = 0.1  # sizes this share above and below the other folds' are looked through for the nearest matrix
Counts = NDArray[np.int64]
Row = Mapping[str, Printed]


@dataclass(frozen=True, eq=False)
class Fit:
    """The matrices of one fold.

    Parameters
    ----------
    fold : its name
    matrices : (k, 4) ``CELLS`` of each matrix that gives every percentage, the smallest first; k is 0 where none does
    assumption : how the percentages were read, empty for as printed
    chosen : (4,) the matrix of the size that most folds share; the nearest one where none fits
    missed : of the nearest matrix the percentages that it does not give, as text; empty where one fits
    """

    fold: str
    matrices: Counts
    assumption: str
    chosen: Counts
    missed: tuple[str, ...] = ()

    @property
    def candidates(self) -> Counts:
        """The matrices (k, 4) that the fold may have had; where none fits, the nearest."""
        return self.matrices if len(self.matrices) else self.chosen[None]


def unsearchable(metrics: Sequence[str]) -> str:
    """Why no matrix can be searched with these metrics; empty where one can."""
    percentages = [metric for metric in metrics if metric in PROPORTIONS]
    pairs = ({"sensitivity_pct", "specificity_pct"}, {"ppv_pct", "npv_pct"})
    if len(percentages) >= 3 and any(pair <= set(percentages) for pair in pairs):
        return ""
    found = ", ".join(NAMES[name] for name in percentages) or "no percentages"
    return f"found {found}; expected three or more, among them sensitivity and specificity or PPV and NPV"


def fit(table: FoldTable, positives: int, negatives: int, tolerance: float = LENIENT) -> list[Fit]:
    """The matrices of every fold.

    Parameters
    ----------
    table : printed percentages; ``unsearchable`` tells whether they suffice
    positives, negatives : of the cohort; no fold has more of them
    tolerance : units of the last place

    Raises
    ------
    InputError
        More matrices to go through than ``MOST``, or more that fit than ``MOST_FITTING``: the percentages have too few
        decimals for so large a cohort.
    """
    found = {fold: _search_readings(row, positives, negatives, tolerance) for fold, row in table.folds.items()}
    sizes = Counter(n for matrices in found.values() for n in np.unique(matrices.sum(axis=1)).tolist())
    equal_share = (positives + negatives) / len(table.folds)
    common = min(sizes, key=lambda n: (-sizes[n], n)) if sizes else max(2, round(equal_share))
    return [_chosen(fold, table.folds[fold], matrices, common, tolerance) for fold, matrices in found.items()]


def search(row: Row, positives: int, negatives: int, tolerance: float = LENIENT) -> Counts:
    """Every confusion matrix that gives all printed percentages, the smallest first.

    Parameters
    ----------
    row : three printed percentages or more by their names in ``PROPORTIONS``, as ``unsearchable`` wants them
    positives, negatives : most of each
    tolerance : units of the last place

    Returns
    -------
    (k, 4) ``CELLS``

    Raises
    ------
    InputError
        As ``fit``.
    """
    by_truth = "sensitivity_pct" in row and "specificity_pct" in row
    # PPV and NPV are to the columns of the matrix what sensitivity and specificity are to its rows.
    first, second = ("sensitivity_pct", "specificity_pct") if by_truth else ("ppv_pct", "npv_pct")
    most = (positives, negatives) if by_truth else (positives + negatives,) * 2
    upper, lower = (_fractions(row, name, n, tolerance) for name, n in zip((first, second), most, strict=True))
    pairs = len(upper) * len(lower)
    _refuse_above(MOST, pairs, _texts(row, first, second))
    others = {name: row[name] for name in PROPORTIONS if name in row and name not in (first, second)}
    kept, fitting = [np.empty((0, 4), dtype=np.int64)], 0
    for start in range(0, pairs, BLOCK):
        one, other = np.divmod(np.arange(start, min(start + BLOCK, pairs)), len(lower))
        counts = _beside(upper[one, 0], upper[one, 1], lower[other], by_truth)
        inside = (counts[:, [0, 2]].sum(axis=1) <= positives) & (counts[:, [1, 3]].sum(axis=1) <= negatives)
        kept.append(counts[inside & reproduced(others, counts, tolerance).all(axis=1)])
        fitting += len(kept[-1])
        _refuse_above(MOST_FITTING, fitting, _texts(row, *row))
    matrices = np.concatenate(kept)
    return matrices[np.lexsort([*matrices.T[::-1], matrices.sum(axis=1)])]


def nearest(row: Row, size: int, tolerance: float = LENIENT) -> Counts:
    """The matrix of about ``size`` cases that gives most of the printed percentages.

    Of those that give as many, the one whose worst percentage is fewest units of the last place away. Sensitivity and
    specificity (or PPV and NPV) are kept within one case of the printed ones; sizes go up and down by ``NEAR``, by less
    where that is more than ``MOST`` matrices.

    Returns
    -------
    (4,) ``CELLS``
    """
    reach = max(2, min(round(NEAR * size), MOST // (18 * size)))  # _around gives nine for each case of a size
    sizes = range(max(2, size - reach), size + reach + 1)
    return _best(row, np.stack([_best(row, _around(row, n), tolerance) for n in sizes]), tolerance)


def _best(row: Row, counts: Counts, tolerance: float) -> Counts:
    """Of matrices (k, 4) the one that gives most of the printed percentages, as ``nearest`` wants it."""
    worst = np.max([row[name].deviation(values) for name, values in percentages(counts, row).items()], axis=0)
    given = reproduced(row, counts, tolerance).sum(axis=1)
    order = np.lexsort([np.where(np.isnan(worst), np.inf, worst), -given])
    return counts[order[0]].copy()  # not a view, which would keep all of them in memory


def percentages(counts: Counts, names: Sequence[str] | Row = tuple(PROPORTIONS)) -> dict[str, NDArray[np.float64]]:
    """Percentages (k,) of the matrices (k, 4); NaN where there is nothing to count over."""
    found = {}
    for name, (of, over) in PROPORTIONS.items():
        if name in names:
            whole = counts[:, over].sum(axis=1)
            empty = np.full(len(counts), np.nan)
            found[name] = 100 * np.divide(counts[:, of].sum(axis=1), whole, out=empty, where=whole > 0)
    return found


def reproduced(row: Row, counts: Counts, tolerance: float = LENIENT) -> NDArray[np.bool_]:
    """Which printed percentages (columns) each matrix (rows) gives."""
    found = [row[name].fits(values, tolerance) for name, values in percentages(counts, row).items()]
    return np.stack(found, axis=1)


def _search_readings(row: Row, positives: int, negatives: int, tolerance: float) -> Counts:
    """What the strictest reading that any matrix fits gives."""
    for _, reading in readings({name: row[name] for name in PROPORTIONS if name in row}):
        matrices = search(reading, positives, negatives, tolerance)
        if len(matrices):
            break
    return matrices


def _chosen(fold: str, row: Row, matrices: Counts, common: int, tolerance: float) -> Fit:
    if not len(matrices):
        counts = nearest(row, common, tolerance)
        missed = _missed(row, counts, tolerance)
        texts = tuple(f"{NAMES[name]} {value:.2f} for {row[name].text}" for name, value in missed.items())
        return Fit(fold, matrices, "", counts, texts)
    # Of the matrices nearest to the common size the one that lies closest to what is printed.
    worst = np.max([row[name].deviation(values) for name, values in percentages(matrices, row).items()], axis=0)
    counts = matrices[np.lexsort([worst, np.abs(matrices.sum(axis=1) - common)])[0]]
    padded = ", ".join(row[name].text for name in _missed(row, counts, tolerance))
    return Fit(fold, matrices, f"the last zero of {padded} is padding" if padded else "", counts)


def _missed(row: Row, counts: Counts, tolerance: float) -> dict[str, float]:
    """What a matrix (4,) gives instead of the printed percentages that it does not give."""
    values = {name: float(value[0]) for name, value in percentages(counts[None], row).items()}
    return {name: value for name, value in values.items() if not row[name].fits(value, tolerance)}


def _fractions(row: Row, name: str, most: int, tolerance: float) -> Counts:
    """Every (whole, part) with whole from 1 to ``most`` that the percentage of this name can stand for."""
    printed = row[name]
    low, high = printed.bounds(tolerance)
    # Estimated before any memory is taken: a whole has one part for each case in its range, and at most one more.
    _refuse_above(MOST, round(most * (1 + most * (high - low) / 200)), _texts(row, name))
    whole = np.arange(1, most + 1)
    least = np.maximum(np.ceil(whole * low / 100), 0).astype(np.int64)
    greatest = np.minimum(np.floor(whole * high / 100), whole).astype(np.int64)
    ways = np.maximum(greatest - least + 1, 0)
    within = np.arange(ways.sum()) - np.repeat(ways.cumsum() - ways, ways)
    return np.stack([np.repeat(whole, ways), np.repeat(least, ways) + within], axis=1)


def _texts(row: Row, *names: str) -> str:
    return ", ".join(f"{NAMES[name]} {row[name].text}" for name in names)


def _refuse_above(most: int, ways: int, printed: str) -> None:
    if ways > most:
        found = f"found more than {most:,} ways to give {printed}, expected fewer"
        raise InputError(f"{found}: too few decimals for so large a cohort")


def _beside(
    upper: NDArray[np.int64] | int, true_positives: NDArray[np.int64] | int, lower: Counts, by_truth: bool
) -> Counts:
    """Matrices (k, 4) from the true positives and their whole, and the true negatives and theirs as ``lower`` (k, 2).

    The wholes are the two classes, or (not ``by_truth``) the two calls.
    """
    false = np.broadcast_to(upper - true_positives, len(lower)), lower[:, 0] - lower[:, 1]
    false_negatives, false_positives = false if by_truth else false[::-1]
    hits = np.broadcast_to(true_positives, len(lower))
    return np.stack([hits, false_positives, false_negatives, lower[:, 1]], axis=1)


def _around(row: Row, n: int) -> Counts:
    """Matrices (k, 4) of n cases whose rows (or columns) are within one case of the printed percentages."""
    by_truth = "sensitivity_pct" in row and "specificity_pct" in row
    first, second = ("sensitivity_pct", "specificity_pct") if by_truth else ("ppv_pct", "npv_pct")
    upper, shift, other = (grid.ravel() for grid in np.meshgrid(np.arange(1, n), [-1, 0, 1], [-1, 0, 1]))
    lower = n - upper
    true_positives = np.clip(np.rint(upper * row[first].value / 100) + shift, 0, upper).astype(np.int64)
    true_negatives = np.clip(np.rint(lower * row[second].value / 100) + other, 0, lower).astype(np.int64)
    return _beside(upper, true_positives, np.stack([lower, true_negatives], axis=1), by_truth)
