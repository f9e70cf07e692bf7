"""Single claims: what else printed next to them they need; areas, their P values and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm, t

from mflib.base.words import percent
from mflib.stats import roc
from mflib.stats.published.printed import IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED, WITHIN, Claimed, Finding, Printed
from mflib.stats.roc.power import hanley_mcneil

Pair = tuple[float, float]
INTERVALS: dict[str, Literal["wald", "logit"]] = {"symmetric": "wald", "logit": "logit"}
# Two models that are not the same one are hardly ever more alike in their errors.
HIGHEST = 0.99
# Hanley & McNeil take scores to be exponential, and a variance estimated from few cases scatters: the half-width of an
# honest interval may differ from theirs by this share.
WIDTH = 0.2
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


def area_difference(what: str, first: str, second: str, p: str, positives: int, negatives: int) -> Finding:
    """Whether a correlation from 0 to ``HIGHEST`` gives the printed P value of the difference of two areas.

    P is greatest where the two areas are uncorrelated, and falls as they are more alike in their errors. A P above the
    greatest is impossible; one that only a correlation above ``HIGHEST`` gives is not reproducible.

    Parameters
    ----------
    what : subject of the finding
    first, second : the areas as printed, one of them inside (0, 1)
    p : as printed, such as "0.032", "<0.001" or "> 0.05"
    positives, negatives : independent cases that both areas are of
    """
    claimed, cases = Claimed.of(p), (positives, negatives)
    assumption = f"{_independent(*cases)}; no negative correlation, and none above {HIGHEST}"
    areas = sorted(map(Printed.of, (first, second)), key=lambda printed: printed.value)
    low, high = (printed.value for printed in areas)
    printed = f"AUC {first} and {second}, P {claimed}"
    at_zero = float(p_of_difference(low, high, *cases, 0.0))
    computed = f"P = {at_zero:.2g} at {'any correlation' if low == high else 'correlation 0, less above'}"
    extreme, (least, greatest) = _extremes(areas, *cases)
    moved = "with areas off by up to 1 in the last place"
    if greatest < claimed.bounds()[0]:
        return Finding(what, IMPOSSIBLE, assumption, printed, computed, f"at most {greatest:.2g} {moved}")
    if claimed.meets(least, greatest):
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


def area_interval(what: str, auc: str, bounds: tuple[str, str], positives: int, negatives: int) -> Finding:
    """Whether a printed 95 % interval is that of a printed area with so many cases, its half-width to ``WIDTH``.

    Parameters
    ----------
    what : subject of the finding
    auc, bounds : as printed, the area inside (0, 1)
    positives, negatives : independent cases
    """
    assumption = f"{_independent(positives, negatives)}; 95 % interval, its half-width to {percent(WIDTH)}"
    area, ends = Printed.of(auc), [Printed.of(bound) for bound in bounds]
    printed = f"AUC {auc}, {bounds[0]} to {bounds[1]}"
    variance = float(hanley_mcneil(area.value, positives, negatives))
    exact = [(name, roc.auc_interval(area.value, variance, method=method)) for name, method in INTERVALS.items()]
    computed = ", ".join(f"{low:.3f} to {high:.3f} ({name})" for name, (low, high) in exact)
    fits = _surround(area, ends, variance)
    return Finding(what, REPRODUCED if fits else NOT_REPRODUCIBLE, assumption, printed, computed)


def _independent(positives: int, negatives: int) -> str:
    """What is assumed of the cases."""
    return f"{positives} positives and {negatives} negatives, taken as independent; Hanley & McNeil variances"


def _extremes(areas: list[Printed], positives: int, negatives: int) -> tuple[Pair, Pair]:
    """The two areas that give the least P within rounding; the least P, and the greatest."""
    bounds = [area.bounds() for area in areas]
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


def _surround(area: Printed, bounds: list[Printed], variance: float) -> bool:
    """Whether an interval of either kind about the area has these bounds, at a half-width within ``WIDTH``."""
    for method in INTERVALS.values():
        for factor in np.linspace(1 - WIDTH, 1 + WIDTH, 41):
            ends = roc.auc_interval(area.value, variance * factor**2, method=method)
            # Beyond 0 or 1 it is printed as it is, or cut.
            for exact in (ends, np.clip(ends, 0, 1)):
                pairs = zip(bounds, exact, strict=True)
                if all(bound.fits(end, 1 + area.unit / bound.unit) for bound, end in pairs):
                    return True
    return False


MeanSd = tuple[Printed, Printed]
# The expansion of BMI in height and weight leaves out terms of the third order: well below one percent.
EXPANSION = 0.01


def correlation(what: str, r: str, n: int, p: str) -> Finding:
    """Whether Pearson's r of n pairs has the printed P value.

    Parameters
    ----------
    what : subject of the finding
    r : as printed, with a minus or without, between -1 and 1
    n : pairs, four or more
    p : as printed, such as "0.032", "<0.001" or "> 0.05"
    """
    signed = r.strip().replace("−", "-")
    size, claimed = Printed.of(signed.removeprefix("-")), Claimed.of(p)
    # P is two-sided, so it is that of r without its sign.
    low, high = (min(max(value, 0.0), 1 - 1e-9) for value in size.bounds())
    fits = claimed.meets(_p_of_r(high, n), _p_of_r(low, n))
    # Fisher's z transformation.
    centre, reach = np.arctanh(float(signed)), norm.ppf(0.975) / np.sqrt(n - 3)
    lowest, highest = np.tanh(centre - reach), np.tanh(centre + reach)
    computed = f"P = {_p_of_r(size.value, n):.2g}, 95 % interval {lowest:.2f} to {highest:.2f}"
    assumption = f"{n} independent pairs; two-sided t test; {WITHIN}"
    status = REPRODUCED if fits else NOT_REPRODUCIBLE
    return Finding(what, status, assumption, f"r = {r}, n = {n}, P {claimed}", computed)


def shares(what: str, counts: Mapping[str, tuple[int, int, str]]) -> list[Finding]:
    """Whether printed percentages follow from their counts.

    Parameters
    ----------
    what : subject of the finding
    counts : by name the count, what it is a share of, and the printed percentage

    Returns
    -------
    list of Finding
        One for each that does not, and one for all that do.
    """
    findings, good = [], []
    for name, (count, whole, rate) in counts.items():
        text = f"{name} {count}/{whole} ({rate})"
        if Printed.of(rate).fits(100 * count / whole):
            good.append(text)
        else:
            computed = f"{100 * count / whole:.2f} %"
            findings.append(Finding(f"{what}: {name}", NOT_REPRODUCIBLE, WITHIN, text, computed))
    if good:
        findings.append(Finding(what, REPRODUCED, WITHIN, "; ".join(good), "the same from the counts"))
    return findings


def equal(what: str, words: str, found: int, whole: int, assumption: str) -> Finding:
    """Whether what counts give, said in words, is the whole."""
    status = REPRODUCED if found == whole else IMPOSSIBLE
    return Finding(what, status, assumption, str(whole), f"{words} = {found}")


def agreement(what: str, first: tuple[str, str], second: tuple[str, str], *, criterion: bool = False) -> Finding:
    """Whether what two places report of the same thing can both be so.

    Two numbers are to be the same within the rounding of the coarser one. A limit ("<0.05") is to leave room for the
    number or the limit of the other place.

    Parameters
    ----------
    what : subject of the finding
    first, second : each the place and what is printed there, a number with or without ``<``, ``>``, ``<=``, ``>=``
    criterion : the limit itself is what both places state, so sign and number are to be exactly the same
    """
    claims = [Claimed.of(text) for _, text in (first, second)]
    coarser, other = sorted((claimed.number for claimed in claims), key=lambda printed: -printed.unit)
    same = claims[0].relation == claims[1].relation and bool(coarser.fits(other.value, 0 if criterion else 1))
    limits = not criterion and any(claimed.relation for claimed in claims)
    agree = claims[0].compatible(claims[1]) if limits else same
    printed = f"{first[0]}: {first[1]}; {second[0]}: {second[1]}"
    computed = ("" if agree else "not ") + ("possible together" if limits else "the same")
    if agree and not limits and not criterion:
        computed += " within rounding"
    same_quantity = f"both places report the same quantity; {WITHIN}"
    assumption = "both places state the same criterion" if criterion else same_quantity
    return Finding(what, REPRODUCED if agree else IMPOSSIBLE, assumption, printed, computed)


def body_mass_index(height_cm: MeanSd, weight_kg: MeanSd, bmi: MeanSd) -> Finding:
    """Whether mean and SD of BMI go with those of height and weight.

    With coefficients of variation H, W and B, B^2 = W^2 + 4 H^2 - 4 r H W gives the correlation r of height and
    weight, and the mean is weight / height^2 (1 + 3 H^2 - 2 r H W), both to the second order.

    Parameters
    ----------
    height_cm, weight_kg, bmi : printed mean and SD
    """
    sizes = {"height": height_cm, "weight": weight_kg, "BMI": bmi}
    (height, h), (weight, w), (index, b) = ((mean.value, sd.value / mean.value) for mean, sd in sizes.values())
    r = (w**2 + 4 * h**2 - b**2) / (4 * h * w)
    mean = weight / (height / 100) ** 2 * (1 + 3 * h**2 - 2 * r * h * w)
    status = REPRODUCED if abs(r) <= 1 and abs(mean - index) <= EXPANSION * index else IMPOSSIBLE
    printed = ", ".join(f"{name} {of.text} ± {sd.text}" for name, (of, sd) in sizes.items())
    assumption = f"BMI is of the same people, weight / height²; mean to {percent(EXPANSION)}"
    computed = f"mean {mean:.2f} and a correlation of height and weight of {r:.2f}"
    return Finding("BMI against height and weight", status, assumption, printed, computed)


def _p_of_r(r: float, n: int) -> float:
    return float(2 * t.sf(r * np.sqrt((n - 2) / (1 - r**2)), n - 2))
