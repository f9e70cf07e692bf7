"""Single claims: what else printed next to them they need, and whether it is so.

References
----------
Hanley JA, McNeil BJ. Radiology 1982;143:29-36 (variance of one area) and 1983;148:839-843 (correlated areas).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm, t

from mflib import roc
from mflib.audit.findings import IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED, AuditError, Finding
from mflib.audit.rounding import LENIENT, Printed, within

MeanSd = tuple[Printed, Printed]
INDEPENDENT = "{positives} positives and {negatives} negatives, taken as independent; Hanley & McNeil variances"
# The expansion of BMI in height and weight leaves out terms of the third order: well below one percent.
EXPANSION = 0.01


def hanley_mcneil(auc: ArrayLike, positives: int, negatives: int) -> NDArray[np.float64]:
    """Variance of an area under the ROC curve from its value and the numbers of cases (Hanley & McNeil 1982).

    Parameters
    ----------
    auc : any shape, in [0, 1]
    positives, negatives : independent cases
    """
    area = np.asarray(auc, dtype=np.float64)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return spread / (positives * negatives)


def p_of_difference(
    first: float, second: float, positives: int, negatives: int, correlation: ArrayLike
) -> NDArray[np.float64]:
    """Two-sided P of the difference of two areas on the same cases, by the correlation of the two estimates.

    Parameters
    ----------
    first, second : areas
    positives, negatives : independent cases
    correlation : any shape, in [0, 1)
    """
    one, two = (hanley_mcneil(auc, positives, negatives) for auc in (first, second))
    variance = one + two - 2 * np.asarray(correlation, dtype=np.float64) * np.sqrt(one * two)
    return 2 * norm.sf(abs(first - second) / np.sqrt(variance))


def difference(
    what: str, first: str, second: str, p: str, positives: int, negatives: int, tolerance: float = LENIENT
) -> Finding:
    """Whether any correlation from 0 up gives the printed P value of the difference of two areas.

    P is greatest where the two areas are uncorrelated, and falls as they are more alike in their errors.

    Parameters
    ----------
    what : subject of the finding
    first, second : the areas as printed
    p : as printed, "0.032" or "<0.001"
    positives, negatives : independent cases that both areas are of
    tolerance : units of the last place, in P and in both areas, taken towards the printed P

    Raises
    ------
    AuditError
        Text that is no number.
    """
    areas = sorted((Printed.of(first), Printed.of(second)), key=lambda printed: printed.value)
    # The greatest P that rounding allows: both areas moved towards each other.
    near, far = areas[0].bounds(tolerance)[1], areas[1].bounds(tolerance)[0]
    greatest = float(p_of_difference(near, far, positives, negatives, 0.0)) if near < far else 1.0
    below, limit = _p(p)
    possible = below or limit.bounds(tolerance)[0] <= greatest
    at_zero = float(p_of_difference(areas[0].value, areas[1].value, positives, negatives, 0.0))
    computed = f"P = {at_zero:.2g} at correlation 0, less above"
    needed = needed_correlation(areas[0].value, areas[1].value, limit.value, positives, negatives)
    detail = "" if needed is None else f"needs a correlation of {'at least ' if below else ''}{needed:.2f}"
    if not possible:
        detail = f"at most {greatest:.2g} with both areas off by {tolerance:g} in the last place"
    assumption = f"{INDEPENDENT.format(positives=positives, negatives=negatives)}; no negative correlation"
    printed = f"AUC {first} and {second}, P {'' if below else '= '}{p}"
    return Finding(what, REPRODUCED if possible else IMPOSSIBLE, assumption, printed, computed, detail)


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
    """Whether a printed 95 % interval is that of a printed area with so many cases.

    Parameters
    ----------
    what : subject of the finding
    auc, bounds : as printed
    positives, negatives : independent cases
    tolerance : units of the last place, for the bounds and again for the area that they surround

    Raises
    ------
    AuditError
        Text that is no number.
    """
    area, printed = Printed.of(auc), [Printed.of(bound) for bound in bounds]
    variance = float(hanley_mcneil(area.value, positives, negatives))
    symmetric = roc.auc_interval(area.value, variance, method="wald")
    logit = roc.auc_interval(area.value, variance, method="logit")
    fits = any(
        all(
            bool(bound.fits(exact, tolerance * (1 + area.unit / bound.unit)))
            for bound, exact in zip(printed, ends, strict=True)
        )
        for ends in (symmetric, logit)
    )
    texts = [f"{low:.3f} to {high:.3f} ({name})" for name, (low, high) in (("symmetric", symmetric), ("logit", logit))]
    assumption = f"{INDEPENDENT.format(positives=positives, negatives=negatives)}; 95 % interval"
    status = REPRODUCED if fits else NOT_REPRODUCIBLE
    return Finding(what, status, assumption, f"AUC {auc}, {bounds[0]} to {bounds[1]}", ", ".join(texts))


def correlation(what: str, r: str, n: int, p: str, tolerance: float = LENIENT) -> Finding:
    """Whether Pearson's r of n pairs has the printed P value.

    Raises
    ------
    AuditError
        Text that is no number, an r of 1 or more, fewer than four pairs.
    """
    printed = Printed.of(r)
    if not printed.value < 1 or n < 4:
        raise AuditError(f"{what}: found r = {r} of {n} pairs, expected r below 1 and four pairs or more")
    low, high = (min(max(value, 0.0), 1 - 1e-9) for value in printed.bounds(tolerance))
    below, limit = _p(p)
    least, greatest = _p_of_r(high, n), _p_of_r(low, n)
    lowest, highest = limit.bounds(tolerance)
    fits = least < limit.value if below else lowest <= greatest and least <= highest
    # Fisher's z transformation.
    centre, reach = np.arctanh(printed.value), norm.ppf(0.975) / np.sqrt(n - 3)
    computed = f"P = {_p_of_r(printed.value, n):.2g}, 95 % interval {np.tanh(centre - reach):.2f} to "
    assumption = f"{n} independent pairs; two-sided t test; {within(tolerance)}"
    status = REPRODUCED if fits else NOT_REPRODUCIBLE
    claim = f"r = {r}, n = {n}, P {'' if below else '= '}{p}"
    return Finding(what, status, assumption, claim, computed + f"{np.tanh(centre + reach):.2f}")


def shares(what: str, counts: Mapping[str, tuple[int, int, str]], tolerance: float = LENIENT) -> list[Finding]:
    """Whether printed percentages follow from their counts.

    Parameters
    ----------
    what : subject of the finding
    counts : by name the count, what it is a share of, and the printed percentage
    tolerance : units of the last place

    Returns
    -------
    list of Finding
        One for each that does not, and one for all that do.

    Raises
    ------
    AuditError
        Text that is no number, or a share of nothing.
    """
    findings, good = [], []
    for name, (count, whole, percent) in counts.items():
        if whole < 1:
            raise AuditError(f"{what}, {name}: found a share of {whole}, expected 1 or more")
        text = f"{name} {count}/{whole} ({percent})"
        if Printed.of(percent).fits(100 * count / whole, tolerance):
            good.append(text)
        else:
            computed = f"{100 * count / whole:.2f} %"
            findings.append(Finding(f"{what}: {name}", NOT_REPRODUCIBLE, within(tolerance), text, computed))
    if good:
        findings.append(Finding(what, REPRODUCED, within(tolerance), "; ".join(good), "the same from the counts"))
    return findings


def total(what: str, parts: Sequence[int], whole: int, assumption: str) -> Finding:
    """Whether counts add up."""
    found = f"{' + '.join(map(str, parts))} = {sum(parts)}"
    return Finding(what, REPRODUCED if sum(parts) == whole else IMPOSSIBLE, assumption, str(whole), found)


def product(what: str, each: int, times: int, whole: int, assumption: str) -> Finding:
    """Whether as many times the same count is the whole."""
    found = f"{times} × {each} = {times * each}"
    return Finding(what, REPRODUCED if times * each == whole else IMPOSSIBLE, assumption, str(whole), found)


def agreement(what: str, first: tuple[str, str], second: tuple[str, str], tolerance: float = LENIENT) -> Finding:
    """Whether two places that report the same thing agree, within the rounding of the coarser number.

    Parameters
    ----------
    what : subject of the finding
    first, second : each the place and what is printed there, a number with or without ``<``, ``>``, ``<=``, ``>=``
    tolerance : units of the last place
    """
    texts = [text for _, text in (first, second)]
    numbers = [Printed.of(text.lstrip("<>= ")) for text in texts]
    relations = [text[: len(text) - len(text.lstrip("<>= "))].strip() for text in texts]
    coarser = max(numbers, key=lambda printed: printed.unit)
    other = numbers[1] if coarser is numbers[0] else numbers[0]
    agree = relations[0] == relations[1] and bool(coarser.fits(other.value, tolerance))
    printed = f"{first[0]}: {first[1]}; {second[0]}: {second[1]}"
    computed = "the same within rounding" if agree else "not the same"
    assumption = f"both places report the same quantity; {within(tolerance)}"
    return Finding(what, REPRODUCED if agree else IMPOSSIBLE, assumption, printed, computed)


def body_mass_index(height_cm: MeanSd, weight_kg: MeanSd, bmi: MeanSd) -> Finding:
    """Whether mean and SD of BMI go with those of height and weight.

    With coefficients of variation H, W and B, B^2 = W^2 + 4 H^2 - 4 r H W gives the correlation r of height and
    weight, and the mean is weight / height^2 (1 + 3 H^2 - 2 r H W), both to the second order.

    Parameters
    ----------
    height_cm, weight_kg, bmi : printed mean and SD
    """
    (height, h), (weight, w), (index, b) = ((m.value, sd.value / m.value) for m, sd in (height_cm, weight_kg, bmi))
    r = (w**2 + 4 * h**2 - b**2) / (4 * h * w)
    mean = weight / (height / 100) ** 2 * (1 + 3 * h**2 - 2 * r * h * w)
    possible = abs(r) <= 1 and abs(mean - index) <= EXPANSION * index
    printed = ", ".join(
        f"{name} {mean.text} ± {sd.text}"
        for name, (mean, sd) in (("height", height_cm), ("weight", weight_kg), ("BMI", bmi))
    )
    assumption = f"BMI is of the same people, weight / height²; mean to {EXPANSION:.0%}"
    computed = f"mean {mean:.2f} and a correlation of height and weight of {r:.2f}"
    return Finding(
        "BMI against height and weight", REPRODUCED if possible else IMPOSSIBLE, assumption, printed, computed
    )


def _p(text: str) -> tuple[bool, Printed]:
    """Whether a P value is printed as below a limit, and the number."""
    return text.strip().startswith("<"), Printed.of(text.strip().lstrip("<= "))


def _p_of_r(r: float, n: int) -> float:
    return float(2 * t.sf(r * np.sqrt((n - 2) / (1 - r**2)), n - 2))
