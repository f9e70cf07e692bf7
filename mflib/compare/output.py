"""A comparison as text, as JSON, and as a folder of tables and figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mflib import atomic, figures, performance
from mflib.compare.tables import Comparison
from mflib.performance import LABELS, estimate, p_value

_NARROWEST = 110  # characters that the tables need; a file or a pipe has no width of its own


def as_json(comparison: Comparison) -> str:
    """Every table and notice as JSON: a table is a list of rows; what is undefined is null.

    Why stands in the row's note or in a notice. A fold's metric is null where the fold has nothing to divide by, or one
    class, and its mean is null where no fold has it; the summary counts the folds that do.
    """
    content = {
        "models": performance.models(comparison.predictions),
        "notices": comparison.notices,
        "tables": {name: _records(table) for name, table in comparison.tables.items()},
    }
    return json.dumps(content, indent=2, allow_nan=False)


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every table as CSV and every figure as SVG and PNG; the files that were written.

    Parameters
    ----------
    comparison : what to write
    folder : gets ``tables/`` and ``figures/``; files of the same names are replaced

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    written = []
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    for name, table in comparison.tables.items():
        written.append(folder / "tables" / f"{name}.csv")
        atomic.write_text(written[-1], table.to_csv(index=False))
    for name, figure in _figures(comparison):
        for suffix in (".svg", ".png"):
            written.append(folder / "figures" / f"{name}{suffix}")
            with atomic.replacing(written[-1]) as partial:
                # Without a date the same data give the same file.
                figure.savefig(partial, dpi=160, metadata={"Date": None} if suffix == ".svg" else None)
    return written


def show(comparison: Comparison, console: Console) -> None:
    """Print what a reader asks first: each model, then the differences, then what to know.

    Parameters
    ----------
    comparison : what to show
    console : where to; widened where it is too narrow for the tables
    """
    console.width = max(console.width, _NARROWEST)
    for run, _ in comparison.predictions.groupby(["split", "repeat"], sort=True):
        tables = {name: _of_run(table, run) for name, table in comparison.tables.items()}
        console.print(_models(tables, f"split by {run[0]}, repeat {run[1]}"))
        if len(tables.get("comparison", ())):
            console.print(_differences(tables["comparison"], "AUC, a minus b"))
        if len(tables.get("mcnemar", ())):
            accuracy = tables["mcnemar"].query("metric == 'accuracy'")
            console.print(_differences(accuracy, "accuracy at the frozen thresholds, a minus b"))
        for row in tables.get("several", pd.DataFrame()).itertuples():
            joint = f"chi-square {row.statistic:.2f}, df {row.df}, {p_value(row.p)}"
            console.print(
                f"test that all AUCs are equal ({row.models}), {row.method}: {joint}", markup=False, soft_wrap=True
            )
    for notice in [*comparison.notices, *_notes(comparison)]:
        console.print(f"notice: {notice}", markup=False, soft_wrap=True)


def _models(tables: dict[str, pd.DataFrame], title: str) -> Table:
    shown = Table("model", "AUC, pooled", "AUC, mean of folds", "sensitivity", "specificity", title=title)
    summary, means = tables["summary"].set_index(["model", "metric"]), tables["fold_mean_auc"].set_index("model")
    for model in performance.models(tables["fold_mean_auc"]):
        pooled = [
            estimate(summary.loc[(model, metric)], "pooled", ".3f") for metric in ("auc", "sensitivity", "specificity")
        ]
        shown.add_row(_name(model), pooled[0], estimate(means.loc[model], "mean", ".3f"), *pooled[1:])
    shown.caption = "[95 % interval with patients as clusters]; sensitivity and specificity at the frozen thresholds"
    return shown


def _differences(rows: pd.DataFrame, title: str) -> Table:
    shown = Table("a", "b", "method", "difference", "P", title=title)
    for row in rows.to_dict("records"):
        names = (_name(row["model_a"]), _name(row["model_b"]))
        shown.add_row(*names, row["method"], estimate(row, "difference", "+.3f"), p_value(row["p"]))
    return shown


def _figures(comparison: Comparison) -> Iterator[tuple[str, Figure]]:
    for run, rows in comparison.predictions.groupby(["split", "repeat"], sort=True):
        tables = {name: _of_run(table, run) for name, table in comparison.tables.items()}
        end = f"{run[0]}_{run[1]}"
        yield f"roc_{end}", figures.roc_curves(rows, performance.models(rows))
        yield f"subgroups_{end}", figures.subgroup_forest(tables["subgroups"])
        if tables["calibration_curve"]["observed"].notna().any():
            yield f"calibration_{end}", figures.calibration_curves(tables["calibration_curve"])
            yield f"decision_{end}", figures.decision_curves(tables["decision_curve"])


def _notes(comparison: Comparison) -> list[str]:
    """What is said of numbers in the tables that are shown, once for all numbers that it is said of."""
    found: dict[str, list[str]] = {}
    for name in ("summary", "fold_mean_auc", "mcnemar", "calibration"):
        table = comparison.tables.get(name, pd.DataFrame(columns=["note"]))
        for row in table[table["note"] != ""].to_dict("records"):
            models = row.get("model") or f"{row['model_a']} and {row['model_b']}"
            said = f"split by {row['split']}, repeat {row['repeat']}: {models}: {row['note']}"
            found.setdefault(said, []).append(row.get("metric") or row.get("quantity") or "mean of folds")
    return [f"{said} ({', '.join(dict.fromkeys(parts))})" for said, parts in found.items()]


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    """Rows with None in place of what is undefined."""
    finite = table.replace([np.inf, -np.inf], np.nan).astype(object)
    return finite.where(finite.notna(), None).to_dict("records")


def _of_run(table: pd.DataFrame, run: tuple[str, int]) -> pd.DataFrame:
    return table[(table["split"] == run[0]) & (table["repeat"] == run[1])]


def _name(model: str) -> str:
    return escape(LABELS.get(model, model))
