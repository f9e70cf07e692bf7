"""What each cluster of cases adds to an area under the ROC curve; covariances are made of these sums.

References
----------
DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837-845.
Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578.
Sun X, Xu W. Fast implementation of DeLong's algorithm. IEEE Signal Process Lett 2014;21:1389-1393.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mflib.roc.cases import Bools, Floats, RocError, check, clusters

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
    RocError
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
    RocError
        Fewer than two of either: no variance can be estimated from one.
    """
    positives, negatives = (
        int(np.count_nonzero(cases if singletons else np.bincount(cluster[cases]))) for cases in (positive, ~positive)
    )
    if min(positives, negatives) < 2:
        unit = "cases" if singletons else "groups"
        found = f"found {positives} {unit} with positives and {negatives} with negatives"
        raise RocError(f"{found}, expected at least 2 of each")
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
