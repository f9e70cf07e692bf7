"""An audit of published tables: what follows from the printed numbers, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mflib.base.errors import InputError
from mflib.stats.published import confusion, relations
from mflib.stats.published.confusion import Fit
from mflib.stats.published.printed import (
    IMPOSSIBLE,
    LENIENT,
    METRICS,
    NAMES,
    REPRODUCED,
    STATUSES,
    Finding,
    FoldTable,
    Summary,
    within,
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
    tolerance: float = LENIENT,
) -> Audit:
    """Audit a printed table of fold results.

    Parameters
    ----------
    folds : as ``read_folds`` reads it
    positives, negatives : cases of the cohort that the folds divide
    segments_per_patient : cases that each patient brings; folds of whole patients are then looked for
    summary : printed mean and SD over the folds, as ``read_summary`` reads it
    tolerance : how exact a printed value is taken to be, in units of its last place

    Raises
    ------
    InputError
        Counts below one.
    """
    counts = {"positives": positives, "negatives": negatives, "segments per patient": segments_per_patient}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"found {count} {name}, expected 1 or more")
    cohort = positives, negatives
    fits, no_matrices = _fits(folds, *cohort, tolerance)
    no_sizes = "found no confusion matrices to take sizes from" if no_matrices else relations.too_large(*cohort)
    steps: dict[str, tuple[str, Callable[[], list[Finding]]]] = {
        "relations between percentages": (
            relations.uncheckable(folds),
            lambda: relations.check_relations(folds, tolerance),
        ),
        "confusion matrices": (no_matrices, lambda: [_matrix(folds, fit, *cohort, tolerance) for fit in fits]),
        "sizes of the folds": (no_sizes, lambda: relations.check_partition(fits, *cohort, segments_per_patient)),
    }
    if summary is not None:
        few = "" if len(folds.folds) > 1 else "found one fold, expected two or more"
        steps["means and SDs"] = few, lambda: relations.check_summaries(folds, summary, tolerance)
    unchecked = [f"column {name}: not one of {', '.join(METRICS)}" for name in folds.ignored]
    unchecked += [f"{what}: {obstacle}" for what, (obstacle, _) in steps.items() if obstacle]
    findings = [finding for obstacle, checks in steps.values() if not obstacle for finding in checks()]
    return Audit(findings, unchecked, fits)


def show(audit: Audit, console: Console) -> None:
    """Print an audit, its findings grouped by status."""
    for status in STATUSES:
        group = [finding for finding in audit.findings if finding.status == status]
        if group:
            console.print(_shown(f"{status} ({len(group)})", group))
    for reason in audit.unchecked:
        console.print(f"not checked: {reason}", markup=False)


def _shown(title: str, findings: Iterable[Finding]) -> Table:
    """One row for each finding: its subject, and a line for each thing to say of it."""
    table = Table(title=title, title_justify="left", show_lines=True, expand=True)
    table.add_column("what", ratio=1)
    table.add_column("printed, computed, assumed", ratio=3)
    for finding in findings:
        lines = [f"printed: {finding.printed}", f"computed: {finding.computed}", finding.detail]
        lines.append(f"assumed: {finding.assumption}")
        table.add_row(Text(finding.what), Text("\n".join(filter(None, lines))))
    return table


def _fits(folds: FoldTable, positives: int, negatives: int, tolerance: float) -> tuple[list[Fit], str]:
    """The matrices of every fold, or why there are none."""
    obstacle = confusion.unsearchable(folds.metrics)
    if obstacle:
        return [], obstacle
    try:
        return confusion.fit(folds, positives, negatives, tolerance), ""
    except InputError as error:
        return [], str(error)


def _matrix(folds: FoldTable, fit: Fit, positives: int, negatives: int, tolerance: float) -> Finding:
    """Whether whole cases give a fold's percentages."""
    printed = ", ".join(f"{NAMES[m]} {folds.folds[fit.fold][m].text}" for m in folds.metrics if m != "auc")
    parts = ["percentages are of whole cases", f"{positives} positives and {negatives} negatives at most"]
    assumption = "; ".join([*parts, within(tolerance), *filter(None, [fit.assumption])])
    what = f"fold {fit.fold}: confusion matrix"
    if fit.missed:
        detail = f"nearest {_cells(fit.chosen)}, which gives {', '.join(fit.missed)}"
        return Finding(what, IMPOSSIBLE, assumption, printed, "no matrix of any size", detail)
    others = sorted(set(fit.matrices.sum(axis=1).tolist()) - {int(fit.chosen.sum())})
    detail = f"{len(fit.matrices)} fit; other sizes {_few(others)}" if others else f"{len(fit.matrices)} fit"
    return Finding(what, REPRODUCED, assumption, printed, _cells(fit.chosen), detail)


def _cells(counts: Iterable[int]) -> str:
    cells = [int(n) for n in counts]
    return f"TP FP FN TN = {' '.join(map(str, cells))} (N = {sum(cells)})"


def _few(values: list[int], most: int = 4) -> str:
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")
