"""Whether the folds can be a partition of the cohort: sizes, classes, whole patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from mflib.audit.confusion import Fit
from mflib.audit.findings import IMPOSSIBLE, REPRODUCED, Finding

LARGEST = 4 * 10**6  # sums of positives and negatives to keep track of
FITTING = "each fold has one of the matrices that give its percentages"

TOTAL = "fold sizes add up to the cohort"

Sizes = NDArray[np.int64]


def check(fits: Sequence[Fit], positives: int, negatives: int, segments_per_patient: int | None) -> list[Finding]:
    """Every statement about fold sizes and classes that follows from the matrices.

    Each is judged over all matrices that fit, so it is called impossible only where none of them allows it. Folds that
    can be a partition are asked to be equal and stratified only where they are said to be of whole patients and cannot
    be: nobody claims else that single cases were split.

    Parameters
    ----------
    fits : matrices of each fold
    positives, negatives : of the cohort
    segments_per_patient : cases that each patient brings, where the folds may be made of whole patients
    """
    findings = [_total(fits, positives + negatives), _positives(fits, positives, negatives)]
    divided = all(finding.status == REPRODUCED for finding in findings)
    fitted = [fit for fit in fits if not fit.missed]
    if segments_per_patient is not None and fitted:
        findings.append(_whole_patients(fitted, segments_per_patient))
    if divided and (segments_per_patient is None or findings[-1].status == REPRODUCED):
        return findings
    return [*findings, _equal(fitted), _stratified(fitted, positives / (positives + negatives))] if fitted else findings


def too_large(positives: int, negatives: int) -> str:
    """Why the sums of a cohort cannot be gone through; empty where they can."""
    if (positives + 1) * (negatives + 1) <= LARGEST:
        return ""
    return f"found {positives} positives and {negatives} negatives, expected a product of {LARGEST:.0e} at most"


def sizes(fit: Fit) -> Sizes:
    """Positives and negatives (k, 2) that a fold may have, each pair once."""
    tp, fp, fn, tn = fit.candidates.T
    # One number for each pair: ten times faster than unique rows.
    base = int((fp + tn).max()) + 1
    return np.stack(np.divmod(np.unique((tp + fn) * base + fp + tn), base), axis=1)


def adds_up(parts: Sequence[Sizes], whole: Sequence[int]) -> bool:
    """Whether one row can be taken of each part so that they add up to the whole.

    Parameters
    ----------
    parts : (k, d) each, whole numbers of zero or more
    whole : (d,)
    """
    grid = tuple(np.asarray(whole) + 1)
    reached = np.zeros(grid)
    reached[(0,) * len(grid)] = 1
    for part in parts:
        allowed = np.zeros(grid)
        allowed[tuple(part[(part < grid).all(axis=1)].T)] = 1
        # Each entry counts the ways to reach a sum; more than none is all that matters, and rounding is far from 1/2.
        ways = fftconvolve(reached, allowed)[tuple(slice(n) for n in grid)]
        reached = (ways > 0.5).astype(np.float64)
    return bool(reached[tuple(whole)])


def _total(fits: Sequence[Fit], cases: int) -> Finding:
    chosen = [int(fit.chosen.sum()) for fit in fits]
    possible = adds_up([sizes(fit).sum(axis=1, keepdims=True) for fit in fits], [cases])
    assumption = f"the folds are a partition: each of the {cases} cases is tested once; {FITTING}"
    return _finding(TOTAL, possible, fits, assumption, str(cases), _sum(chosen, cases, possible))


def _positives(fits: Sequence[Fit], positives: int, negatives: int) -> Finding:
    chosen = [int(fit.chosen[[0, 2]].sum()) for fit in fits]
    possible = adds_up([sizes(fit) for fit in fits], [positives, negatives])
    assumption = f"each of the {positives} positives and {negatives} negatives is tested once; {FITTING}"
    what, computed = "positives of the folds add up to the cohort's", _sum(chosen, positives, possible)
    return _finding(what, possible, fits, assumption, str(positives), computed)


def _whole_patients(fits: Sequence[Fit], per_patient: int) -> Finding:
    broken = [f"fold {fit.fold} of {fit.chosen.sum()}" for fit in fits if (sizes(fit).sum(axis=1) % per_patient).all()]
    assumption = f"each patient brings {per_patient} cases, all of them in one fold; {FITTING}"
    computed = f"no multiple: {', '.join(broken)}" if broken else f"a multiple in each of {len(fits)} folds"
    return _finding("folds of whole patients", not broken, fits, assumption, f"multiples of {per_patient}", computed)


def _equal(fits: Sequence[Fit]) -> Finding:
    """Equal up to two cases: a stratified split makes each class equal up to one."""
    totals = [sizes(fit).sum(axis=1) for fit in fits]
    smallest = np.unique(np.concatenate(totals))
    possible = any(all(((n >= least) & (n <= least + 2)).any() for n in totals) for least in smallest)
    chosen = ", ".join(str(fit.chosen.sum()) for fit in fits)
    computed = f"equal in {len(fits)} folds" if possible else chosen
    assumption = f"single cases were split, each class evenly up to one case; {FITTING}"
    return _finding("folds of equal size", possible, fits, assumption, "sizes equal up to two cases", computed)


def _stratified(fits: Sequence[Fit], prevalence: float) -> Finding:
    """Each fold within one case of the cohort's prevalence."""
    excess = [sizes(fit)[:, 0] - prevalence * sizes(fit).sum(axis=1) for fit in fits]
    possible = all((np.abs(cases) <= 1 + 1e-9).any() for cases in excess)
    shares = [f"{100 * fit.chosen[[0, 2]].sum() / fit.chosen.sum():.1f} %" for fit in fits]
    computed = f"within one case in {len(fits)} folds" if possible else ", ".join(shares)
    assumption = f"single cases were split, stratified by class: each fold within one case; {FITTING}"
    return _finding("stratified folds", possible, fits, assumption, f"{100 * prevalence:.1f} % positives", computed)


def _sum(parts: Sequence[int], whole: int, possible: bool) -> str:
    """The sum of the chosen matrices; where others reach the whole, that they do."""
    total = sum(parts)
    if possible and total != whole:
        return f"{whole} with some of the matrices that fit"
    return f"{' + '.join(map(str, parts))} = {total}" + ("" if possible else f", {abs(total - whole)} off")


def _finding(what: str, possible: bool, fits: Sequence[Fit], assumption: str, printed: str, computed: str) -> Finding:
    """A statement that holds for some choice of matrices or for none."""
    guessed = [
        f"fold {fit.fold}, which no matrix fits, is taken with the nearest, N = {fit.chosen.sum()}"
        for fit in fits
        if fit.missed
    ]
    return Finding(what, REPRODUCED if possible else IMPOSSIBLE, "; ".join([assumption, *guessed]), printed, computed)
