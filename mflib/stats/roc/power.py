"""Power and sample size of a test of one area against 0.5, and of two areas on the same cases.

All tests are two-sided at 0.05 (so is R's pROC), and all powers are normal approximations that count the tail on
the side of the true difference. Where cases are clustered in patients, the design effect multiplies the variances: it
is the ratio of the clustered variance of the area, or of the difference, to the naive one, and can also lie below 1.

References
----------
Hanley JA, McNeil BJ. Radiology 1982;143:29-36.
Obuchowski NA, McClish DK. Stat Med 1997;16:1529-1542.
Obuchowski NA, Lieber ML, Wians FH. Clin Chem 2004;50:1118-1125.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from mflib.base.errors import InputError
from mflib.stats.roc.cases import Floats

ALPHA = 0.05  # two-sided level of every test


def hanley_mcneil(auc: ArrayLike, positives: float, negatives: float) -> Floats:
    """Variance of an area from its value and the numbers of cases alone (Hanley & McNeil 1982).

    Parameters
    ----------
    auc : any shape, in [0, 1]
    positives, negatives : independent cases
    """
    area = np.asarray(auc, dtype=np.float64)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return np.asarray(spread / (positives * negatives))


@dataclass(frozen=True)
class Question:
    """Is an area not 0.5? Or, with a reference: do two areas on the same cases differ?

    One area as Obuchowski, Lieber & Wians 2004, two as Obuchowski & McClish 1997, both as R's pROC. Two models' scores
    are binormal with equal variances in both classes. As in pROC the variance of the reference stands for both areas
    where they are taken as equal, so it matters which of the two that is.

    Parameters
    ----------
    area : the true area, in (0, 1)
    reference : the true area of the other model, or None
    correlation : of the two models' scores within a class, taken as the same in both classes; 0 for areas on different
        cases, as many in each set
    design_effect : ratio of clustered to naive variance of the area, or of the difference
    """

    area: float
    reference: float | None = None
    correlation: float = 0.0
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        areas = [area for area in (self.reference, self.area) if area is not None]
        if not all(0 < area < 1 for area in areas):
            raise InputError(f"found areas {areas}, expected between 0 and 1")
        if not 0 < self.design_effect < np.inf:
            raise InputError(f"found design effect {self.design_effect}, expected above 0")

    @property
    def null(self) -> float:
        """The area where there is nothing to find."""
        return 0.5 if self.reference is None else self.reference

    def power(self, positives: float, negatives: float) -> float:
        """Power with so many cases; half of alpha where there is nothing to find.

        Raises
        ------
        InputError
            Less than one case of a class, or a correlation so high that the variance of the difference is not positive.
        """
        if not 1 <= positives < np.inf or not 1 <= negatives < np.inf:
            raise InputError(f"found {positives} positives and {negatives} negatives, expected at least one of each")
        null, true = self._variances(positives, negatives / positives)
        reach = abs(self.area - self.null) - norm.isf(ALPHA / 2) * np.sqrt(null)
        return float(norm.cdf(reach / np.sqrt(true)))

    def positives_needed(self, power: float, ratio: float) -> float:
        """Positives needed for a power between alpha and 1, not rounded, with ``ratio`` negatives for each."""
        if self.area == self.null:
            raise InputError(f"found an area of {self.area} to tell from {self.null}, expected one that differs")
        null, true = self._variances(1, ratio)
        reach = norm.isf(ALPHA / 2) * np.sqrt(null) + norm.ppf(power) * np.sqrt(true)
        return float(reach**2 / (self.area - self.null) ** 2)

    def _variances(self, positives: float, ratio: float) -> tuple[float, float]:
        """Variances of what is tested: where there is nothing to find, and in truth."""
        if self.reference is None:
            null, true = _variances_one(self.area, ratio)
            return self.design_effect * (null / positives), self.design_effect * (true / positives)
        null, true = _variances_two(self.reference, self.area, ratio, self.correlation)
        scale = self.design_effect / positives
        return scale * null, scale * true


def _variances_one(auc: float, ratio: float) -> tuple[float, float]:
    """Variance of an area, times the number of positives: where the true one is 0.5, and where it is as given."""
    a = 1.414 * norm.ppf(auc)  # the paper's digits, as in pROC
    true = 0.0099 * np.exp(-(a**2) / 2) * ((5 * a**2 + 8) + (a**2 + 8) / ratio)
    return 0.0792 * (1 + 1 / ratio), float(true)


def _variances_two(first: float, second: float, ratio: float, correlation: float) -> tuple[float, float]:
    """Variance of the difference, times the number of positives: areas taken as equal to the first, and as given."""
    if not -1 <= correlation <= 1:
        raise InputError(f"found correlation {correlation}, expected one from -1 to 1")
    a, b = (float(np.sqrt(2) * norm.ppf(area)) for area in (first, second))
    covariance = _binormal_covariance(a, b, ratio, correlation)
    of_first, of_second = _binormal_variance(a, ratio), _binormal_variance(b, ratio)
    null, true = 2 * (of_first - covariance), of_first + of_second - 2 * covariance
    if (least := min(null, true)) <= 0:
        found = f"areas {first} and {second} with correlation {correlation}: the variance of the difference is {least}"
        raise InputError(f"found {found}, expected above 0: give the area nearer 0.5 first, or correlate less")
    return float(null), float(true)


def _binormal_variance(a: float, ratio: float) -> float:
    """Variance of the binormal area Phi(a / sqrt 2), times the number of positives.

    Obuchowski & McClish 1997, pages 1530 and 1531, for equal variances in both classes (B = 1), as pROC has it: without
    the covariance of the two estimated parameters, which would make the variance of a large area smaller.
    """
    f, g = _slopes(a)
    return f**2 * (1 + 1 / ratio + a**2 / 2) + g**2 * (1 + ratio) / (2 * ratio)


def _binormal_covariance(a: float, b: float, ratio: float, r: float) -> float:
    """Covariance of two such areas whose scores correlate by r in either class, times the number of positives."""
    (f_a, g_a), (f_b, g_b) = _slopes(a), _slopes(b)
    of_means = f_a * f_b * (r + r / ratio + r**2 * a * b / 2)
    of_spreads = g_a * g_b * r**2 * (1 + ratio) / (2 * ratio)
    return of_means + of_spreads + r**2 * (f_a * g_b * a + f_b * g_a * b) / 2


def _slopes(a: float) -> tuple[float, float]:
    """Derivatives of the area by the distance of the classes and by the ratio of their spreads."""
    by_distance = float(np.exp(-(a**2) / 4) / np.sqrt(4 * np.pi))
    return by_distance, -by_distance * a / 2
