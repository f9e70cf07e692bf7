"""What the percentages of one fold say of each other: matrices of whole cases that give them, and prevalences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mflib.base.errors import InputError
from mflib.stats.published.printed import IMPOSSIBLE, NAMES, REPRODUCED, WITHIN, Finding, FoldTable, Printed, readings

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
    matrices : (k, 4) TP, FP, FN and TN of each that gives every percentage, the smallest first; k is 0 where none does
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


def fit(table: FoldTable, positives: int, negatives: int) -> list[Fit]:
    """The matrices of every fold.

    Parameters
    ----------
    table : printed percentages
    positives, negatives : of the cohort; no fold has more of them

    Raises
    ------
    InputError
        Percentages that do not tell the matrices: too few of them, or with too few decimals for so large a cohort.
    """
    percentages = [metric for metric in table.metrics if metric in PROPORTIONS]
    pairs = ({"sensitivity_pct", "specificity_pct"}, {"ppv_pct", "npv_pct"})
    if len(percentages) < 3 or not any(pair <= set(percentages) for pair in pairs):
        listed = ", ".join(NAMES[name] for name in percentages) or "no percentages"
        expected = "three or more, among them sensitivity and specificity or PPV and NPV"
        raise InputError(f"found {listed}; expected {expected}")
    found = {fold: _search_readings(row, positives, negatives) for fold, row in table.folds.items()}
    sizes = Counter(n for matrices in found.values() for n in np.unique(matrices.sum(axis=1)).tolist())
    equal_share = (positives + negatives) / len(table.folds)
    common = min(sizes, key=lambda n: (-sizes[n], n)) if sizes else max(2, round(equal_share))
    return [_chosen(fold, table.folds[fold], matrices, common) for fold, matrices in found.items()]


def search(row: Row, positives: int, negatives: int) -> Counts:
    """Every confusion matrix (k, 4) that gives all printed percentages, the smallest first.

    Parameters
    ----------
    row : three printed percentages or more by their names in ``PROPORTIONS``, two of them of one kind as for ``fit``
    positives, negatives : most of each
    """
    first, second, by_truth = _leading(row)
    most = (positives, negatives) if by_truth else (positives + negatives,) * 2
    upper, lower = (_fractions(row, name, n) for name, n in zip((first, second), most, strict=True))
    pairs = len(upper) * len(lower)
    _refuse_above(MOST, pairs, _texts(row, first, second))
    others = {name: row[name] for name in PROPORTIONS if name in row and name not in (first, second)}
    kept, fitting = [np.empty((0, 4), dtype=np.int64)], 0
    for start in range(0, pairs, BLOCK):
        one, other = np.divmod(np.arange(start, min(start + BLOCK, pairs)), len(lower))
        counts = _beside(upper[one, 0], upper[one, 1], lower[other], by_truth)
        inside = (counts[:, [0, 2]].sum(axis=1) <= positives) & (counts[:, [1, 3]].sum(axis=1) <= negatives)
        kept.append(counts[inside & reproduced(others, counts).all(axis=1)])
        fitting += len(kept[-1])
        _refuse_above(MOST_FITTING, fitting, _texts(row, *row))
    matrices = np.concatenate(kept)
    return matrices[np.lexsort([*matrices.T[::-1], matrices.sum(axis=1)])]


def nearest(row: Row, size: int) -> Counts:
    """The matrix (4,) of about ``size`` cases that gives most of the printed percentages.

    Of those that give as many, the one whose worst percentage is fewest units of the last place away. Sensitivity and
    specificity (or PPV and NPV) are kept within one case of the printed ones; sizes go up and down by ``NEAR``, by less
    where that is more than ``MOST`` matrices.
    """
    reach = max(2, min(round(NEAR * size), MOST // (18 * size)))  # _around gives nine for each case of a size
    sizes = range(max(2, size - reach), size + reach + 1)
    return _best(row, np.stack([_best(row, _around(row, n)) for n in sizes]))


def _best(row: Row, counts: Counts) -> Counts:
    """Of matrices (k, 4) the one that gives most of the printed percentages, as ``nearest`` wants it."""
    worst = np.max([row[name].deviation(values) for name, values in percentages(counts, row).items()], axis=0)
    given = reproduced(row, counts).sum(axis=1)
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


def reproduced(row: Row, counts: Counts) -> NDArray[np.bool_]:
    """Which printed percentages (columns) each matrix (rows) gives."""
    found = [row[name].fits(values) for name, values in percentages(counts, row).items()]
    return np.stack(found, axis=1)


def _search_readings(row: Row, positives: int, negatives: int) -> Counts:
    """What the strictest reading that any matrix fits gives."""
    for _, reading in readings({name: row[name] for name in PROPORTIONS if name in row}):
        matrices = search(reading, positives, negatives)
        if len(matrices):
            break
    return matrices


def _chosen(fold: str, row: Row, matrices: Counts, common: int) -> Fit:
    if not len(matrices):
        counts = nearest(row, common)
        missed = _missed(row, counts)
        texts = tuple(f"{NAMES[name]} {value:.2f} for {row[name].text}" for name, value in missed.items())
        return Fit(fold, matrices, "", counts, texts)
    # Of the matrices nearest to the common size the one that lies closest to what is printed.
    worst = np.max([row[name].deviation(values) for name, values in percentages(matrices, row).items()], axis=0)
    counts = matrices[np.lexsort([worst, np.abs(matrices.sum(axis=1) - common)])[0]]
    padded = ", ".join(row[name].text for name in _missed(row, counts))
    return Fit(fold, matrices, f"the last zero of {padded} is padding" if padded else "", counts)


def _missed(row: Row, counts: Counts) -> dict[str, float]:
    """What a matrix (4,) gives instead of the printed percentages that it does not give."""
    values = {name: float(value[0]) for name, value in percentages(counts[None], row).items()}
    return {name: value for name, value in values.items() if not row[name].fits(value)}


def _fractions(row: Row, name: str, most: int) -> Counts:
    """Every (whole, part) with whole from 1 to ``most`` that the percentage of this name can stand for."""
    printed = row[name]
    low, high = printed.bounds()
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


def _beside(upper: Counts, true_positives: Counts, lower: Counts, by_truth: bool) -> Counts:
    """Matrices (k, 4) from the true positives and their whole, and the true negatives and theirs as ``lower`` (k, 2).

    The wholes are the two classes, or (not ``by_truth``) the two calls.
    """
    false = upper - true_positives, lower[:, 0] - lower[:, 1]
    false_negatives, false_positives = false if by_truth else false[::-1]
    return np.stack([true_positives, false_positives, false_negatives, lower[:, 1]], axis=1)


def _leading(row: Row) -> tuple[str, str, bool]:
    """The two percentages that the matrices are built from, and whether they are of the two classes.

    PPV and NPV are to the columns of the matrix what sensitivity and specificity are to its rows.
    """
    by_truth = "sensitivity_pct" in row and "specificity_pct" in row
    return ("sensitivity_pct", "specificity_pct", True) if by_truth else ("ppv_pct", "npv_pct", False)


def _around(row: Row, n: int) -> Counts:
    """Matrices (k, 4) of n cases whose rows (or columns) are within one case of the printed percentages."""
    first, second, by_truth = _leading(row)
    upper, shift, other = (grid.ravel() for grid in np.meshgrid(np.arange(1, n), [-1, 0, 1], [-1, 0, 1]))
    lower = n - upper
    true_positives = np.clip(np.rint(upper * row[first].value / 100) + shift, 0, upper).astype(np.int64)
    true_negatives = np.clip(np.rint(lower * row[second].value / 100) + other, 0, lower).astype(np.int64)
    return _beside(upper, true_positives, np.stack([lower, true_negatives], axis=1), by_truth)


Bounds = tuple[float, float]
RATES = ("sensitivity_pct", "specificity_pct")
ONE_TABLE = "all percentages of a fold come from one confusion matrix"
ON_THE_CURVE = "sensitivity and specificity are a point of the ROC curve of the same cases"


def check_relations(table: FoldTable) -> list[Finding]:
    """Whether accuracy, PPV and NPV follow from sensitivity, specificity and one prevalence; AUCs against the point.

    Raises
    ------
    InputError
        A table without sensitivity or specificity.
    """
    if not set(RATES) <= set(table.metrics):
        listed = ", ".join(NAMES[metric] for metric in table.metrics)
        raise InputError(f"found {listed}; expected sensitivity and specificity")
    others = [name for name in ("accuracy_pct", "ppv_pct", "npv_pct") if name in table.metrics]
    findings = _one_prevalence(table, others) if others else []
    return findings + (_auc_bounds(table) if "auc" in table.metrics else [])


def prevalences(row: Row) -> dict[str, Bounds]:
    """The least and the greatest prevalence that accuracy, PPV and NPV each imply, given sensitivity and specificity.

    The least is above the greatest where none does.
    """
    se, sp = (_share(row[name]) for name in RATES)
    found = {}
    if "accuracy_pct" in row:
        found["accuracy_pct"] = _by_accuracy(_share(row["accuracy_pct"]), se, sp)
    if "ppv_pct" in row:
        found["ppv_pct"] = _by_predictive_value(_share(row["ppv_pct"]), se, sp)
    if "npv_pct" in row:
        # NPV is the PPV of the other class.
        low, high = _by_predictive_value(_share(row["npv_pct"]), sp, se)
        found["npv_pct"] = 1 - high, 1 - low
    return found


def implied(row: Row) -> tuple[dict[str, Bounds], str]:
    """What ``prevalences`` gives by the strictest reading in which one fits all; how that reads, empty for as printed.

    As printed where there is no such reading.
    """
    for assumption, reading in readings({name: row[name] for name in PROPORTIONS if name in row}):
        found = prevalences(reading)
        if agree(found):
            return found, assumption
    return prevalences(row), ""


def agree(implied: Mapping[str, Bounds]) -> bool:
    """Whether one prevalence is within all bounds."""
    return max(low for low, _ in implied.values()) <= min(high for _, high in implied.values())


def _one_prevalence(table: FoldTable, others: Sequence[str]) -> list[Finding]:
    names = ", ".join(NAMES[name] for name in others)
    wrong, assumptions = {}, [ONE_TABLE, WITHIN]
    for fold, row in table.folds.items():
        found, assumption = implied(row)
        if not agree(found):
            texts = [f"{NAMES[name]} {_prevalence_text(bounds)}" for name, bounds in found.items()]
            printed = ", ".join(f"{NAMES[name]} {row[name].text}" for name in (*RATES, *others))
            wrong[fold] = printed, f"prevalence by {', by '.join(texts)}"
        elif assumption:
            assumptions.append(f"fold {fold}: {assumption}")
    what, computed = f"{names} from sensitivity and specificity", "one prevalence in each of these folds"
    return _by_fold(what, table, wrong, assumptions, computed)


def _auc_bounds(table: FoldTable) -> list[Finding]:
    """Areas against those of the curves through the fold's sensitivity and specificity.

    A curve never falls, so below it lies the rectangle to the right of the point, and above it that to the left.
    """
    wrong = {}
    for fold, row in table.folds.items():
        (se_low, se_high), (sp_low, sp_high) = (_share(row[name]) for name in RATES)
        low, high = se_low * sp_low, 1 - (1 - se_high) * (1 - sp_high)
        least, greatest = row["auc"].bounds()
        if greatest < low or least > high:
            printed = f"AUC {row['auc'].text}, sensitivity {row[RATES[0]].text}, specificity {row[RATES[1]].text}"
            wrong[fold] = printed, f"AUC from {low:.2f} to {high:.2f}"
    what, computed = "AUC against sensitivity and specificity", "an AUC between the bounds of its point"
    return _by_fold(what, table, wrong, [ON_THE_CURVE, WITHIN], computed)


def _by_fold(
    what: str, table: FoldTable, wrong: Mapping[str, tuple[str, str]], assumptions: Sequence[str], computed: str
) -> list[Finding]:
    """A finding for each wrong fold, of what is printed and computed there, and one for all the others."""
    assumption = "; ".join(assumptions[:2])
    findings = [Finding(f"fold {fold}: {what}", IMPOSSIBLE, assumption, *texts) for fold, texts in wrong.items()]
    if len(wrong) < len(table.folds):
        printed = f"{len(table.folds) - len(wrong)} of {len(table.folds)} folds"
        findings.append(Finding(what, REPRODUCED, "; ".join(assumptions), printed, computed))
    return findings


def _share(printed: Printed) -> Bounds:
    low, high = printed.bounds()
    return max(low / 100, 0.0), min(high / 100, 1.0)


def _by_accuracy(accuracy: Bounds, se: Bounds, sp: Bounds) -> Bounds:
    """Prevalences p in [0, 1] for which p se + (1 - p) sp can be the accuracy."""
    low, high = _where_at_most(sp[0], se[0], accuracy[1])
    other_low, other_high = _where_at_most(-sp[1], -se[1], -accuracy[0])
    return max(low, other_low), min(high, other_high)


def _where_at_most(at_zero: float, at_one: float, limit: float) -> Bounds:
    """Where in [0, 1] the line from ``at_zero`` to ``at_one`` is at most ``limit``; (1, 0) where nowhere."""
    if max(at_zero, at_one) <= limit:
        return 0.0, 1.0
    if min(at_zero, at_one) > limit:
        return 1.0, 0.0
    crossing = (limit - at_zero) / (at_one - at_zero)
    return (0.0, crossing) if at_zero <= limit else (crossing, 1.0)


def _by_predictive_value(ppv: Bounds, se: Bounds, sp: Bounds) -> Bounds:
    """Prevalences for which the predictive value can be had; it rises with prevalence, sensitivity and specificity."""
    return _prevalence(ppv[0], se[1], sp[1], 0.0), _prevalence(ppv[1], se[0], sp[0], 1.0)


def _prevalence(ppv: float, se: float, sp: float, undefined: float) -> float:
    """Bayes' rule turned round; ``undefined`` where any prevalence has this predictive value."""
    positive, negative = ppv * (1 - sp), (1 - ppv) * se
    return positive / (positive + negative) if positive + negative > 0 else undefined


def _prevalence_text(bounds: Bounds) -> str:
    low, high = bounds
    if low > high:
        return "none from 0 to 1"
    return f"{np.mean(bounds):.3f}" if high - low < 0.002 else f"{low:.3f} to {high:.3f}"
