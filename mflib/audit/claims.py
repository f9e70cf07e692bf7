"""Single claims: what else printed next to them they need, and whether it is so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm, t

from mflib.audit.findings import IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED, AuditError, Finding
from mflib.audit.rounding import LENIENT, Claimed, Printed, within

MeanSd = tuple[Printed, Printed]
# The expansion of BMI in height and weight leaves out terms of the third order: well below one percent.
EXPANSION = 0.01


def correlation(what: str, r: str, n: int, p: str, tolerance: float = LENIENT) -> Finding:
    """Whether Pearson's r of n pairs has the printed P value.

    Parameters
    ----------
    what : subject of the finding
    r : as printed, with a minus or without
    n : pairs
    p : as printed, such as "0.032", "<0.001" or "> 0.05"
    tolerance : units of the last place, in r and in P

    Raises
    ------
    AuditError
        Text that is no number, an r of 1 or -1 or beyond, fewer than four pairs.
    """
    signed = r.strip().replace("−", "-")
    size, claimed = Printed.of(signed.removeprefix("-")), Claimed.of(p)
    if size.value >= 1 or n < 4:
        raise AuditError(f"{what}: found r = {r} of {n} pairs, expected r between -1 and 1 and four pairs or more")
    # P is two-sided, so it is that of r without its sign.
    low, high = (min(max(value, 0.0), 1 - 1e-9) for value in size.bounds(tolerance))
    fits = claimed.meets(_p_of_r(high, n), _p_of_r(low, n), tolerance)
    # Fisher's z transformation.
    centre, reach = np.arctanh(float(signed)), norm.ppf(0.975) / np.sqrt(n - 3)
    computed = f"P = {_p_of_r(size.value, n):.2g}, 95 % interval {np.tanh(centre - reach):.2f} to "
    assumption = f"{n} independent pairs; two-sided t test; {within(tolerance)}"
    status = REPRODUCED if fits else NOT_REPRODUCIBLE
    claim = f"r = {r}, n = {n}, P {claimed}"
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


def agreement(
    what: str, first: tuple[str, str], second: tuple[str, str], tolerance: float = LENIENT, *, criterion: bool = False
) -> Finding:
    """Whether what two places report of the same thing can both be so.

    Two numbers are to be the same within the rounding of the coarser one. A limit ("<0.05") is to leave room for the
    number or the limit of the other place.

    Parameters
    ----------
    what : subject of the finding
    first, second : each the place and what is printed there, a number with or without ``<``, ``>``, ``<=``, ``>=``
    tolerance : units of the last place
    criterion : the limit itself is what both places state, so sign and number are to be exactly the same

    Raises
    ------
    AuditError
        Text that is no number.
    """
    claims = [Claimed.of(text) for _, text in (first, second)]
    coarser, other = sorted((claimed.number for claimed in claims), key=lambda printed: -printed.unit)
    same = claims[0].relation == claims[1].relation and bool(coarser.fits(other.value, 0 if criterion else tolerance))
    limits = not criterion and any(claimed.relation for claimed in claims)
    agree = claims[0].compatible(claims[1], tolerance) if limits else same
    printed = f"{first[0]}: {first[1]}; {second[0]}: {second[1]}"
    computed = ("" if agree else "not ") + ("possible together" if limits else "the same")
    if agree and not limits and not criterion:
        computed += " within rounding"
    same_quantity = f"both places report the same quantity; {within(tolerance)}"
    assumption = "both places state the same criterion" if criterion else same_quantity
    return Finding(what, REPRODUCED if agree else IMPOSSIBLE, assumption, printed, computed)


def body_mass_index(height_cm: MeanSd, weight_kg: MeanSd, bmi: MeanSd) -> Finding:
    """Whether mean and SD of BMI go with those of height and weight.

    With coefficients of variation H, W and B, B^2 = W^2 + 4 H^2 - 4 r H W gives the correlation r of height and
    weight, and the mean is weight / height^2 (1 + 3 H^2 - 2 r H W), both to the second order.

    Parameters
    ----------
    height_cm, weight_kg, bmi : printed mean and SD

    Raises
    ------
    AuditError
        A mean or an SD of 0.
    """
    for name, (mean_of, sd_of) in (("height", height_cm), ("weight", weight_kg), ("BMI", bmi)):
        if not mean_of.value * sd_of.value > 0:
            raise AuditError(f"{name}: found {mean_of.text} ± {sd_of.text}, expected a mean and an SD above 0")
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


def _p_of_r(r: float, n: int) -> float:
    return float(2 * t.sf(r * np.sqrt((n - 2) / (1 - r**2)), n - 2))
