"""Printed means and SDs over folds against the printed folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mflib.audit.findings import NOT_REPRODUCIBLE, REPRODUCED, Finding
from mflib.audit.fold_table import NAMES, FoldTable, Summary
from mflib.audit.rounding import LENIENT, Printed, within

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


def check(table: FoldTable, summary: Summary, tolerance: float = LENIENT) -> list[Finding]:
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
