"""Are areas under ROC curves equal: pairs and all together on the same cases, and two on different cases.

References
----------
DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837-845.
Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.linalg import pinvh
from scipy.stats import chi2, norm

from mflib.roc.cases import RocError, check_level
from mflib.roc.components import Components, components

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
    RocError
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
    RocError
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
        raise RocError(f"found areas {areas}, which differ where their difference has no variance to test it with")
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
    RocError
        As ``auc_covariance`` for either set, more than one column of scores, or a level outside (0, 1).
    """
    check_level(level)
    first = components(y_first, scores_first, groups_first)
    second = components(y_second, scores_second, groups_second)
    if len(first.auc) != 1 or len(second.auc) != 1:
        raise RocError(f"found {len(first.auc)} and {len(second.auc)} columns of scores, expected one in each set")
    variance = float(first.covariance()[0, 0] + second.covariance()[0, 0])
    difference = float(first.auc[0] - second.auc[0])
    return Unpaired(float(first.auc[0]), float(second.auc[0]), difference, **_tested(difference, variance, level))


def _several(y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike | None) -> Components:
    found = components(y_true, scores, groups)
    if len(found.auc) < 2:
        raise RocError("found one column of scores, expected at least two to compare")
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
