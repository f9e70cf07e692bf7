"""Patients drawn with replacement: weights of the cases in each resample, areas under them, percentile intervals.

A resample is a whole number for each case, how often it was drawn. So nothing is copied or sorted again, and whatever
can be computed with weights can be resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mflib.roc.cases import Bools, Floats, RocError, check, check_level, clusters, numbered
from mflib.roc.components import clusters_of_each_class

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Percentile intervals from resampled patients.

    Parameters
    ----------
    areas : one row per model: ``model`` (column of the scores), ``auc``, ``low``, ``high``
    differences : one row per pair: ``first``, ``second``, ``difference``, ``low``, ``high``; empty for one model
    resampled : (resamples, k) areas
    """

    areas: pd.DataFrame
    differences: pd.DataFrame
    resampled: Floats


def patient_weights(groups: ArrayLike, strata: ArrayLike | None, resamples: int = 2000, seed: int = 0) -> Counts:
    """How often each case is drawn when patients are drawn with replacement, all cases of a patient together.

    Parameters
    ----------
    groups : (n,) the patient of each case
    strata : (n,) a value of each case, such as its label, or None. With labels patients are drawn among those of their
        kind: those with positives only, with negatives only, and with both. So every resample has as many patients of
        each kind as the data, and both classes.
    resamples, seed : how many, and what decides them

    Returns
    -------
    (resamples, n)

    Raises
    ------
    RocError
        Not one group and one stratum for each case, or fewer than one resample.
    """
    if resamples < 1:
        raise RocError(f"found {resamples} resamples, expected at least one")
    patient, n_patients = numbered(groups)
    kinds = _kinds(patient, n_patients, strata)
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, n_patients), dtype=np.int64)
    row = np.arange(resamples)[:, None]
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        picks = row * len(members) + rng.integers(len(members), size=(resamples, len(members)))
        counts = np.bincount(picks.ravel(), minlength=resamples * len(members))
        drawn[:, members] = counts.reshape(resamples, len(members))
    return drawn[:, patient]


def weighted_auc(y_true: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Floats:
    """Areas under the ROC curves where cases count more or less than once, for many sets of weights at a time.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) or (n, k); ties count one half
    weights : (r, n) at least 0, of any scale; each row one set

    Returns
    -------
    (r, k)

    Raises
    ------
    RocError
        As ``check``, weights of another shape, negative or non-finite ones, or a row that leaves out a class.
    """
    positive, columns = check(y_true, scores)
    of_cases = np.asarray(weights)
    _check_weights(of_cases, positive)
    areas = [_weighted_area(positive, column, of_cases) for column in columns.T]
    return np.stack(areas, axis=1)


def bootstrap_interval(
    y_true: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Bootstrap:
    """Percentile intervals of the areas and of their differences from stratified resampling of patients.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) or (n, k)
    groups : (n,) the patient of each case, or None where the cases are independent
    level : confidence
    resamples, seed : as ``patient_weights``; strata are the kinds of patients by their labels

    Raises
    ------
    RocError
        As ``auc_covariance``, fewer than one resample, or a level outside (0, 1).
    """
    check_level(level)
    positive, columns = check(y_true, scores)
    cluster, _ = clusters(groups, len(positive))
    clusters_of_each_class(positive, cluster, groups is None)
    resampled = weighted_auc(positive, columns, patient_weights(cluster, positive, resamples, seed))
    auc = weighted_auc(positive, columns, np.ones((1, len(positive)), dtype=np.int64))[0]
    models = range(len(auc))
    areas = [{"model": c, "auc": auc[c], **_percentiles(resampled[:, c], level)} for c in models]
    differences = [
        {
            "first": a,
            "second": b,
            "difference": auc[a] - auc[b],
            **_percentiles(resampled[:, a] - resampled[:, b], level),
        }
        for a, b in combinations(models, 2)
    ]
    columns_of_differences = ["first", "second", "difference", "low", "high"]
    return Bootstrap(pd.DataFrame(areas), pd.DataFrame(differences, columns=columns_of_differences), resampled)


def _kinds(patient: NDArray[np.intp], n_patients: int, strata: ArrayLike | None) -> NDArray[np.intp]:
    """Number (n_patients,) of each patient's kind: which of the strata its cases have."""
    if strata is None:
        return np.zeros(n_patients, dtype=np.intp)
    stratum, n_strata = clusters(strata, len(patient))
    has = np.zeros((n_patients, n_strata), dtype=bool)
    has[patient, stratum] = True
    return np.unique(has, axis=0, return_inverse=True)[1].ravel()


def _check_weights(weights: NDArray[Any], positive: Bools) -> None:
    if weights.ndim != 2 or weights.shape[1] != len(positive):
        raise RocError(f"found weights {weights.shape} for {len(positive)} cases, expected (r, {len(positive)})")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise RocError("found negative or non-finite weights, expected weights of at least 0")
    for name, cases in (("positives", positive), ("negatives", ~positive)):
        empty = np.flatnonzero(~weights[:, cases].any(axis=1))
        if len(empty):
            raise RocError(f"weights, row {empty[0]}: found no {name} with a weight above 0, expected some")


def _weighted_area(positive: Bools, column: Floats, weights: NDArray[Any]) -> Floats:
    """Area (r,) for each row of weights: one sort, then sums over the blocks of tied scores."""
    order = np.argsort(column)
    ranked = column[order]
    first = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    sorted_weights, is_positive = weights[:, order], positive[order]
    positives = np.add.reduceat(sorted_weights * is_positive, first, axis=1)
    negatives = np.add.reduceat(sorted_weights * ~is_positive, first, axis=1)
    twice_below = 2 * negatives.cumsum(axis=1) - negatives
    ordered = np.einsum("rb,rb->r", positives, twice_below)
    return ordered / (2 * positives.sum(axis=1) * negatives.sum(axis=1))


def _percentiles(values: Floats, level: float) -> dict[str, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return {"low": float(low), "high": float(high)}
