"""An audit of published tables of folds: what follows from the printed numbers, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy.signal import fftconvolve

from mflib.base.errors import InputError
from mflib.base.language import say
from mflib.stats.published import confusion
from mflib.stats.published.confusion import Counts, Fit
from mflib.stats.published.printed import (
    IMPOSSIBLE,
    NAMES,
    NOT_REPRODUCIBLE,
    REPRODUCED,
    STATUSES,
    WITHIN,
    Finding,
    FoldTable,
    Printed,
    Summary,
)


@dataclass(frozen=True, eq=False)
class Audit:
    """The audit of one table of folds.

    Parameters
    ----------
    findings : in the order of the checks
    unchecked : what could not be checked, and why
    fits : the confusion matrices of each fold; empty where they could not be searched
    """

    findings: list[Finding]
    unchecked: list[str]
    fits: list[Fit]

    def as_dict(self) -> dict[str, Any]:
        """Findings and what was not checked, as plain values."""
        return {"findings": [asdict(finding) for finding in self.findings], "unchecked": self.unchecked}


def examine(
    folds: FoldTable,
    positives: int,
    negatives: int,
    *,
    segments_per_patient: int | None = None,
    summary: Summary | None = None,
) -> Audit:
    """Audit a printed table of fold results.

    Parameters
    ----------
    folds : as ``read_folds`` reads it
    positives, negatives : cases of the cohort that the folds divide
    segments_per_patient : cases that each patient brings; folds of whole patients are then looked for
    summary : printed mean and SD over the folds, as ``read_summary`` reads it

    Raises
    ------
    InputError
        Counts below one.
    """
    counts = {"positives": positives, "negatives": negatives, "segments per patient": segments_per_patient}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"found {count} {name}, expected 1 or more")
    cohort, fits = (positives, negatives), []

    def matrices() -> list[Finding]:
        fits.extend(confusion.fit(folds, *cohort))
        return [_matrix(folds, fit, *cohort) for fit in fits]

    steps: dict[str, Callable[[], list[Finding]]] = {
        "relations between percentages": lambda: confusion.check_relations(folds),
        "confusion matrices": matrices,
        "sizes of the folds": lambda: check_partition(fits, *cohort, segments_per_patient),
    }
    if summary is not None:
        steps["means and SDs"] = lambda: check_summaries(folds, summary)
    findings, unchecked = (
        [],
        [*folds.notices] + [f"column {name}: not one of {', '.join(NAMES)}" for name in folds.ignored],
    )
    for what, check in steps.items():
        try:
            findings += check()
        except InputError as obstacle:
            unchecked.append(f"{what}: {obstacle}")
    return Audit(findings, unchecked, fits)


def show(audit: Audit, console: Console) -> None:
    """Print an audit, its findings grouped by status."""
    for status in STATUSES:
        group = [finding for finding in audit.findings if finding.status == status]
        if group:
            table = Table(title=f"{status} ({len(group)})", title_justify="left", show_lines=True, expand=True)
            table.add_column("what", ratio=1)
            table.add_column("printed, computed, assumed", ratio=3)
            for finding in group:
                # Each by itself, as what stands before it would be taken into its translation.
                lines = [f"printed: {say(finding.printed)}", f"computed: {say(finding.computed)}", finding.detail]
                lines.append(f"assumed: {say(finding.assumption)}")
                table.add_row(Text(finding.what), Text("\n".join(filter(None, lines))))
            console.print(table)
    for reason in audit.unchecked:
        console.print(f"not checked: {reason}", markup=False)


def _matrix(folds: FoldTable, fit: Fit, positives: int, negatives: int) -> Finding:
    """Whether whole cases give a fold's percentages."""
    printed = ", ".join(f"{NAMES[m]} {folds.folds[fit.fold][m].text}" for m in folds.metrics if m != "auc")
    parts = ["percentages are of whole cases", f"{positives} positives and {negatives} negatives at most"]
    assumption = "; ".join([*parts, WITHIN, *filter(None, [fit.assumption])])
    what = f"fold {fit.fold}: confusion matrix"
    if fit.missed:
        detail = f"nearest {_cells(fit.chosen)}, which gives {', '.join(fit.missed)}"
        return Finding(what, IMPOSSIBLE, assumption, printed, "no matrix of any size", detail)
    others = sorted(set(fit.matrices.sum(axis=1).tolist()) - {int(fit.chosen.sum())})
    listed = ", ".join(map(str, others[:4])) + (", ..." if len(others) > 4 else "")
    detail = f"{len(fit.matrices)} fit; other sizes {listed}" if others else f"{len(fit.matrices)} fit"
    return Finding(what, REPRODUCED, assumption, printed, _cells(fit.chosen), detail)


def _cells(counts: Iterable[int]) -> str:
    cells = [int(n) for n in counts]
    return f"TP FP FN TN = {' '.join(map(str, cells))} (N = {sum(cells)})"


LARGEST = 4 * 10**6  # sums of positives and negatives to keep track of
FITTING = "each fold has one of the matrices that give its percentages"
TOTAL = "fold sizes add up to the cohort"
GUESSED = "fold {fold}, which no matrix fits, is taken with the nearest, N = {size}"


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
    if not fits:
        raise InputError("found no confusion matrices to take sizes from")
    if (positives + 1) * (negatives + 1) > LARGEST:
        found = f"found {positives} positives and {negatives} negatives"
        raise InputError(f"{found}, expected a product of {LARGEST:.0e} at most")
    findings = [_total(fits, positives + negatives), _positives(fits, positives, negatives)]
    divided = all(finding.status == REPRODUCED for finding in findings)
    fitted = [fit for fit in fits if not fit.missed]
    if segments_per_patient is not None and fitted:
        findings.append(_whole_patients(fitted, segments_per_patient))
    if divided and (segments_per_patient is None or findings[-1].status == REPRODUCED):
        return findings
    return [*findings, _equal(fitted), _stratified(fitted, positives / (positives + negatives))] if fitted else findings


def sizes(fit: Fit) -> Counts:
    """Positives and negatives (k, 2) that a fold may have, each pair once."""
    tp, fp, fn, tn = fit.candidates.T
    # One number for each pair: ten times faster than unique rows.
    base = int((fp + tn).max()) + 1
    return np.stack(np.divmod(np.unique((tp + fn) * base + fp + tn), base), axis=1)


def adds_up(parts: Sequence[Counts], whole: Sequence[int]) -> bool:
    """Whether one row can be taken of each part (k, d), of whole numbers, so that they add up to the whole (d,)."""
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
    added = f"{' + '.join(map(str, parts))} = {total}"
    return added if possible else f"{added}, {abs(total - whole)} off"


def _finding(what: str, possible: bool, fits: Sequence[Fit], assumption: str, printed: str, computed: str) -> Finding:
    """A statement that holds for some choice of matrices or for none."""
    guessed = [GUESSED.format(fold=fit.fold, size=fit.chosen.sum()) for fit in fits if fit.missed]
    return Finding(what, REPRODUCED if possible else IMPOSSIBLE, "; ".join([assumption, *guessed]), printed, computed)


KINDS = ("population SD", "sample SD")
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


def recompute(table: FoldTable, summary: Summary) -> list[Recomputed]:
    """Mean and SD of every metric of the summary, from two folds or more.

    The folds are rounded too: shifts of at most d in each move the mean by at most d, and the SD by at most d for
    ddof 0 and d sqrt(n / (n - 1)) for ddof 1.
    """
    found = []
    for metric, (mean, sd) in summary.items():
        column = [row[metric] for row in table.folds.values()]
        values, unit = np.array([printed.value for printed in column]), max(printed.unit for printed in column)
        exact, sds = float(values.mean()), (float(values.std(ddof=0)), float(values.std(ddof=1)))
        shifts = unit, unit * float(np.sqrt(len(values) / (len(values) - 1)))
        population, sample = (bool(sd.fits(of, 1 + shift / sd.unit)) for of, shift in zip(sds, shifts, strict=True))
        mean_fits = bool(mean.fits(exact, 1 + unit / mean.unit))
        found.append(Recomputed(metric, mean, sd, exact, sds, mean_fits, (population, sample)))
    return found


def check_summaries(table: FoldTable, summary: Summary) -> list[Finding]:
    """Which printed means and SDs the folds give, and which kind of SD that is."""
    if len(table.folds) < 2:
        raise InputError("found one fold, expected two or more")
    recomputed, assumption = recompute(table, summary), f"{FROM_FOLDS}; {WITHIN}"
    findings = [
        Finding(f"mean {NAMES[r.metric]}", NOT_REPRODUCIBLE, assumption, r.printed_mean.text, f"{r.mean:.2f}")
        for r in recomputed
        if not r.mean_fits
    ]
    if good := {r.metric: r.printed_mean for r in recomputed if r.mean_fits}:
        what, computed = "means over the folds", "the same from the folds"
        findings.append(Finding(what, REPRODUCED, assumption, _listed(good), computed))
    for r in recomputed:
        if not any(r.sd_fits):
            computed = f"population SD {r.sds[0]:.2f}, sample SD {r.sds[1]:.2f}"
            what = f"SD of {NAMES[r.metric]}"
            findings.append(Finding(what, NOT_REPRODUCIBLE, assumption, r.printed_sd.text, computed))
    fitting = [r for r in recomputed if any(r.sd_fits)]
    return [*findings, _kind(fitting, assumption)] if fitting else findings


def _kind(fitting: list[Recomputed], assumption: str) -> Finding:
    """Which kind the reproduced SDs are; those too coarse to tell fit both."""
    kinds = [kind for n, kind in enumerate(KINDS) if all(r.sd_fits[n] for r in fitting)]
    what, printed = "kind of the SDs over the folds", _listed({r.metric: r.printed_sd for r in fitting})
    if not kinds:
        by_kind = [[NAMES[r.metric] for r in fitting if r.sd_fits[n]] for n in (0, 1)]
        computed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in zip(KINDS, by_kind, strict=True))
        return Finding(what, NOT_REPRODUCIBLE, f"all SDs are of one kind; {assumption}", printed, computed)
    computed = kinds[0] if len(kinds) == 1 else "population or sample SD, too coarse to tell"
    return Finding(what, REPRODUCED, assumption, printed, computed)


def _listed(printed: Mapping[str, Printed]) -> str:
    return ", ".join(f"{NAMES[metric]} {value.text}" for metric, value in printed.items())
