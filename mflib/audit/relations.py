"""What the percentages of one fold say of each other, whatever its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mflib.audit.findings import IMPOSSIBLE, REPRODUCED, Finding
from mflib.audit.fold_table import NAMES, PERCENT, FoldTable
from mflib.audit.rounding import LENIENT, Printed, readings, within

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


def check(table: FoldTable, tolerance: float = LENIENT) -> list[Finding]:
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
