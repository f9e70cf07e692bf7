"""Anybody's predictions: read, refused with every fault, compared, and told as text, JSON, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mflib.base import files, vocabulary
from mflib.base import tables as texts
from mflib.base.errors import FileError, InputError
from mflib.base.words import KEY, label
from mflib.data.cohort_tables import key_of
from mflib.show import charts, figures
from mflib.show.shown import save, save_chart
from mflib.stats import performance
from mflib.stats.performance.predictions import COLUMNS, PROBABILITY, RUN, check_same_segments, faults, listed, runs


def read(paths: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """One valid predictions table from one or more files, and what was understood otherwise than it is written.

    Parameters
    ----------
    paths : tables as ``base.tables`` reads them, with ``predictions.COLUMNS`` in the header line and, if a model
        has it, ``probability``; other columns are left out. No text stands for a missing value, so a model may be
        called NA

    Raises
    ------
    InputError
        A file that is missing, unreadable or empty, lacks columns, has lines of unequal length or holds faulty values,
        each with its line; a model, split and repeat in two files; one with one class only; segments that not every
        model of a split and repeat scored, or that carry different labels, with the file of each model.
    """
    tables: dict[Path, pd.DataFrame] = {}
    notices: list[str] = []
    for path in paths:
        tables[path], said = read_one(path)
        notices += [f"{path.name}: {notice}" for notice in said]
    joined = pd.concat(tables, names=["file"])
    for run, rows in joined.groupby(RUN):
        first, *further = rows.index.unique("file")
        if further:
            found = dict(zip(RUN, run, strict=True))
            raise InputError(f"{further[0]}: found {found}, which {first} holds too, expected each in one file")
    for _, rows in joined.groupby(["split", "repeat"]):
        try:
            check_same_segments(rows)
        except InputError as error:
            models = rows.groupby("file", sort=False)["model"].unique()
            sources = "; ".join(f"{', '.join(of_file)} from {file}" for file, of_file in models.items())
            raise InputError(f"{error} ({sources})") from error
    return joined.reset_index(drop=True), notices


def read_one(path: Path) -> tuple[pd.DataFrame, Sequence[str]]:
    """The valid predictions table of one file, and what was understood otherwise than it is written; see `read`."""
    lines, notices = _lines(path)
    found = faults(lines, [f"{path}, line {line}" for line in lines.index])
    if found:
        raise InputError(listed(found))
    table = performance.validate(lines)
    for run, rows in runs(table):
        if rows["y_true"].nunique() < 2:
            found_class = f"the label {rows['y_true'].iloc[0]} only in {len(rows)} rows"
            raise InputError(f"{path}: found {found_class} of {run}, expected positives (1) and negatives (0)")
    return table, notices


def _lines(path: Path) -> tuple[pd.DataFrame, Sequence[str]]:
    """The rows of a file, indexed by line, its keys and numbers as they are written here; blank ones are left out."""
    try:
        found = texts.read(path, [*COLUMNS, PROBABILITY])
        found.check_columns(COLUMNS)
        rows = found.records()
    except FileError as error:
        raise InputError(f"{path}: {error}") from error
    if not rows:
        raise InputError(f"{path}: found a header and no rows, expected a row per segment and model")
    for line, cells in found.rows.items():
        if stray := [cell for cell in cells if cell.startswith('"') and cell.count('"') % 2]:
            raise InputError(f"{path}, line {line}: found {stray[0]!r}, expected quotes in pairs")
    table = pd.DataFrame.from_dict(rows, orient="index", dtype=object)
    table[KEY] = [key_of(row) for row in table[KEY].to_dict("records")]
    for column in ("repeat", "fold", "y_true", "score", "threshold", PROBABILITY):
        if column in table and pd.to_numeric(table[column], errors="coerce").isna().any():
            numbers, _ = vocabulary.numbers(table[column], pd.Series.notna, "")
            table[column] = numbers.astype(object).fillna(table[column])
    return table, found.notices


NO_VARIANCE = "P undefined: their AUCs differ, the difference has no variance"
FEW_PATIENTS = 20
FEW_IN_FOLD = 5  # in 10 folds of 46 patients with both labels, intervals of 95 % covered 0.90 (see roc.fold_mean)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Anybody's predictions, read in every way that ``performance`` knows.

    Parameters
    ----------
    predictions : as ``performance.validate`` gives them
    tables : by name, each as the function of that name in ``performance`` gives it; those of differences are left out
        where there is one model only
    notices : what a reader should know
    """

    predictions: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    notices: list[str]


def run(predictions: pd.DataFrame, said: Sequence[str] = ()) -> Comparison:
    """Read predictions in every way, as ``read`` gives them; each split and repeat by itself."""
    on_scale = performance.calibrated(predictions)
    tables = {
        "summary": performance.summary(predictions),
        "metrics_per_fold": performance.metrics_per_fold(predictions),
        "fold_mean_auc": performance.fold_mean_auc(predictions),
        "predictive_values": performance.predictive_values(predictions),
        "operating_points": performance.operating_points(predictions),
        "calibration": performance.calibration(on_scale),
        "calibration_curve": performance.calibration_curve(on_scale),
        "decision_curve": performance.decision_curve(on_scale),
        "subgroups": performance.subgroups(predictions),
        "mistakes": performance.mistakes(predictions),
    }
    differences, untested = _differences(predictions)
    parts = predictions.groupby(["split", "repeat"])
    notices = [f"{_where(*run)}: {notice}" for run, rows in parts for notice in _notices(rows)]
    return Comparison(predictions, tables | differences, [*said, *notices, *untested])


def _differences(table: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The tables of differences, and why there are none."""
    found: dict[str, list[pd.DataFrame]] = {"comparison": [], "metric_differences": [], "several": []}
    reasons = []
    for run, rows in table.groupby(["split", "repeat"]):
        where, pairs = _where(*run), list(combinations(performance.models(rows), 2))
        if not pairs:
            reasons.append(f"{where}: found one model, so there are no differences between models")
            continue
        found["metric_differences"] += [performance.metric_differences(rows, *pair) for pair in pairs]
        for areas in (performance.comparison(rows, *pair) for pair in pairs):
            untestable = areas["p"].isna() & areas["difference"].notna()
            found["comparison"].append(areas.assign(note=areas["note"].mask(untestable, NO_VARIANCE)))
        try:
            found["several"].append(performance.several(rows))
        except InputError as error:
            reasons.append(f"{where}: no joint test of the AUCs: {error}")
        if len(pairs) > 1:
            reasons.append(f"{where}: {len(pairs)} pairs are tested, P values are not adjusted; the joint test is one")
    return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items() if parts}, reasons


def _notices(rows: pd.DataFrame) -> Iterator[str]:
    """What a reader should know of the patients and folds of one split and repeat."""
    patients, folds = rows["participant_id"].nunique(), rows.groupby("model")["fold"].nunique().max()
    if patients < FEW_PATIENTS:
        yield f"found {patients} patients; below {FEW_PATIENTS} the clustered intervals are too narrow"
    if rows["split"].iloc[0] == "segment":
        yield "folds by segment: patients train and test, so these numbers are optimistic"
        return
    mixed = int((rows.groupby("participant_id")["y_true"].nunique() > 1).sum())
    if mixed > patients / 2 and patients < FEW_IN_FOLD * folds:
        found = f"found {patients} patients in {folds} folds, {mixed} of them with both labels"
        yield f"{found}; below {FEW_IN_FOLD} a fold the interval of the AUC's mean of folds is too narrow"
    for model, of_model in rows.groupby("model"):
        several = (of_model.groupby("participant_id")["fold"].nunique() > 1).sum()
        if several:
            yield f"{model} has {several} patients in several folds, so it was not split by patient"


def _where(split: str, repeat: int) -> str:
    return f"split by {split}, repeat {repeat}"


JOINT = "test that all AUCs are equal ({models}), {method}: chi-square {statistic:.2f}, df {df}, {p}"
_NARROWEST = 110  # characters that the tables need; a file or a pipe has no width of its own


def as_json(comparison: Comparison) -> str:
    """Every table and notice as JSON: a table is a list of rows; what is undefined is null.

    Why stands in the row's note or in a notice. A fold's metric is null where the fold has nothing to divide by, or one
    class, and its mean is null where no fold has it; the summary counts the folds that do.
    """
    tables = {name: _records(table) for name, table in comparison.tables.items()}
    content = {"models": performance.models(comparison.predictions), "notices": comparison.notices, "tables": tables}
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
    written = [folder / "tables" / f"{name}.csv" for name in comparison.tables]
    for path, table in zip(written, comparison.tables.values(), strict=True):
        files.write_text(path, table.to_csv(index=False))
    for name, figure in _figures(comparison):
        written += save(figure, folder / "figures", name)
    for chart in _charts(comparison):
        written += save_chart(chart, folder / "figures")
    return written


def show(comparison: Comparison, console: Console) -> None:
    """Print what a reader asks first: each model, then the differences, then what to know.

    Parameters
    ----------
    comparison : what to show
    console : where to; widened where it is too narrow for the tables
    """
    console.width = max(console.width, _NARROWEST)
    for run, _, tables in _runs(comparison):
        console.print(_models(tables, _where(*run)))
        if len(tables.get("comparison", ())):
            console.print(_told_differences(tables["comparison"], "AUC, a minus b"))
            accuracy = tables["metric_differences"].query("metric == 'accuracy'")
            console.print(_told_differences(accuracy, "accuracy at the frozen thresholds, a minus b"))
        for row in tables.get("several", pd.DataFrame()).to_dict("records"):
            joint = JOINT.format(**row | {"p": performance.p_value(row["p"])})
            console.print(joint, markup=False, soft_wrap=True)
    for notice in [*comparison.notices, *_notes(comparison)]:
        console.print(f"notice: {notice}", markup=False, soft_wrap=True)


def _models(tables: dict[str, pd.DataFrame], title: str) -> Table:
    shown = Table("model", "AUC, mean of folds", "AUC, pooled", "sensitivity", "specificity", title=title)
    summary, means = tables["summary"].set_index(["model", "metric"]), tables["fold_mean_auc"].set_index("model")
    for model in performance.models(tables["fold_mean_auc"]):
        rows = (summary.loc[(model, metric)] for metric in ("auc", "sensitivity", "specificity"))
        pooled = [performance.estimate(row, "pooled", ".3f") for row in rows]
        shown.add_row(_name(model), performance.estimate(means.loc[model], "mean", ".3f"), *pooled)
    shown.caption = "[95 % interval with patients as clusters]; sensitivity and specificity at the frozen thresholds"
    return shown


def _told_differences(rows: pd.DataFrame, title: str) -> Table:
    shown = Table("a", "b", "method", "difference", "P, unadjusted", title=title)
    for row in rows.to_dict("records"):
        names, p = (_name(row["model_a"]), _name(row["model_b"])), performance.p_value(row["p"])
        shown.add_row(*names, row["method"], performance.estimate(row, "difference", "+.3f"), p)
    return shown


def _figures(comparison: Comparison) -> Iterator[tuple[str, Figure]]:
    for (split, repeat), rows, tables in _runs(comparison):
        end = f"{split}_{repeat}"
        yield f"roc_{end}", figures.roc_curves(rows, performance.models(rows))
        yield f"subgroups_{end}", figures.subgroup_forest(tables["subgroups"])


def _charts(comparison: Comparison) -> Iterator[charts.Chart]:
    """As pictures; those of a report answer when touched."""
    for (split, repeat), rows, tables in _runs(comparison):
        if tables["calibration_curve"]["observed"].notna().any():
            yield charts.calibration(performance.calibrated(rows)) | {"name": f"calibration_{split}_{repeat}"}
            yield charts.decision(tables["decision_curve"], f"decision_{split}_{repeat}")


def _notes(comparison: Comparison) -> list[str]:
    """What is said of numbers in the tables that are shown, once for all numbers that it is said of."""
    found: dict[str, list[str]] = {}
    for name in ("summary", "fold_mean_auc", "comparison", "metric_differences", "calibration"):
        table = comparison.tables.get(name, pd.DataFrame(columns=["note"]))
        for row in table[table["note"] != ""].to_dict("records"):
            models = row.get("model") or f"{row['model_a']} and {row['model_b']}"
            said = f"{_where(row['split'], row['repeat'])}: {models}: {row['note']}"
            found.setdefault(said, []).append(
                row.get("metric") or row.get("quantity") or row.get("method") or "mean of folds"
            )
    return [f"{said} ({', '.join(dict.fromkeys(parts))})" for said, parts in found.items()]


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    """Rows with None in place of what is undefined."""
    finite = table.replace([np.inf, -np.inf], np.nan).astype(object)
    return finite.where(finite.notna(), None).to_dict("records")


def _runs(comparison: Comparison) -> Iterator[tuple[tuple[str, int], pd.DataFrame, dict[str, pd.DataFrame]]]:
    """Split and repeat, predictions and tables of each."""
    for run, rows in comparison.predictions.groupby(["split", "repeat"], sort=True):
        tables = comparison.tables.items()
        yield run, rows, {name: t[(t["split"] == run[0]) & (t["repeat"] == run[1])] for name, t in tables}


def _name(model: str) -> str:
    return escape(label(model))
