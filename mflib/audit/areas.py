"""Claims about areas under the ROC curve: the P value and the interval that so many cases give.

References
----------
Hanley JA, McNeil BJ. Radiology 1982;143:29-36 (variance of one area) and 1983;148:839-843 (correlated areas).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from mflib import roc
from mflib.audit.findings import IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED, AuditError, Finding
from mflib.audit.rounding import LENIENT, Claimed, Printed
from mflib.roc import hanley_mcneil

Pair = tuple[float, float]
INTERVALS: dict[str, Literal["wald", "logit"]] = {"symmetric": "wald", "logit": "logit"}
INDEPENDENT = "{positives} positives and {negatives} negatives, taken as independent; Hanley & McNeil variances"
# Two models that are not the same one are hardly ever more alike in their errors.
HIGHEST = 0.99
# Hanley & McNeil take scores to be exponential, and a variance estimated from few cases scatters: the half-width of an
# honest interval may differ from theirs by this share.
WIDTH = 0.2
NO_VARIANCE = "no variance at areas of 0 or 1"
EDGE = 1e-6  # from 0 and 1, where there is no variance to divide by


def p_of_difference(
    first: ArrayLike, second: ArrayLike, positives: int, negatives: int, correlation: ArrayLike
) -> NDArray[np.float64]:
    """Two-sided P of the difference of two areas on the same cases, by the correlation of the two estimates.

    Parameters
    ----------
    first, second : areas, any shape
    positives, negatives : independent cases
    correlation : any shape, in [0, 1)
    """
    one, two = (hanley_mcneil(auc, positives, negatives) for auc in (first, second))
    variance = one + two - 2 * np.asarray(correlation, dtype=np.float64) * np.sqrt(one * two)
    return 2 * norm.sf(np.abs(np.subtract(first, second)) / np.sqrt(variance))


def difference(
    what: str, first: str, second: str, p: str, positives: int, negatives: int, tolerance: float = LENIENT
) -> Finding:
    """Whether a correlation from 0 to ``HIGHEST`` gives the printed P value of the difference of two areas.

    P is greatest where the two areas are uncorrelated, and falls as they are more alike in their errors. A P above the
    greatest is impossible; one that only a correlation above ``HIGHEST`` gives is not reproducible, nor is any P of
    areas that are both 0 or 1.

    Parameters
    ----------
    what : subject of the finding
    first, second : the areas as printed
    p : as printed, such as "0.032", "<0.001" or "> 0.05"
    positives, negatives : independent cases that both areas are of
    tolerance : units of the last place, in P and in both areas, taken towards the printed P

    Raises
    ------
    AuditError
        Text that is no number, areas outside [0, 1], counts below one.
    """
    claimed, cases = Claimed.of(p), _cases(what, positives, negatives)
    areas = sorted((_area(what, text) for text in (first, second)), key=lambda printed: printed.value)
    low, high = (printed.value for printed in areas)
    independent = INDEPENDENT.format(positives=positives, negatives=negatives)
    assumption = f"{independent}; no negative correlation, and none above {HIGHEST}"
    printed = f"AUC {first} and {second}, P {claimed}"
    if {low, high} <= {0.0, 1.0}:
        return Finding(what, NOT_REPRODUCIBLE, assumption, printed, "no P value", NO_VARIANCE)
    at_zero = float(p_of_difference(low, high, *cases, 0.0))
    computed = f"P = {at_zero:.2g} at {'any correlation' if low == high else 'correlation 0, less above'}"
    extreme, (least, greatest) = _extremes(areas, *cases, tolerance)
    moved = f"with areas off by up to {tolerance:g} in the last place"
    if greatest < claimed.bounds(tolerance)[0]:
        return Finding(what, IMPOSSIBLE, assumption, printed, computed, f"at most {greatest:.2g} {moved}")
    if claimed.meets(least, greatest, tolerance):
        detail = _need(claimed, low, high, *cases) or f"P from {least:.2g} to {greatest:.2g} {moved}"
        return Finding(what, REPRODUCED, assumption, printed, computed, detail)
    need = needed_correlation(*extreme, claimed.number.value, *cases)
    words = "no correlation gives it" if need is None else f"needs a correlation of at least {_digits(need)}"
    return Finding(what, NOT_REPRODUCIBLE, assumption, printed, computed, f"{words} {moved}")


def needed_correlation(first: float, second: float, p: float, positives: int, negatives: int) -> float | None:
    """Least correlation in [0, 1) at which the difference of two areas has a P value of at most ``p``.

    None where none has; that is so of equal areas.
    """

    def excess(correlation: float) -> float:
        return float(p_of_difference(first, second, positives, negatives, correlation)) - p

    highest = 1 - 1e-9
    if excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, highest)) if first != second and excess(highest) < 0 else None


def interval(
    what: str, auc: str, bounds: tuple[str, str], positives: int, negatives: int, tolerance: float = LENIENT
) -> Finding:
    """Whether a printed 95 % interval is that of a printed area with so many cases, its half-width to ``WIDTH``.

    An area of 0 or 1 has no variance to check an interval with; the finding says so.

    Parameters
    ----------
    what : subject of the finding
    auc, bounds : as printed
    positives, negatives : independent cases
    tolerance : units of the last place, for the bounds and again for the area that they surround

    Raises
    ------
    AuditError
        Text that is no number, an area outside [0, 1], counts below one.
    """
    area, ends = _area(what, auc), [Printed.of(bound) for bound in bounds]
    independent = INDEPENDENT.format(positives=positives, negatives=negatives)
    assumption = f"{independent}; 95 % interval, its half-width to {WIDTH:.0%}"
    printed = f"AUC {auc}, {bounds[0]} to {bounds[1]}"
    variance = float(hanley_mcneil(area.value, *_cases(what, positives, negatives)))
    if area.value in (0.0, 1.0):
        return Finding(what, NOT_REPRODUCIBLE, assumption, printed, "no interval to check it with", NO_VARIANCE)
    exact = [(name, roc.auc_interval(area.value, variance, method=method)) for name, method in INTERVALS.items()]
    computed = ", ".join(f"{low:.3f} to {high:.3f} ({name})" for name, (low, high) in exact)
    fits = _surround(area, ends, variance, tolerance)
    return Finding(what, REPRODUCED if fits else NOT_REPRODUCIBLE, assumption, printed, computed)


def _area(what: str, text: str) -> Printed:
    area = Printed.of(text)
    if area.value > 1:
        raise AuditError(f"{what}: found an area of {text}, expected 0 to 1")
    return area


def _cases(what: str, positives: int, negatives: int) -> tuple[int, int]:
    if min(positives, negatives) < 1:
        raise AuditError(f"{what}: found {positives} positives and {negatives} negatives, expected 1 or more of each")
    return positives, negatives


def _extremes(areas: list[Printed], positives: int, negatives: int, tolerance: float) -> tuple[Pair, Pair]:
    """The two areas that give the least P within rounding; the least P, and the greatest."""
    bounds = [area.bounds(tolerance) for area in areas]
    # All over the range, as P does not always fall where areas near 1 move apart: the variances change as well.
    first, second = np.meshgrid(*(np.linspace(max(low, EDGE), min(high, 1 - EDGE), 5) for low, high in bounds))
    p = p_of_difference(first, second, positives, negatives, HIGHEST)
    apart = bounds[0][1] < bounds[1][0]
    greatest = float(p_of_difference(first, second, positives, negatives, 0.0).max()) if apart else 1.0
    at = int(p.argmin())
    return (float(first.flat[at]), float(second.flat[at])), (float(p.min()), greatest)


def _need(claimed: Claimed, low: float, high: float, positives: int, negatives: int) -> str:
    """The correlation that the areas as printed need; empty where none up to ``HIGHEST`` does."""
    need = needed_correlation(low, high, claimed.number.value, positives, negatives)
    below = claimed.relation.startswith("<")
    if need is None or need > HIGHEST or (need == 0 and not below):
        return ""
    return f"needs a correlation of {'at least ' if below else 'at most ' if claimed.relation else ''}{_digits(need)}"


def _digits(correlation: float) -> str:
    """Two digits, or as many as tell it from 1."""
    return f"{correlation:.{max(2, int(np.ceil(-np.log10(1 - correlation))))}f}"


def _surround(area: Printed, bounds: list[Printed], variance: float, tolerance: float) -> bool:
    """Whether an interval of either kind about the area has these bounds, at a half-width within ``WIDTH``."""
    for method in INTERVALS.values():
        for factor in np.linspace(1 - WIDTH, 1 + WIDTH, 41):
            ends = roc.auc_interval(area.value, variance * factor**2, method=method)
            # Beyond 0 or 1 it is printed as it is, or cut.
            for exact in (ends, np.clip(ends, 0, 1)):
                pairs = zip(bounds, exact, strict=True)
                if all(bound.fits(end, tolerance * (1 + area.unit / bound.unit)) for bound, end in pairs):
                    return True
    return False
