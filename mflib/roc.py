"""Area under the ROC curve, its covariance, intervals and comparisons: arrays in, numbers out.

References
----------
DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837-845.
Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578.
Sun X, Xu W. Fast implementation of DeLong's algorithm. IEEE Signal Process Lett 2014;21:1389-1393.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import roc_curve

Floats = NDArray[np.float64]


class RocError(ValueError):
    """Labels, scores or groups that no ROC analysis can use; the message says what was found."""


@dataclass(frozen=True, eq=False)
class _Components:
    """Sums per cluster of what each case adds to the area: positives (I, k), negatives (I, k), and the counts."""

    auc: Floats
    positives: Floats
    negatives: Floats
    n_positives: int
    n_negatives: int
    clusters_with_positives: int
    clusters_with_negatives: int

    def covariance(self) -> Floats:
        """Covariance (k, k) of the areas (Obuchowski 1997, equations for S10, S01 and S11)."""
        m, n = self.n_positives, self.n_negatives
        clusters = len(self.positives)
        s10 = _small_sample(self.clusters_with_positives) / m * self.positives.T @ self.positives
        s01 = _small_sample(self.clusters_with_negatives) / n * self.negatives.T @ self.negatives
        s11 = _small_sample(clusters) * self.positives.T @ self.negatives
        covariance = s10 / m + s01 / n + (s11 + s11.T) / (m * n)
        # A variance is never negative; where the terms cancel, rounding can leave a trace below zero.
        np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0))
        return covariance

    def contrast(self, first: int, second: int) -> _Components:
        """The components of one area minus another: exactly zero where the scores rank alike."""
        return _Components(
            self.auc[[first]] - self.auc[[second]],
            self.positives[:, [first]] - self.positives[:, [second]],
            self.negatives[:, [first]] - self.negatives[:, [second]],
            self.n_positives,
            self.n_negatives,
            self.clusters_with_positives,
            self.clusters_with_negatives,
        )


def auc_covariance(y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Areas under the ROC curves of one or more models on the same cases, and their covariance.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) or (n, k), one column per model; higher means more likely positive; ties count one half
    groups : (n,) the cluster of each case, such as its patient. Given: Obuchowski 1997. None: DeLong 1988, which takes
        the cases as independent. One case per cluster makes the two equal. The areas are the same either way.

    Returns
    -------
    auc : (k,)
    covariance : (k, k)

    Raises
    ------
    RocError
        Lengths differ, one class only, non-finite scores, missing groups, or fewer than two clusters (cases where
        ``groups`` is None) with positives or with negatives.
    """
    components = _components(y_true, scores, groups)
    return components.auc, components.covariance()


def auc_interval(
    auc: float, variance: float, method: Literal["logit", "wald"] = "logit", level: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of an area, or of any other proportion, from its variance.

    Parameters
    ----------
    auc : in [0, 1]
    variance : of the area, as ``auc_covariance`` gives it
    method : ``logit`` is symmetric on the logit scale and stays in (0, 1); ``wald`` is auc +- z SE, not clipped
    level : confidence

    Returns
    -------
    low, high
        Where the variance is 0, as it always is for an area of 0 or 1, both are ``auc``: the method then gives an
        interval without width, which says nothing of the uncertainty.

    Raises
    ------
    RocError
        An area outside [0, 1], a negative or non-finite variance, or an unknown method.
    """
    if not 0 <= auc <= 1 or not 0 <= variance < np.inf or not 0 < level < 1:
        raise RocError(f"found area {auc}, variance {variance}, level {level}; expected [0, 1], [0, inf), (0, 1)")
    if method not in ("logit", "wald"):
        raise RocError(f"found method {method!r}, expected 'logit' or 'wald'")
    if variance == 0 or (method == "logit" and auc in (0, 1)):
        return float(auc), float(auc)
    reach = norm.ppf((1 + level) / 2) * np.sqrt(variance)
    if method == "wald":
        return float(auc - reach), float(auc + reach)
    reach /= auc * (1 - auc)
    return float(expit(logit(auc) - reach)), float(expit(logit(auc) + reach))


def compare(y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95) -> pd.DataFrame:
    """Difference of the areas of every pair of models on the same cases.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n, k), k >= 2
    groups : (n,) clusters (Obuchowski 1997), or None (DeLong 1988)
    level : confidence of the interval

    Returns
    -------
    DataFrame
        One row per pair: ``first`` and ``second`` (columns of ``scores``), ``auc_first``, ``auc_second``,
        ``difference``, ``se``, ``z``, ``p`` (two-sided), ``low``, ``high`` (Wald). Where the SE is 0, p is 1 for equal
        areas, and z and p are NaN for different ones: there is nothing to test with.

    Raises
    ------
    RocError
        As ``auc_covariance``, or fewer than two columns of scores.
    """
    components = _components(y_true, scores, groups)
    if len(components.auc) < 2:
        raise RocError("found one column of scores, expected at least two to compare")
    return pd.DataFrame(
        [_pair(components, first, second, level) for first, second in combinations(range(len(components.auc)), 2)]
    )


def curve(y_true: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Vertices of the ROC curve.

    Parameters
    ----------
    y_true, scores : (n,)

    Returns
    -------
    false_positive_rate, true_positive_rate, threshold : (v,)
        From (0, 0) at an infinite threshold to (1, 1). Only points in the middle of a straight line are left out, so
        the trapezoids under the curve are the area exactly.

    Raises
    ------
    RocError
        As ``check``, or more than one column of scores.
    """
    labels, columns = check(y_true, scores)
    if columns.shape[1] != 1:
        raise RocError(f"found {columns.shape[1]} columns of scores, expected one")
    false_positive_rate, true_positive_rate, threshold = roc_curve(labels, columns[:, 0])
    return false_positive_rate, true_positive_rate, threshold


def check(y_true: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Labels (n,) and scores (n, k) as they are used here, or an error that says what is wrong.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) or (n, k)

    Returns
    -------
    positive : (n,) True where the label is 1
    scores : (n, k) float64

    Raises
    ------
    RocError
        Lengths differ, labels other than 0 and 1, one class only, or non-finite scores.
    """
    labels, columns = np.asarray(y_true, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if labels.ndim != 1 or columns.ndim != 2 or columns.shape[1] == 0:
        raise RocError(f"found labels {labels.shape} and scores {columns.shape}, expected (n,) and (n,) or (n, k)")
    if len(labels) != len(columns):
        raise RocError(f"found {len(labels)} labels and {len(columns)} scores, expected as many of each")
    classes = np.unique(labels)
    if not np.isin(classes, (0, 1)).all():
        raise RocError(f"found labels {classes[:5].tolist()}, expected 0 and 1")
    if len(classes) < 2:
        raise RocError(f"found {len(labels)} cases of class {classes.tolist()}, expected positives and negatives")
    bad = np.flatnonzero(~np.isfinite(columns).all(axis=1))
    if len(bad):
        raise RocError(f"found {len(bad)} non-finite scores, the first at {bad[0]}: {columns[bad[0]].tolist()}")
    return labels == 1, columns


def _components(y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike | None) -> _Components:
    positive, columns = check(y_true, scores)
    cluster, n_clusters = _clusters(groups, len(positive))
    with_positives = int(np.count_nonzero(np.bincount(cluster[positive])))
    with_negatives = int(np.count_nonzero(np.bincount(cluster[~positive])))
    if min(with_positives, with_negatives) < 2:
        unit = "cases" if groups is None else "groups"
        found = f"found {with_positives} {unit} with positives and {with_negatives} with negatives"
        raise RocError(f"{found}, expected at least 2 of each")
    auc, excess = _placements(positive, columns)

    def sums(cases: NDArray[np.bool_]) -> Floats:
        columns_of_sums = [np.bincount(cluster[cases], excess[cases, c], n_clusters) for c in range(len(auc))]
        return np.stack(columns_of_sums, axis=1)

    m, n = int(positive.sum()), int((~positive).sum())
    return _Components(auc, sums(positive), sums(~positive), m, n, with_positives, with_negatives)


def _clusters(groups: ArrayLike | None, n: int) -> tuple[NDArray[np.intp], int]:
    """Number (n,) of each case's cluster, and how many clusters there are; without groups each case is its own."""
    if groups is None:
        return np.arange(n), n
    values = pd.Series(np.asarray(groups))
    if len(values) != n:
        raise RocError(f"found {len(values)} groups for {n} cases, expected one for each")
    codes, distinct = pd.factorize(values)
    if (codes < 0).any():
        raise RocError(f"found no group at position {int(np.argmin(codes))}, expected one for each case")
    return codes, len(distinct)


def _placements(positive: NDArray[np.bool_], columns: Floats) -> tuple[Floats, Floats]:
    """Areas (k,), and how far each case's share of rightly ordered pairs lies above the area (n, k).

    The share is that of the negatives below a positive, of the positives above a negative; a tie counts one half.
    One sort per column (Sun & Xu 2014), counts in whole numbers, so equal shares are equal to the last bit.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    auc, excess = np.empty(columns.shape[1]), np.empty(columns.shape)
    for c in range(columns.shape[1]):
        order = np.argsort(columns[:, c])
        ranked = columns[order, c]
        first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        tied_positives = np.add.reduceat(positive[order].astype(np.int64), first)
        tied_negatives = np.diff(np.r_[first, len(ranked)]) - tied_positives
        twice_below = 2 * tied_negatives.cumsum() - tied_negatives
        twice_above = 2 * m - 2 * tied_positives.cumsum() + tied_positives
        auc[c] = (tied_positives @ twice_below) / (2 * m * n)
        value = np.cumsum(np.bincount(first, minlength=len(ranked))) - 1
        share = np.where(positive[order], twice_below[value] / (2 * n), twice_above[value] / (2 * m))
        excess[order, c] = share - auc[c]
    return auc, excess


def _pair(components: _Components, first: int, second: int, level: float) -> dict[str, float]:
    contrast = components.contrast(first, second)
    difference, se = float(contrast.auc[0]), float(np.sqrt(contrast.covariance()[0, 0]))
    untestable = 0.0 if difference == 0 else np.nan
    z = difference / se if se > 0 else untestable
    reach = float(norm.ppf((1 + level) / 2)) * se
    return {
        "first": first,
        "second": second,
        "auc_first": float(components.auc[first]),
        "auc_second": float(components.auc[second]),
        "difference": difference,
        "se": se,
        "z": z,
        "p": float(2 * norm.sf(abs(z))),
        "low": difference - reach,
        "high": difference + reach,
    }


def _small_sample(clusters: int) -> float:
    return clusters / (clusters - 1)
