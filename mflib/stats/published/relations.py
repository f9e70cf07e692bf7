"""What the numbers of folds say of each other, and whether the folds can be a partition of the cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from mflib.stats.published.confusion import Fit
from mflib.stats.published.printed import (
    IMPOSSIBLE,
    LENIENT,
    NAMES,
    NOT_REPRODUCIBLE,
    PERCENT,
    REPRODUCED,
    Finding,
    FoldTable,
    Printed,
    Summary,
    readings,
    within,
)

Row = Mapping[str, Printed]
Bounds = tuple[float, float]
RATES = ("sensitivity_pct", "specificity_pct")
ONE_TABLE = "all percentages of a fold come from one confusion matrix"
ON_THE_CURVE = "sensitivity and specificity are a point of the ROC curve of the same cases"


@dataclass(frozen=True)
class Implied:
    """The prevalences that the percentages of a fold imply.

    Parameters
    ----------
    bounds : of ``prevalences``
    assumption : how the percentages were read, empty for as printed
    """

    bounds: Mapping[str, Bounds]
    assumption: str

    @property
    def agree(self) -> bool:
        """Whether one prevalence is within all bounds."""
        return max(low for low, _ in self.bounds.values()) <= min(high for _, high in self.bounds.values())


def uncheckable(table: FoldTable) -> str:
    """Why nothing here can be checked with the table's metrics; empty where something can."""
    if set(RATES) <= set(table.metrics):
        return ""
    found = ", ".join(NAMES[metric] for metric in table.metrics)
    return f"found {found}; expected sensitivity and specificity"


def check_relations(table: FoldTable, tolerance: float = LENIENT) -> list[Finding]:
    """Whether accuracy, PPV and NPV follow from sensitivity, specificity and one prevalence; AUCs against the point.

    Parameters
    ----------
    table : with sensitivity and specificity
    tolerance : units of the last place
    """
    others = [name for name in ("accuracy_pct", "ppv_pct", "npv_pct") if name in table.metrics]
    findings = _one_prevalence(table, others, tolerance) if others else []
    return findings + (_auc_bounds(table, tolerance) if "auc" in table.metrics else [])


def prevalences(row: Row, tolerance: float = LENIENT) -> dict[str, Bounds]:
    """The prevalences that accuracy, PPV and NPV each imply, given sensitivity and specificity.

    Returns
    -------
    dict
        By metric the least and the greatest prevalence; the least is above the greatest where none does.
    """
    se, sp = (_share(row[name], tolerance) for name in RATES)
    found = {}
    if "accuracy_pct" in row:
        found["accuracy_pct"] = _by_accuracy(_share(row["accuracy_pct"], tolerance), se, sp)
    if "ppv_pct" in row:
        found["ppv_pct"] = _by_predictive_value(_share(row["ppv_pct"], tolerance), se, sp)
    if "npv_pct" in row:
        # NPV is the PPV of the other class.
        low, high = _by_predictive_value(_share(row["npv_pct"], tolerance), sp, se)
        found["npv_pct"] = 1 - high, 1 - low
    return found


def implied(row: Row, tolerance: float = LENIENT) -> Implied:
    """What the strictest reading says in which one prevalence fits all; as printed where there is none."""
    for assumption, reading in readings({name: row[name] for name in PERCENT if name in row}):
        found = Implied(prevalences(reading, tolerance), assumption)
        if found.agree:
            return found
    return Implied(prevalences(row, tolerance), "")


def auc_bounds(row: Row, tolerance: float = LENIENT) -> Bounds:
    """Least and greatest area under an ROC curve that goes through the fold's sensitivity and specificity.

    A curve never falls, so below it lies the rectangle to the right of the point, and above it that to the left.
    """
    (se_low, se_high), (sp_low, sp_high) = (_share(row[name], tolerance) for name in RATES)
    return se_low * sp_low, 1 - (1 - se_high) * (1 - sp_high)


def _one_prevalence(table: FoldTable, others: Sequence[str], tolerance: float) -> list[Finding]:
    names = ", ".join(NAMES[name] for name in others)
    what = f"{names} from sensitivity and specificity"
    findings, agreeing = [], []
    for fold, row in table.folds.items():
        found = implied(row, tolerance)
        if found.agree:
            agreeing.append(f"fold {fold}: {found.assumption}" if found.assumption else "")
            continue
        texts = [f"{NAMES[name]} {_prevalence_text(bounds)}" for name, bounds in found.bounds.items()]
        printed = ", ".join(f"{NAMES[name]} {row[name].text}" for name in (*RATES, *others))
        computed = f"prevalence by {', by '.join(texts)}"
        assumption = f"{ONE_TABLE}; {within(tolerance)}"
        findings.append(Finding(f"fold {fold}: {what}", IMPOSSIBLE, assumption, printed, computed))
    if agreeing:
        printed = f"{len(agreeing)} of {len(table.folds)} folds"
        assumption = "; ".join([ONE_TABLE, within(tolerance), *filter(None, agreeing)])
        findings.append(Finding(what, REPRODUCED, assumption, printed, "one prevalence in each of these folds"))
    return findings


def _auc_bounds(table: FoldTable, tolerance: float) -> list[Finding]:
    findings, inside = [], 0
    what, assumption = "AUC against sensitivity and specificity", f"{ON_THE_CURVE}; {within(tolerance)}"
    for fold, row in table.folds.items():
        low, high = auc_bounds(row, tolerance)
        least, greatest = row["auc"].bounds(tolerance)
        if greatest < low or least > high:
            printed = f"AUC {row['auc'].text}, sensitivity {row[RATES[0]].text}, specificity {row[RATES[1]].text}"
            computed = f"AUC from {low:.2f} to {high:.2f}"
            findings.append(Finding(f"fold {fold}: {what}", IMPOSSIBLE, assumption, printed, computed))
        else:
            inside += 1
    if inside:
        printed = f"{inside} of {len(table.folds)} folds"
        findings.append(Finding(what, REPRODUCED, assumption, printed, "an AUC between the bounds of its point"))
    return findings


def _share(printed: Printed, tolerance: float) -> Bounds:
    low, high = printed.bounds(tolerance)
    return max(low / 100, 0.0), min(high / 100, 1.0)


def _by_accuracy(accuracy: Bounds, se: Bounds, sp: Bounds) -> Bounds:
    """Prevalences p in [0, 1] for which p se + (1 - p) sp can be the accuracy."""
    low, high = _where_at_most(sp[0], se[0], accuracy[1])
    other_low, other_high = _where_at_most(-sp[1], -se[1], -accuracy[0])
    return max(low, other_low), min(high, other_high)


def _where_at_most(at_zero: float, at_one: float, limit: float) -> Bounds:
    """Where in [0, 1] the line from ``at_zero`` to ``at_one`` is at most ``limit``; (1, 0) where nowhere."""
    if max(at_zero, at_one) <= limit:
        return 0.0, 1.0
    if min(at_zero, at_one) > limit:
        return 1.0, 0.0
    crossing = (limit - at_zero) / (at_one - at_zero)
    return (0.0, crossing) if at_zero <= limit else (crossing, 1.0)


def _by_predictive_value(ppv: Bounds, se: Bounds, sp: Bounds) -> Bounds:
    """Prevalences for which the predictive value can be had; it rises with prevalence, sensitivity and specificity."""
    return _prevalence(ppv[0], se[1], sp[1], 0.0), _prevalence(ppv[1], se[0], sp[0], 1.0)


def _prevalence(ppv: float, se: float, sp: float, undefined: float) -> float:
    """Bayes' rule turned round; ``undefined`` where any prevalence has this predictive value."""
    positive, negative = ppv * (1 - sp), (1 - ppv) * se
    return positive / (positive + negative) if positive + negative > 0 else undefined


def _prevalence_text(bounds: Bounds) -> str:
    low, high = bounds
    if low > high:
        return "none from 0 to 1"
    return f"{np.mean(bounds):.3f}" if high - low < 0.002 else f"{low:.3f} to {high:.3f}"


LARGEST = 4 * 10**6  # sums of positives and negatives to keep track of
FITTING = "each fold has one of the matrices that give its percentages"
TOTAL = "fold sizes add up to the cohort"
Sizes = NDArray[np.int64]


def check_partition(
    fits: Sequence[Fit], positives: int, negatives: int, segments_per_patient: int | None
) -> list[Finding]:
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


KINDS = ("population SD (ddof 0)", "sample SD (ddof 1)")
FROM_FOLDS = "mean and SD are over the folds of the table, which are printed in full"


@dataclass(frozen=True)
class Recomputed:
    """Mean and SD of one metric over the folds.

    Parameters
    ----------
    metric : its column
    printed_mean, printed_sd : as the summary has them
    mean, sds : recomputed; the population and the sample SD
    mean_fits, sd_fits : whether the printed value can stand for each, with every fold's own rounding
    """

    metric: str
    printed_mean: Printed
    printed_sd: Printed
    mean: float
    sds: tuple[float, float]
    mean_fits: bool
    sd_fits: tuple[bool, bool]


def recompute(table: FoldTable, summary: Summary, tolerance: float = LENIENT) -> list[Recomputed]:
    """Mean and SD of every metric of the summary, from two folds or more.

    The folds are rounded too: shifts of at most d in each move the mean by at most d, and the SD by at most d for
    ddof 0 and d sqrt(n / (n - 1)) for ddof 1.
    """
    found = []
    for metric, (mean, sd) in summary.items():
        values = np.array([printed.value for printed in table.column(metric)])
        shift = tolerance * max(printed.unit for printed in table.column(metric))
        sds = float(values.std(ddof=0)), float(values.std(ddof=1))
        inflation = np.sqrt(len(values) / (len(values) - 1))
        fits = tuple(
            _fits(sd, exact, shift * factor, tolerance) for exact, factor in zip(sds, (1.0, inflation), strict=True)
        )
        mean_fits = _fits(mean, float(values.mean()), shift, tolerance)
        found.append(Recomputed(metric, mean, sd, float(values.mean()), sds, mean_fits, (fits[0], fits[1])))
    return found


def check_summaries(table: FoldTable, summary: Summary, tolerance: float = LENIENT) -> list[Finding]:
    """Which printed means and SDs the folds give, and which kind of SD that is."""
    recomputed = recompute(table, summary, tolerance)
    assumption = f"{FROM_FOLDS}; {within(tolerance)}"
    findings = [
        Finding(f"mean {NAMES[r.metric]}", NOT_REPRODUCIBLE, assumption, r.printed_mean.text, f"{r.mean:.2f}")
        for r in recomputed
        if not r.mean_fits
    ]
    good = [r for r in recomputed if r.mean_fits]
    if good:
        findings.append(
            Finding("means over the folds", REPRODUCED, assumption, _listed(good, "mean"), "the same from the folds")
        )
    findings += [
        Finding(f"SD of {NAMES[r.metric]}", NOT_REPRODUCIBLE, assumption, r.printed_sd.text, _both(r))
        for r in recomputed
        if not any(r.sd_fits)
    ]
    fitting = [r for r in recomputed if any(r.sd_fits)]
    return [*findings, _kind(fitting, assumption)] if fitting else findings


def _kind(fitting: list[Recomputed], assumption: str) -> Finding:
    """Which kind the reproduced SDs are; those too coarse to tell fit both."""
    kinds = [kind for n, kind in enumerate(KINDS) if all(r.sd_fits[n] for r in fitting)]
    what, printed = "kind of the SDs over the folds", _listed(fitting, "sd")
    if not kinds:
        by_kind = [[NAMES[r.metric] for r in fitting if r.sd_fits[n]] for n in (0, 1)]
        computed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in zip(KINDS, by_kind, strict=True))
        return Finding(what, NOT_REPRODUCIBLE, f"all SDs are of one kind; {assumption}", printed, computed)
    computed = kinds[0] if len(kinds) == 1 else "population or sample SD, too coarse to tell"
    return Finding(what, REPRODUCED, assumption, printed, computed)


def _fits(printed: Printed, exact: float, shift: float, tolerance: float) -> bool:
    return bool(printed.fits(exact, tolerance + shift / printed.unit))


def _both(r: Recomputed) -> str:
    return f"{r.sds[0]:.2f} with ddof 0, {r.sds[1]:.2f} with ddof 1"


def _listed(recomputed: list[Recomputed], value: str) -> str:
    texts = [(NAMES[r.metric], r.printed_mean.text if value == "mean" else r.printed_sd.text) for r in recomputed]
    return ", ".join(f"{name} {text}" for name, text in texts)
