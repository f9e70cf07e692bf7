"""Areas under ROC curves: covariance and intervals, and whether areas are equal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.linalg import pinvh
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from mflib.base.errors import InputError
from mflib.stats.roc.cases import (
    ROUNDING,
    Components,
    Floats,
    check,
    check_level,
    cluster_sums,
    clusters,
    clusters_of_each_class,
    components,
    placements,
    small_sample,
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
    InputError
        Lengths differ, one class only, non-finite scores, missing groups, or fewer than two clusters (cases where
        ``groups`` is None) with positives or with negatives.
    """
    found = components(y_true, scores, groups)
    return found.auc, found.covariance()


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
    InputError
        An area outside [0, 1], a negative or non-finite variance, a level outside (0, 1), or an unknown method.
    """
    check_level(level)
    if not 0 <= auc <= 1 or not 0 <= variance < np.inf:
        raise InputError(f"found area {auc}, variance {variance}; expected [0, 1], [0, inf)")
    if method not in ("logit", "wald"):
        raise InputError(f"found method {method!r}, expected 'logit' or 'wald'")
    if variance == 0 or (method == "logit" and auc in (0, 1)):
        return float(auc), float(auc)
    reach = norm.ppf((1 + level) / 2) * np.sqrt(variance)
    if method == "wald":
        return float(auc - reach), float(auc + reach)
    reach /= auc * (1 - auc)
    return float(expit(logit(auc) - reach)), float(expit(logit(auc) + reach))


def fold_mean(
    y_true: ArrayLike, scores: ArrayLike, folds: ArrayLike, groups: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Mean over folds of the areas within folds, and the covariance of these means between models.

    A case of fold v adds to the mean, to first order, how far its share of rightly ordered pairs in the fold lies above
    the fold's area, over V times the fold's cases of its class (LeDell et al. 2015, with the proportions of the classes
    in the fold). These are summed over each group, over all of its folds, and squared. As each fold's area is taken
    from the fold, the terms of its positives have the small-sample factor sqrt(I / (I - 1)) of the I groups that have
    positives there, those of its negatives likewise. So one fold of single cases is DeLong 1988. R's cvAUC
    (``ci.pooled.cvAUC``) has no such factor, takes the proportions from all folds together, and expects a group in one
    fold only.

    Where groups have both labels the intervals are too narrow, more so the more folds there are. Simulated with 46
    groups of 8, whole in one fold, scores that correlate by .5 in a group and a true area of 0.75 (4000 cohorts each
    with two such groups in every fold), the logit interval of 95 % covered .929 in 5 folds and .898 in 10 where labels
    correlate by .6, and .950 and .939 where a group has one label.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) or (n, k), compared within folds only; ties count one half
    folds : (n,) the fold in which each case was tested
    groups : (n,) the cluster of each case, or None where the cases are independent

    Returns
    -------
    auc : (k,)
    covariance : (k, k)

    Raises
    ------
    InputError
        As ``check``, a case without a fold or group, or a fold in which fewer than two groups (cases where ``groups``
        is None) have positives or negatives: no variance can be estimated from one.
    """
    positive, columns = check(y_true, scores)
    fold, n_folds = clusters(folds, len(positive))
    cluster, n_clusters = clusters(groups, len(positive))
    auc, terms = np.zeros(columns.shape[1]), np.empty(columns.shape[::-1])
    for number in range(n_folds):
        cases = np.flatnonzero(fold == number)
        label = positive[cases]
        try:
            with_positives, with_negatives = clusters_of_each_class(label, cluster[cases], groups is None)
        except InputError as error:
            raise InputError(f"fold {pd.Series(folds).iloc[cases[0]]}: {error}") from error
        area, excess = placements(label, columns[cases])
        of_positive = np.sqrt(small_sample(with_positives)) / np.count_nonzero(label)
        of_negative = np.sqrt(small_sample(with_negatives)) / np.count_nonzero(~label)
        auc += area / n_folds
        terms[:, cases] = excess * np.where(label, of_positive, of_negative) / n_folds
    sums, sizes = (cluster_sums(values, cluster, n_clusters) for values in (terms, np.abs(terms)))
    influence = np.where(np.abs(sums) > ROUNDING * sizes, sums, 0)
    return auc, influence @ influence.T


# Directions whose variance is a smaller share of the largest are those of models that rank alike.
SINGULAR = 1e-10


@dataclass(frozen=True)
class Joint:
    """Chi-square test that all areas are equal.

    Parameters
    ----------
    statistic : Wald's, of the differences to the first area
    df : degrees of freedom: the number of differences, less those that the others determine
    p : upper tail of chi-square
    """

    statistic: float
    df: int
    p: float


@dataclass(frozen=True)
class Unpaired:
    """Difference of two areas on different cases.

    Parameters
    ----------
    auc_first, auc_second : the areas
    difference : first minus second
    se : its standard error
    z, p : normal, two-sided; where ``se`` is 0, p is 1 for equal areas, and both are NaN for different ones: there is
        nothing to test with
    low, high : Wald interval of the difference
    """

    auc_first: float
    auc_second: float
    difference: float
    se: float
    z: float
    p: float
    low: float
    high: float


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
    InputError
        As ``auc_covariance``, or fewer than two columns of scores.
    """
    check_level(level)
    found = _several(y_true, scores, groups)
    return pd.DataFrame([_pair(found, *pair, level) for pair in combinations(range(len(found.auc)), 2)])


def joint(y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> Joint:
    """Test that the areas of all models on the same cases are equal (DeLong 1988, equation 5).

    With the differences d of the first area to each other one and their covariance C, the statistic is d' C^-1 d, and
    the same whichever area is first. Where models rank alike C has no inverse; its generalised inverse then tests what
    can differ, with the rank of C as degrees of freedom. For two models it is the square of z of ``compare``.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n, k), k >= 2
    groups : (n,) clusters (Obuchowski 1997), or None (DeLong 1988)

    Returns
    -------
    Joint
        Where all models rank alike, the statistic is 0 with 0 degrees of freedom and p is 1.

    Raises
    ------
    InputError
        As ``compare``, or areas that differ where their difference has no variance: there is nothing to test with.
    """
    found = _several(y_true, scores, groups)
    others = list(range(1, len(found.auc)))
    contrast = found.contrasts([0] * len(others), others)
    covariance = contrast.covariance()
    se = np.sqrt(np.diagonal(covariance))
    varies = se > 0
    # On one scale, so that a small variance beside a large one is not mistaken for none.
    z = contrast.auc[varies] / se[varies]
    correlation = covariance[np.ix_(varies, varies)] / np.outer(se[varies], se[varies])
    inverse, df = pinvh(correlation, rtol=SINGULAR, return_rank=True) if varies.any() else (correlation, 0)
    beyond = np.abs(z - correlation @ inverse @ z)
    if contrast.auc[~varies].any() or (beyond > 1e-6 * np.abs(z).max(initial=0.0)).any():
        areas = found.auc.tolist()
        raise InputError(f"found areas {areas}, which differ where their difference has no variance to test it with")
    statistic = float(z @ inverse @ z)
    return Joint(statistic, int(df), float(chi2.sf(statistic, df)) if df else 1.0)


def unpaired(
    y_first: ArrayLike,
    scores_first: ArrayLike,
    y_second: ArrayLike,
    scores_second: ArrayLike,
    groups_first: ArrayLike | None = None,
    groups_second: ArrayLike | None = None,
    level: float = 0.95,
) -> Unpaired:
    """Difference of two areas on two independent sets of cases, such as two clinics.

    The variances add. The test is normal, as the other tests here; R's pROC refers the same statistic to Welch's t.

    Parameters
    ----------
    y_first, scores_first, groups_first : (n,) of the first set; groups None where its cases are independent
    y_second, scores_second, groups_second : (m,) of the second, no patient of which is in the first
    level : confidence of the interval

    Raises
    ------
    InputError
        As ``auc_covariance`` for either set, more than one column of scores, or a level outside (0, 1).
    """
    check_level(level)
    first = components(y_first, scores_first, groups_first)
    second = components(y_second, scores_second, groups_second)
    if len(first.auc) != 1 or len(second.auc) != 1:
        raise InputError(f"found {len(first.auc)} and {len(second.auc)} columns of scores, expected one in each set")
    variance = float(first.covariance()[0, 0] + second.covariance()[0, 0])
    difference = float(first.auc[0] - second.auc[0])
    return Unpaired(float(first.auc[0]), float(second.auc[0]), difference, **_tested(difference, variance, level))


def _several(y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike | None) -> Components:
    found = components(y_true, scores, groups)
    if len(found.auc) < 2:
        raise InputError("found one column of scores, expected at least two to compare")
    return found


def _pair(found: Components, first: int, second: int, level: float) -> dict[str, float]:
    contrast = found.contrasts([first], [second])
    difference = float(contrast.auc[0])
    return {
        "first": first,
        "second": second,
        "auc_first": float(found.auc[first]),
        "auc_second": float(found.auc[second]),
        "difference": difference,
        **_tested(difference, float(contrast.covariance()[0, 0]), level),
    }


def _tested(difference: float, variance: float, level: float) -> dict[str, float]:
    """Standard error, normal two-sided test and Wald interval of a difference."""
    se = float(np.sqrt(variance))
    untestable = 0.0 if difference == 0 else np.nan
    z = difference / se if se > 0 else untestable
    reach = float(norm.ppf((1 + level) / 2)) * se
    return {"se": se, "z": z, "p": float(2 * norm.sf(abs(z))), "low": difference - reach, "high": difference + reach}
