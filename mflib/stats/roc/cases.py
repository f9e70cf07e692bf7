"""Cases of an ROC analysis, checked, and what each cluster of them adds to an area."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mflib.base.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def check(y_true: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
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
    InputError
        Lengths differ, no numbers, labels other than 0 and 1, one class only, or non-finite scores.
    """
    labels, columns = _numbers(y_true, "labels"), _numbers(scores, "scores")
    columns = columns[:, None] if columns.ndim == 1 else columns
    if labels.ndim != 1 or columns.ndim != 2 or columns.shape[1] == 0:
        raise InputError(f"found labels {labels.shape} and scores {columns.shape}, expected (n,) and (n,) or (n, k)")
    if len(labels) != len(columns):
        raise InputError(f"found {len(labels)} labels and {len(columns)} scores, expected as many of each")
    positive = labels == 1
    if not (positive | (labels == 0)).all():
        raise InputError(f"found labels {np.unique(labels)[:5].tolist()}, expected 0 and 1")
    if positive.all() or not positive.any():
        classes = np.unique(labels).tolist()
        raise InputError(f"found {len(labels)} cases of class {classes}, expected positives and negatives")
    finite = np.isfinite(columns)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(axis=1))
        raise InputError(f"found {len(bad)} non-finite scores, the first at {bad[0]}: {columns[bad[0]].tolist()}")
    return positive, columns


def one_column(y_true: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """Labels (n,) and the scores (n,) of one model.

    Raises
    ------
    InputError
        As ``check``, or more than one column of scores.
    """
    positive, columns = check(y_true, scores)
    if columns.shape[1] != 1:
        raise InputError(f"found {columns.shape[1]} columns of scores, expected one")
    return positive, columns[:, 0]


def clusters(groups: ArrayLike | None, n: int) -> tuple[NDArray[np.intp], int]:
    """Number (n,) of each case's cluster, and how many clusters there are; without groups each case is its own.

    Raises
    ------
    InputError
        As ``numbered``, or not one group for each case.
    """
    if groups is None:
        return np.arange(n), n
    codes, count = numbered(groups)
    if len(codes) != n:
        raise InputError(f"found {len(codes)} groups for {n} cases, expected one for each")
    return codes, count


def numbered(groups: ArrayLike) -> tuple[NDArray[np.intp], int]:
    """Number (n,) of each group in the order in which they occur, and how many different ones there are.

    Raises
    ------
    InputError
        Groups that are no column of names, or a missing one.
    """
    try:
        codes, distinct = pd.factorize(pd.Series(groups))  # numpy would make the text "nan" of a missing name
    except (TypeError, ValueError) as error:
        raise InputError(f"found groups that are no column of names ({error}), expected one for each case") from error
    if (codes < 0).any():
        raise InputError(f"found no group at position {int(np.argmin(codes))}, expected one for each case")
    return codes, len(distinct)


def check_level(level: float) -> None:
    """A confidence level between 0 and 1, or an error."""
    if not 0 < level < 1:
        raise InputError(f"found level {level}, expected a confidence between 0 and 1, such as 0.95")


def _numbers(values: ArrayLike, name: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"found {name} that are no numbers ({error}), expected an array of numbers") from error


# A sum of terms that cancel to this share of their size is rounding and nothing else.
ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Components:
    """Sums per cluster of what each case adds to the area, with the counts that the covariance needs.

    Parameters
    ----------
    auc : (k,)
    positives, negatives : (k, I) sums over each cluster's positives and negatives
    n_positives, n_negatives : cases
    clusters_with_positives, clusters_with_negatives : at least 2 each
    """

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
        s10 = small_sample(self.clusters_with_positives) / m * self.positives @ self.positives.T
        s01 = small_sample(self.clusters_with_negatives) / n * self.negatives @ self.negatives.T
        s11 = small_sample(self.positives.shape[1]) * self.positives @ self.negatives.T
        cross = (s11 + s11.T) / (m * n)
        covariance = s10 / m + s01 / n + cross
        # A variance is never negative; where the terms cancel, what rounding leaves of it is not a variance either.
        terms = np.diagonal(s10 / m + s01 / n + np.abs(cross))
        variances = np.diagonal(covariance)
        np.fill_diagonal(covariance, np.where(variances > ROUNDING * terms, variances, 0))
        return covariance

    def contrasts(self, first: list[int], second: list[int]) -> Components:
        """The components of areas minus other areas, pair by pair: exactly zero where the scores rank alike."""
        return replace(
            self,
            auc=self.auc[first] - self.auc[second],
            positives=self.positives[first] - self.positives[second],
            negatives=self.negatives[first] - self.negatives[second],
        )


def components(y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike | None) -> Components:
    """Components of the areas of one or more models on the same cases.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) or (n, k)
    groups : (n,) the cluster of each case, or None where the cases are independent

    Raises
    ------
    InputError
        As ``check`` and ``clusters``, or fewer than two clusters (cases without groups) with positives or negatives.
    """
    positive, columns = check(y_true, scores)
    cluster, n_clusters = clusters(groups, len(positive))
    with_positives, with_negatives = clusters_of_each_class(positive, cluster, groups is None)
    auc, excess = placements(positive, columns)
    of_positives, of_negatives = excess * positive, excess * ~positive
    if groups is not None:
        of_positives = cluster_sums(of_positives, cluster, n_clusters)
        of_negatives = cluster_sums(of_negatives, cluster, n_clusters)
    m = int(np.count_nonzero(positive))
    return Components(auc, of_positives, of_negatives, m, len(positive) - m, with_positives, with_negatives)


def clusters_of_each_class(positive: Bools, cluster: NDArray[np.intp], singletons: bool) -> tuple[int, int]:
    """How many clusters have positives and how many negatives.

    Raises
    ------
    InputError
        Fewer than two of either: no variance can be estimated from one.
    """
    positives, negatives = (
        int(np.count_nonzero(cases if singletons else np.bincount(cluster[cases]))) for cases in (positive, ~positive)
    )
    if min(positives, negatives) < 2:
        unit = "cases" if singletons else "groups"
        found = f"found {positives} {unit} with positives and {negatives} with negatives"
        raise InputError(f"{found}, expected at least 2 of each")
    return positives, negatives


def placements(positive: Bools, columns: Floats) -> tuple[Floats, Floats]:
    """Areas (k,), and how far each case's share of rightly ordered pairs lies above the area (k, n).

    The share is that of the negatives below a positive, of the positives above a negative; a tie counts one half.
    One sort per column (Sun & Xu 2014), counts in whole numbers, so equal shares are equal to the last bit.
    """
    m = int(np.count_nonzero(positive))
    n = len(positive) - m
    auc, excess = np.empty(columns.shape[1]), np.empty(columns.shape[::-1])
    for c, column in enumerate(np.ascontiguousarray(columns.T)):
        order = np.argsort(column)
        ranked, ranked_positive = column[order], positive[order]
        twice_below, twice_above = _twice_ordered(ranked, ranked_positive, m)
        auc[c] = twice_below[ranked_positive].sum() / (2 * m * n)
        share = np.where(ranked_positive, twice_below / (2 * n), twice_above / (2 * m))
        excess[c, order] = share - auc[c]
    return auc, excess


def cluster_sums(values: Floats, cluster: NDArray[np.intp], n_clusters: int) -> Floats:
    """Sums (k, I) over the cases of each cluster of values (k, n)."""
    return np.array([np.bincount(cluster, row, n_clusters) for row in values], dtype=np.float64)


def small_sample(clusters: int) -> float:
    """I / (I - 1), for the mean that was estimated from the same clusters."""
    return clusters / (clusters - 1)


def _twice_ordered(ranked: Floats, positive: Bools, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Twice the negatives below and twice the positives above each of the ascending scores, ties counted once."""
    starts = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    if starts.all():
        positives = np.cumsum(positive)
        return 2 * (np.arange(1, len(ranked) + 1) - positives), 2 * (m - positives)
    first = np.flatnonzero(starts)
    size = np.diff(first, append=len(ranked))
    tied_positives = np.add.reduceat(positive.astype(np.int64), first)
    tied_negatives = size - tied_positives
    below = 2 * tied_negatives.cumsum() - tied_negatives
    above = 2 * m - 2 * tied_positives.cumsum() + tied_positives
    return np.repeat(below, size), np.repeat(above, size)


Counts = NDArray[np.int64]


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
    InputError
        Not one group and one stratum for each case, or fewer than one resample.
    """
    if resamples < 1:
        raise InputError(f"found {resamples} resamples, expected at least one")
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


def _kinds(patient: NDArray[np.intp], n_patients: int, strata: ArrayLike | None) -> NDArray[np.intp]:
    """Number (n_patients,) of each patient's kind: which of the strata its cases have."""
    if strata is None:
        return np.zeros(n_patients, dtype=np.intp)
    stratum, n_strata = clusters(strata, len(patient))
    has = np.zeros((n_patients, n_strata), dtype=bool)
    has[patient, stratum] = True
    return np.unique(has, axis=0, return_inverse=True)[1].ravel()
