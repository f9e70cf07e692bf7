"""Charts that answer when touched, the same in JupyterLab and in the report: tables in, Vega-Lite out.

Each has a specification in ``_assets/charts``, whose names of models, levels and grades are filled in here, and its
tables beside it as named data. What a reader may choose, a threshold or a number of groups, is computed beforehand: the
numbers in a chart are those of ``stats``, and no formula stands in a specification.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from mflib.base import words
from mflib.base.files import ASSETS
from mflib.base.words import GRADE_NAMES, KEY, LEVEL_NAMES, SIDE_NAMES, label, place
from mflib.models import forest
from mflib.show import style
from mflib.show.shown import jpeg
from mflib.stats import clinical, performance, roc

Chart = dict[str, Any]
# JupyterLab draws this version by itself; the specifications are the same in version 6, which is the page's.
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
WIDTH = 640
_QUIET = {"labelColor": style.GREY, "titleColor": style.INK, "gridColor": style.GRID, "domainColor": style.GREY,
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
THINNED = "Shown are {shown} of {all} segments, those of one patient in {nth}."
PICTURED = 400  # segments whose planes a page can carry


def specification(name: str, tables: Mapping[str, pd.DataFrame], **named: Any) -> Chart:
    """A chart of ``_assets/charts``: its words filled in, its tables beside it."""
    chart: Chart = yaml.safe_load(_template(name).render(**named))
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


def segments(
    predictions: pd.DataFrame,
    grades: pd.DataFrame,
    shown: list[str],
    pictures: Callable[[pd.DataFrame], Sequence[NDArray[np.uint8]]] | None = None,
) -> Chart:
    """Out-of-fold probabilities of two models against each other, by grade; whom one picks lights up everywhere.

    Parameters
    ----------
    predictions : the predictions table of one split and repeat, with probabilities
    grades : KEY, ``grade_reader1``, ``grade_reader2``, ``grade_final`` of each segment, as ``Cohort.grades``
    shown : the two models
    pictures : gives the plane (lateral, depth) of each row of a table that names KEY, as ``Study.pictures``; of at most
        ``PICTURED`` segments those of the patient that one picks are shown
    """
    on_scale = performance.calibrated(predictions[predictions["model"].isin(shown)])
    wide = on_scale.pivot(index=KEY, columns="model", values="score")[shown].set_axis(["first", "second"], axis=1)
    table = wide.reset_index().merge(grades, on=KEY, validate="one_to_one")
    readers = [f"grade_reader{n}" for n in (1, 2)]
    rows = pd.DataFrame(
        {
            "patient": table["participant_id"],
            "level": table["level"].map(LEVEL_NAMES),
            "side": table["lat"].map(SIDE_NAMES),
            "place": [place(row) for row in table[KEY].to_dict("records")],
            "grade": _grade(table["grade_final"]),
            "readers": [
                ", ".join(GRADE_NAMES[int(g)] for g in pair if g == g) for pair in table[readers].to_numpy(float)
            ],
            "first": table["first"].round(4),
            "second": table["second"].round(4),
        }
    )
    pictured = pictures is not None and len(rows) <= PICTURED
    if pictures is not None and pictured:
        rows["plane"] = [jpeg(plane.T) for plane in pictures(table[KEY])]
    graded = table.groupby("participant_id")["grade_final"]
    return _thinned(
        rows,
        "segments",
        {},
        **_models(shown),
        **_grades(),
        every=EVERY,
        patients=[EVERY, *sorted(rows["patient"].unique())],
        levels=[EVERY, *LEVEL_NAMES.values()],
        pictured=pictured,
        example=(graded.max() - graded.min()).idxmax(),
    )


def _grade(grades: pd.Series) -> pd.Series:
    return grades.map(dict(enumerate(GRADE_NAMES)))


def _grades() -> dict[str, Any]:
    return {"grades": list(GRADE_NAMES), "shades": list(style.GRADE_COLOURS)}


def _thinned(rows: pd.DataFrame, name: str, tables: Mapping[str, pd.DataFrame], **named: Any) -> Chart:
    """A chart of single segments, with whole patients, evenly spread, as many as make at most ``MOST`` of them."""
    nth = -(-len(rows) // MOST)
    kept = rows[rows["patient"].isin(rows["patient"].drop_duplicates().iloc[::nth])]
    chart = specification(name, {**tables, "segments": kept}, **named)
    if nth > 1:
        chart["usermeta"]["touch"] += " " + THINNED.format(shown=len(kept), all=len(rows), nth=nth)
    return chart


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


def bmi_vas(patients: pd.DataFrame) -> Chart:
    """Body mass index against pain, with the regression line and the 95 % band of its mean; anybody can be left out.

    Parameters
    ----------
    patients : one row per patient with ``participant_id``, ``bmi``, ``vas``, ``age``, ``sex``
    """
    found, lines = clinical.bmi_vas_without(patients)
    told = pd.DataFrame(
        {
            "without": found["without"].replace("", NOBODY),
            "told": [words.minus(str(one)) for one in found["correlation"]],
        }
    )
    rows = patients.reindex(columns=["participant_id", "bmi", "vas", "age", "sex"]).dropna(subset=["bmi", "vas"])
    rows = rows.rename(columns={"participant_id": "patient"})
    ages = pd.qcut(rows["age"], 3, duplicates="drop") if rows["age"].nunique() > 2 else pd.Series(index=rows.index)
    named = [NOT_STATED if pd.isna(part) else f"{part.left:.0f} to {part.right:.0f} years" for part in ages]
    rows = rows.assign(ages=named, sex=rows["sex"].map({"F": "female", "M": "male"}).fillna(NOT_STATED))
    return specification(
        "bmi_vas",
        {"patients": rows, "lines": lines.assign(without=lines["without"].replace("", NOBODY)).round(3), "found": told},
        patients=list(told["without"]),
        colours_by=["nothing", "age", "sex"],
        colours=[style.BLUE, style.ORANGE, style.GREEN, style.PURPLE],
        line=style.VERMILION,
    )


NOBODY, NOT_STATED = "nobody", "not stated"


def grades(segments: pd.DataFrame) -> Chart:
    """Segments of each grade by level, of one side or both.

    Parameters
    ----------
    segments : ``level``, ``lat``, ``grade`` (0-3)
    """
    rows = pd.DataFrame(
        {
            "level": segments["level"].map(LEVEL_NAMES),
            "side": segments["lat"].map(SIDE_NAMES),
            "grade": _grade(segments["grade"]),
            "rank": segments["grade"],
        }
    )
    return specification(
        "grades",
        {"segments": rows},
        **_grades(),
        sides=["both", *SIDE_NAMES.values()],
        picks=["every", *GRADE_NAMES],
        levels=list(LEVEL_NAMES.values()),
    )


def learning(history: pd.DataFrame) -> Chart:
    """Loss and validation AUC by epoch, a line per fold; a dot marks what was kept.

    Parameters
    ----------
    history : ``fold``, ``epoch``, ``train_loss``, ``validation_loss``, ``validation_auc``, ``kept``; also ``repeat``
        where there are several. Of a frozen network ``C`` and ``inner_auc`` in place of the middle four: the AUC on
        inner folds by the penalty of the head
    """
    frozen = "C" in history
    x = "C" if frozen else "epoch"
    parts = (
        {"inner_auc": "inner folds"}
        if frozen
        else {"train_loss": "training loss", "validation_loss": "validation loss", "validation_auc": "validation AUC"}
    )
    several = "repeat" in history and history["repeat"].nunique() > 1
    runs = [f"{row.fold} of repeat {row.repeat}" if several else str(row.fold) for row in history.itertuples()]
    rows = history.assign(run=runs).rename(columns=parts).melt(["run", x, "kept"], list(parts.values()), "part")
    losses = {"title": "binary cross-entropy", "parts": list(parts.values())[:2]}
    areas = {"title": "AUC on inner folds" if frozen else "validation AUC", "parts": list(parts.values())[-1:]}
    return specification(
        "learning",
        {"history": rows},
        folds=[EVERY, *dict.fromkeys(runs)],
        x=x,
        x_title="C of the head (inverse penalty)" if frozen else "epoch",
        scale="log" if frozen else "linear",
        panels=[areas] if frozen else [losses, areas],
        parts=list(parts.values()),
        colours=[style.BLUE, style.VERMILION, style.GREEN][: len(parts)],
        width=420 if frozen else 260,
    )


def comparisons(table: pd.DataFrame, name: str = "comparisons") -> Chart:
    """AUC of a model and of its variants, mean of folds with its 95 % interval, and pooled.

    Parameters
    ----------
    table : of ``performance.variants``, the study's own model first; ``patients`` too where it is known
    name : of the chart
    """
    rows = pd.DataFrame(
        {
            **table.reindex(columns=["variant", "patients", "mean", "low", "high", "pooled"]),
            "own": np.arange(len(table)) == 0,
            "text": [_interval(row.mean, row.low, row.high) for row in table.itertuples()],
        }
    )
    chart = specification("comparisons", {"variants": rows}, colour=style.VERMILION, other=style.BLUE)
    return chart | {"name": name}


def power(segments: pd.DataFrame, pair: tuple[float, float], effects: Mapping[str, float]) -> Chart:
    """Power by the number of patients, for the areas and the design effect of one's choosing.

    Parameters
    ----------
    segments : one row per segment with ``participant_id`` and ``label``
    pair : true AUCs to begin with, the one nearer 0.5 first
    effects : design effects to hold in view, as ``clinical.design_effects``
    """
    grid = sorted({round(2 * effect) / 2 for effect in effects.values()} | {n / 2 for n in range(2, 11)})
    curves = []
    for low, high in dict.fromkeys([pair, *PAIRS]):
        curve = clinical.power_by_patients(segments, (low, high), {f"{effect:g}": effect for effect in grid})
        curves.append(curve.assign(areas=f"{high:g}, not {low:g}"))
    table = pd.concat(curves)
    present, most = int(table.loc[table["here"], "patients"].iloc[0]), int(table["patients"].max())
    step = max(1, most // 60)
    table = table[(table["patients"] - present) % step == 0]
    told = [f"{row.patients} patients: power {row.power:.2f}" for row in table.itertuples()]
    rows = table.assign(effect=table["design_effect"], told=told, power=table["power"].round(3))
    return specification(
        "power",
        {"power": rows[["areas", "effect", "patients", "power", "told"]]},
        gains=list(dict.fromkeys(rows["areas"])),
        gain=rows["areas"].iloc[0],
        effect=min(grid, key=lambda at: abs(at - list(effects.values())[1])),
        effects=grid,
        here=present,
        fewest=int(rows["patients"].min()),
        step=step,
        most=most,
        target=clinical.WANTED,
        colour=style.VERMILION,
    )


# True areas of two models on the same segments, and of one against chance.
PAIRS = ((0.7, 0.8), (0.8, 0.85), (0.6, 0.7), (0.5, 0.6), (0.5, 0.65), (0.5, 0.7))


def texture(table: pd.DataFrame, segments: pd.DataFrame, choices: pd.DataFrame) -> Chart:
    """How well single GLCM properties part the classes, over grey levels and step; a cell's values by grade.

    Parameters
    ----------
    table : (n, ...) the texture table
    segments : KEY, ``label``, ``grade``, in the same order
    choices : ``levels`` and ``step`` of each fold's choice, as ``forest.Result.choices``
    """
    chosen = choices.groupby(["levels", "step"]).size()
    grid, labels = forest.glcm_columns(table), segments["label"].to_numpy()
    apart = forest.univariate_auc(table[grid.index].to_numpy(float), labels)
    grid = grid.assign(separation=np.maximum(apart, 1 - apart).round(3))
    properties, levels, steps = (list(dict.fromkeys(grid[key])) for key in ("property", "levels", "step"))
    cells, means = [], []
    for at in product(properties, levels, steps):
        columns = grid.index[(grid["property"] == at[0]) & (grid["levels"] == at[1]) & (grid["step"] == at[2])]
        mean = table[columns].mean(axis=1).to_numpy()
        told, area = _apart(labels, mean, segments["participant_id"])
        cell = {"property": at[0], "levels": int(at[1]), "step": int(at[2]), "separation": area, "told": told}
        cells.append(cell | {"chosen": int(chosen.get(at[1:], 0)) or None})
        means.append(mean)
    rows = pd.DataFrame(
        {
            "patient": segments["participant_id"],
            "place": [place(row) for row in segments[KEY].to_dict("records")],
            "grade": _grade(segments["grade"]),
            # In the order of the cells: a row of its own for each would be ten times as long.
            "values": [[float(f"{value:.4g}") for value in of] for of in np.transpose(means)],
        }
    )
    directions = grid.assign(direction=[words.direction(name) for name in grid["direction"]])
    return _thinned(
        rows,
        "texture",
        {
            "map": pd.DataFrame(cells),
            "directions": directions[["property", "levels", "step", "direction", "separation"]],
        },
        **_grades(),
        properties=properties,
        levels=[int(n) for n in levels],
        steps=[int(n) for n in steps],
        start=[int(at) for at in chosen.idxmax()],
        highest=round(max(0.6, float(grid["separation"].max())), 2),
        colour=style.BLUE,
    )


def _apart(labels: Any, values: Any, patients: pd.Series) -> tuple[str, float]:
    """How well values part the classes, whichever way, in words with the clustered 95 % interval; and the area."""
    areas, variance = roc.auc_covariance(labels, values, patients)
    area = float(areas[0])
    low, high = roc.auc_interval(area, float(variance[0, 0]))
    ends = (area, low, high) if area >= 0.5 else (1 - area, 1 - high, 1 - low)
    return f"AUC {_interval(*ends)}, mean over directions", round(ends[0], 3)
