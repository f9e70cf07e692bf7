"""Charts that answer when touched, the same in JupyterLab and in the report: tables in, Vega-Lite out.

Each has a specification in ``_assets/charts``, whose names of models, levels and grades are filled in here, and its
tables beside it as named data. What a reader may choose, a threshold or a bin width, is computed beforehand: the numbers
in a chart are those of ``stats``, and no formula stands in a specification.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mflib.base.files import ASSETS
from mflib.base.words import GRADE_NAMES, KEY, LEVEL_NAMES, SIDE_NAMES, label, place
from mflib.show import style
from mflib.stats import performance, roc

Chart = dict[str, Any]
# JupyterLab draws this version by itself; the specifications are the same in version 6, which is the page's.
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
WIDTH = 640
_QUIET = {"labelColor": style.GREY, "titleColor": style.INK, "gridColor": "#e4e8ec", "domainColor": style.GREY,
          "tickColor": style.GREY, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}  # fmt: skip
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif",
    "view": {"stroke": None},
    "axis": _QUIET,
    "legend": {"labelColor": style.INK, "titleColor": style.INK, "labelFontSize": 12, "labelLimit": 300},
    "header": {"labelColor": style.INK, "labelFontSize": 12},
    "text": {"color": style.INK, "fontSize": 12},
    "title": {"color": style.INK, "fontSize": 12, "fontWeight": "normal", "anchor": "start"},
}
MOST = 5000  # segments that a chart shows one by one


def specification(name: str, tables: Mapping[str, pd.DataFrame], **words: Any) -> Chart:
    """A chart of ``_assets/charts``: its words filled in, its tables beside it."""
    chart: Chart = yaml.safe_load(_template(name).render(**words))
    data = {key: json.loads(table.to_json(orient="records", double_precision=6)) for key, table in tables.items()}
    return {"$schema": SCHEMA, "name": name, "config": CONFIG, "datasets": data, **chart}


@cache
def _template(name: str) -> Any:
    environment = Environment(loader=FileSystemLoader(ASSETS / "charts"), autoescape=False, undefined=StrictUndefined)
    return environment.get_template(f"{name}.yaml")


def threshold(predictions: pd.DataFrame, shown: list[str]) -> Chart:
    """Both models at any threshold: place on the ROC curve, six metrics with 95 % intervals, who is called what.

    Parameters
    ----------
    predictions : the predictions table of one split and repeat, with probabilities
    shown : the models, in this order
    """
    table = predictions[predictions["model"].isin(shown)]
    on_scale = performance.calibrated(table)
    over = performance.over_thresholds(on_scale)
    over = over.assign(cut=(100 * over["threshold"]).round(), model=over["model"].map(label))
    counts = over[over["metric"].isin(["tp", "fp", "fn", "tn"])]
    points = counts.pivot(index=["model", "cut"], columns="metric", values="value").astype(int).reset_index()
    points["tpr"] = points["tp"] / (points["tp"] + points["fn"])
    points["fpr"] = points["fp"] / (points["fp"] + points["tn"])
    rest = over[~over["metric"].isin(["tp", "fp", "fn", "tn"])]
    rest = rest.assign(
        prevalence=[_prevalence(row.metric, row.prevalence) for row in rest.itertuples()],
        text=[_interval(row.value, row.low, row.high) for row in rest.itertuples()],
        metric=rest["metric"].map(_capital),
    )
    areas = performance.fold_mean_auc(table)
    areas = pd.DataFrame(
        {
            "model": areas["model"].map(label),
            "metric": "AUC, mean of folds",
            "text": [_interval(row.mean, row.low, row.high) for row in areas.itertuples()],
        }
    )
    frozen = [_frozen(rows) | {"model": label(model)} for model, rows in table.groupby("model", sort=False)]
    columns = ["model", "cut", "metric", "prevalence", "text"]
    return specification(
        "threshold",
        {
            "curves": pd.concat([_curve(on_scale[on_scale["model"] == model], model) for model in shown]),
            "points": points,
            "metrics": pd.concat([rest, areas]).reindex(columns=columns),
            "frozen": pd.DataFrame(frozen),
        },
        **_models(shown),
        start=_start(table),
        own=OWN,
        prevalences=[OWN, *(f"{share:.0%}" for share in performance.PREVALENCES)],
        half=0,
    )


OWN = "this cohort"


def _models(shown: list[str]) -> dict[str, Any]:
    looks = [style.model_look(model, position) for position, model in enumerate(shown)]
    return {"models": [look["label"] for look in looks], "colours": [look["color"] for look in looks]}


def _capital(name: str) -> str:
    text = label(name)
    return text[:1].upper() + text[1:]


def _prevalence(metric: str, prevalence: float) -> str | None:
    """For which choice of the reader a row stands; None for every one."""
    if metric not in ("ppv", "npv"):
        return None
    return OWN if np.isnan(prevalence) else f"{prevalence:.0%}"


def _interval(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "n/a"
    return f"{value:.2f}" if np.isnan(low) else f"{value:.2f} ({low:.2f}\u2013{high:.2f})"


def _curve(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    fpr, tpr, _ = roc.curve(rows["y_true"], rows["score"])
    return pd.DataFrame({"model": label(model), "fpr": fpr, "tpr": tpr, "place": range(len(fpr))})


def _frozen(rows: pd.DataFrame) -> dict[str, Any]:
    """Where the thresholds that each fold froze on its validation part have put a model."""
    called, positive = rows["score"] >= rows["threshold"], rows["y_true"] == 1
    tpr, fpr = called[positive].mean(), called[~positive].mean()
    return {"tpr": tpr, "fpr": fpr, "told": f"sensitivity {tpr:.2f}, specificity {1 - fpr:.2f}"}


def _start(table: pd.DataFrame) -> int:
    """A threshold to begin with, in percent: the share of positives, at which calibrated models call as many."""
    return int(2 * round(50 * table["y_true"].mean()))


EVERY = "all"


def segments(predictions: pd.DataFrame, cohort: pd.DataFrame, shown: list[str]) -> Chart:
    """Out-of-fold probabilities of two models against each other, by grade; whom one picks lights up everywhere.

    Parameters
    ----------
    predictions : the predictions table of one split and repeat, with probabilities
    cohort : KEY, ``grade`` and the readers' grades of each segment
    shown : the two models
    """
    on_scale = performance.calibrated(predictions[predictions["model"].isin(shown)])
    wide = on_scale.pivot(index=KEY, columns="model", values="score")[shown].set_axis(["first", "second"], axis=1)
    table = wide.reset_index().merge(cohort, on=KEY, validate="one_to_one")
    readers = [f"grade_reader{n}" for n in (1, 2)]
    rows = _bounded(
        pd.DataFrame(
            {
                "patient": table["participant_id"],
                "level": table["level"].map(LEVEL_NAMES),
                "place": [place(row) for row in table[KEY].to_dict("records")],
                "grade": _grade(table["grade"]),
                "readers": [", ".join(GRADE_NAMES[int(g)] for g in pair if g == g) for pair in table[readers].to_numpy(float)],
                "first": table["first"].round(4),
                "second": table["second"].round(4),
            }
        )
    )
    return specification(
        "segments",
        {"segments": rows},
        **_models(shown),
        **_grades(),
        every=EVERY,
        patients=[EVERY, *sorted(rows["patient"].unique())],
        levels=[EVERY, *LEVEL_NAMES.values()],
    )


def _grade(grades: pd.Series) -> pd.Series:
    return grades.map(dict(enumerate(GRADE_NAMES)))


def _grades() -> dict[str, Any]:
    return {"grades": list(GRADE_NAMES), "shades": list(style.GRADE_COLOURS)}


def _bounded(rows: pd.DataFrame) -> pd.DataFrame:
    """Whole patients, evenly spread over the table, as many as make at most ``MOST`` rows."""
    if len(rows) <= MOST:
        return rows
    patients = rows["patient"].drop_duplicates()
    kept = patients.iloc[:: -(-len(rows) // MOST)]
    return rows[rows["patient"].isin(kept)]


def calibration(predictions: pd.DataFrame) -> Chart:
    """Observed share of infiltrated segments by predicted probability, with clustered 95 % intervals, in any groups.

    Parameters
    ----------
    predictions : of ``performance.calibrated``, one split and repeat
    """
    sizes = range(2, 11)
    curves = [performance.calibration_curve(predictions, size).assign(bins=size) for size in sizes]
    table = pd.concat(curves).dropna(subset="observed")
    shown = [model for model in performance.models(predictions) if model in set(table["model"])]
    columns = ["model", "bins", "mean_score", "observed", "low", "high", "n", "n_patients"]
    table = table[columns].assign(model=table["model"].map(label))
    return specification("calibration", {"curves": table}, **_looks(shown), sizes=list(sizes), start=5)


def _looks(shown: list[str]) -> dict[str, Any]:
    dashes = [[1, 0], [6, 3], [8, 2, 2, 2], [2, 2], [4, 1], [3, 1, 1, 1], [1, 1]]
    return _models(shown) | {"dashes": [dashes[n % len(dashes)] for n in range(len(shown))]}


def decision(curve: pd.DataFrame, name: str = "decision") -> Chart:
    """Net benefit of each model over the probability from which a segment is treated, with 95 % intervals.

    Parameters
    ----------
    curve : of ``performance.decision_curve``, one split and repeat
    name : of the chart
    """
    table = curve.dropna(subset="net_benefit")
    shown = list(dict.fromkeys(table["model"]))
    names = {model: TREATED.get(model, label(model)) for model in shown}
    looks = _looks(shown)
    looks["models"] = list(names.values())
    for model, colour in zip(TREATED, (style.GREY, style.INK), strict=True):
        if model in shown:
            looks["colours"][shown.index(model)] = colour
    rows = pd.DataFrame(
        {
            "name": table["model"].map(names),
            "cut": (100 * table["threshold"]).round(),
            **{column: table[column].round(4) for column in ("net_benefit", "low", "high")},
            "told": [_interval(row.net_benefit, row.low, row.high) for row in table.itertuples()],
        }
    )
    rows.loc[table["model"].isin(TREATED), ["low", "high"]] = np.nan
    top = max(0.05, float(table["high"].max()))
    chart = specification("decision", {"curves": rows}, **looks, top=1.08 * top, bottom=-0.3 * top, start=30)
    return chart | {"name": name}


TREATED = {"treat_all": "Treat all", "treat_none": "Treat none"}
