"""Whether scores are the probabilities that they are read as, and their update to another cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from mflib.stats import roc
from mflib.stats.performance.metrics import estimated, ratio_covariance, youden_threshold
from mflib.stats.performance.predictions import COLUMNS, PROBABILITY, RUN, runs, undefined
from mflib.stats.roc.cases import Floats

EPSILON = 1e-3  # scores nearer to 0 or 1 are moved there, as the logit of 0 and 1 is infinite
Labels = NDArray[np.integer]


def to_log_odds(scores: ArrayLike) -> tuple[Floats, str]:
    """Logit of scores (n,), those within ``EPSILON`` of 0 or 1 moved there, and a note of how many were."""
    given = np.asarray(scores, dtype=np.float64)
    moved = int(((given < EPSILON) | (given > 1 - EPSILON)).sum())
    note = f"{moved} scores moved to {EPSILON:g} from 0 or 1" if moved else ""
    return logit(np.clip(given, EPSILON, 1 - EPSILON)), note


def separated(x: Floats, labels: Labels) -> bool:
    """Whether one value parts the classes, so that no finite slope fits.

    With one covariate the likelihood has its maximum only where each class reaches beyond the other's end.
    """
    above, below = x[labels == 1], x[labels == 0]
    return bool(below.max() <= above.min() or above.max() <= below.min())


def logistic_regression(x: Floats, labels: Labels, *, slope: bool) -> GLM:
    """Model logit P = a + b x, or with b held at 1."""
    ones = np.ones((len(x), 1))
    if not slope:
        return GLM(labels, ones, family=Binomial(), offset=x)
    return GLM(labels, np.column_stack([ones, x]), family=Binomial())


def shift(x: Floats, labels: Labels) -> float:
    """The a at which the mean of P = expit(a + x) is the share of positives; from elsewhere a fit can run away."""
    share, centre = labels.mean(), logit(labels.mean())
    return float(brentq(lambda a: expit(a + x).mean() - share, centre - x.max() - 1, centre - x.min() + 1))


def fit_clustered(model: GLM, patients: pd.Series, start: list[float] | None = None) -> Any:
    """The fitted model, its covariance the sandwich with patients as clusters."""
    return model.fit(start, cov_type="cluster", cov_kwds={"groups": pd.factorize(patients)[0]})


def coefficients(model: GLM, patients: pd.Series, start: list[float] | None = None) -> list[dict[str, float]]:
    """Each coefficient of the fit to all patients with its interval, patients as clusters."""
    fitted = fit_clustered(model, patients, start)
    ends = fitted.conf_int(1 - roc.CONFIDENCE)
    return [
        {"value": float(value), "low": float(low), "high": float(high)}
        for value, (low, high) in zip(fitted.params, ends, strict=True)
    ]


@dataclass(frozen=True)
class Frozen:
    """What the validation part of a fold decides before its test part is scored.

    Parameters
    ----------
    threshold : from which score on a segment is called infiltrated (Youden)
    intercept, slope : P = expit(intercept + slope x), with x the log odds of the score (Platt 1999)
    log_odds : False where scores leave [0, 1], and x is the score itself
    """

    threshold: float
    intercept: float
    slope: float
    log_odds: bool = True

    def probability(self, scores: ArrayLike) -> Floats:
        """Probability of infiltration of each score, in (0, 1) and in the order of the scores."""
        x = to_log_odds(scores)[0] if self.log_odds else np.asarray(scores, dtype=np.float64)
        return np.asarray(expit(self.intercept + self.slope * x))


def freeze(labels: ArrayLike, scores: ArrayLike) -> Frozen:
    """Threshold and scale of one fold's model, from its validation part alone.

    Platt 1999: a logistic curve whose targets are (positives + 1) / (positives + 2) and 1 / (negatives + 2), so that it
    is finite also where one score parts the classes. The slope is held at 0 or above: a curve that turned the order
    of the scores round would be noise of a small part.

    Parameters
    ----------
    labels : (n,) 0 or 1, both present
    scores : (n,)
    """
    threshold = youden_threshold(labels, scores)
    positive, given = np.asarray(labels) == 1, np.asarray(scores, dtype=np.float64)
    log_odds = bool(given.min() >= 0 and given.max() <= 1)
    x = to_log_odds(given)[0] if log_odds else given
    target = np.where(positive, (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2))
    centre, spread = x.mean(), x.std() or 1.0
    z = (x - centre) / spread

    def loss(curve: Floats) -> tuple[float, Floats]:
        claimed = curve[0] + curve[1] * z
        excess = expit(claimed) - target
        slopes = np.array([excess.mean(), (excess * z).mean()])
        return float((np.logaddexp(0, claimed) - target * claimed).mean()), slopes

    start, ends = [float(logit(target.mean())), 0.0], [(None, None), (0, None)]
    fitted = minimize(loss, start, jac=True, bounds=ends, options={"ftol": 0, "gtol": 1e-10}).x
    slope = float(fitted[1] / spread)
    return Frozen(threshold, float(fitted[0] - slope * centre), slope, log_odds)


FEWEST_PATIENTS, FEWEST_SEGMENTS = 5, 10  # below these a slope is hardly determined


def thin(sizes: pd.DataFrame) -> str:
    """Which validation parts are too small to set a scale by, in a sentence.

    Parameters
    ----------
    sizes : fold, part, segments, infiltration, patients, a row for each part of each fold
    """
    parts = sizes[sizes["part"] == "validation"]
    rarer = np.minimum(parts["infiltration"], parts["segments"] - parts["infiltration"])
    small = parts[(parts["patients"] < FEWEST_PATIENTS) | (rarer < FEWEST_SEGMENTS)]
    if small.empty:
        return SET_BY.format(least=parts["patients"].min(), most=parts["patients"].max(), rarest=rarer.min())
    folds = ", ".join(map(str, small["fold"]))
    return TOO_SMALL.format(folds=folds, patients=FEWEST_PATIENTS, segments=FEWEST_SEGMENTS)


SET_BY = (
    "Each fold's scale is set by {least} to {most} validation patients, with at least {rarest} segments of either kind."
)
TOO_SMALL = (
    "Too small to set a scale by: the validation part of fold {folds}, with fewer than {patients} patients or "
    "{segments} segments of a kind. Probabilities of these folds are rough."
)


def calibrated(predictions: pd.DataFrame) -> pd.DataFrame:
    """The table with probabilities in place of scores; a model that came without keeps its scores.

    Its thresholds belong to the scores and are left out.
    """
    scores = predictions["score"]
    scores = predictions.get(PROBABILITY, scores).fillna(scores)
    return predictions.assign(score=scores).drop(columns=["threshold", PROBABILITY], errors="ignore")


QUANTITIES = ("intercept", "slope", "brier", "scaled_brier")


def calibration(predictions: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Calibration in the large, calibration slope and Brier score of each model, pooled over its test folds.

    Parameters
    ----------
    predictions : the predictions table
    resamples, seed : of the bootstrap of patients

    Returns
    -------
    DataFrame
        One row per model, split, repeat and ``quantity``: ``RUN``, ``quantity``, ``value``, ``low``, ``high``,
        ``note`` (why numbers are missing, or what was changed; empty otherwise).

        intercept
            Of logit P(positive) = a + logit(score): 0 where the scores are right on average, positive where they are
            too low. Interval from the sandwich variance with patients as clusters.
        slope
            Of logit P(positive) = a + b logit(score): 1 where the spread is right, below 1 where scores are too
            extreme (Cox 1958; Van Calster et al. 2019). Interval as the intercept's.
        brier, scaled_brier
            Mean squared difference of score and label, and the share by which it is below that of the prevalence as
            everybody's score. Percentile interval over resampled patients.

        Scores within ``EPSILON`` of 0 or 1 are moved there for the first two; the note counts them. A model with scores
        outside [0, 1] has no calibration, and a note in place of numbers.
    """
    rows = []
    for run, table in runs(predictions):
        reason = unfit(table)
        if reason is None:
            fitted = _logistic(table) | _brier(table, resamples, seed)
        else:
            fitted = dict.fromkeys(QUANTITIES, undefined(reason))
        rows += [{**run, "quantity": name, **fitted[name]} for name in QUANTITIES]
    return pd.DataFrame(rows)


def calibration_curve(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Observed share of positives over groups of similar scores.

    Parameters
    ----------
    predictions : the predictions table
    bins : groups of equal size by the score's quantiles; fewer where many scores are equal

    Returns
    -------
    DataFrame
        One row per model, split, repeat and group: ``RUN``, ``bin`` (from 1), ``mean_score``, ``observed``, ``low``,
        ``high`` (ratio estimator with patients as clusters, logit scale), ``n``, ``n_patients``, ``note``. A model
        with scores outside [0, 1] has one row with a note and no numbers.
    """
    rows: list[dict[str, object]] = []
    for run, table in runs(predictions):
        reason = unfit(table)
        if reason is not None:
            sizes = {"n": len(table), "n_patients": table["participant_id"].nunique()}
            rows.append({**run, "bin": 0, **sizes, **undefined(reason, ("mean_score", "observed", "low", "high"))})
            continue
        edges = np.unique(np.quantile(table["score"], np.linspace(0, 1, bins + 1)[1:-1]))
        group = np.searchsorted(edges, table["score"], side="left")
        rows += [
            {**run, "bin": number, **_observed(members)}
            for number, (_, members) in enumerate(table.groupby(group, sort=True), start=1)
        ]
    return pd.DataFrame(rows)[[*RUN, "bin", "mean_score", "observed", "low", "high", "n", "n_patients", "note"]]


def unfit(table: pd.DataFrame) -> str | None:
    """Why the scores of a run cannot be read as probabilities of both classes."""
    low, high = table["score"].min(), table["score"].max()
    if low < 0 or high > 1:
        return f"scores from {low:.3g} to {high:.3g}, expected probabilities in [0, 1]"
    if table["y_true"].nunique() < 2:
        return f"found the label {table['y_true'].iloc[0]} only, expected positives and negatives"
    patients = table["participant_id"].nunique()
    return f"found {patients} patients, expected at least 2" if patients < 2 else None


def _logistic(table: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Intercept with the slope held at 1, and slope with an intercept beside it."""
    labels, patients = table["y_true"].to_numpy(), table["participant_id"]
    log_odds, note = to_log_odds(table["score"])
    shifted = logistic_regression(log_odds, labels, slope=False)
    intercept = coefficients(shifted, patients, [shift(log_odds, labels)])[0]
    if log_odds.min() == log_odds.max():
        slope = undefined(", ".join(filter(None, ["no slope: all scores are equal", note])))
    elif separated(log_odds, labels):
        slope = undefined("no slope: one score parts the classes, so no finite slope fits")
    else:
        slope = {**coefficients(logistic_regression(log_odds, labels, slope=True), patients)[1], "note": note}
    return {"intercept": {**intercept, "note": note}, "slope": slope}


def _brier(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, dict[str, object]]:
    squares = (table["score"] - table["y_true"]) ** 2
    values = np.column_stack([squares, table["y_true"], np.ones(len(table))])
    drawn = roc.resampled_sums(table["participant_id"], table["y_true"], values, resamples, seed)
    low, high = roc.percentiles(_brier_scores(drawn))
    value = _brier_scores(values.sum(axis=0)[None])[0]
    return {
        name: {"value": float(value[n]), "low": float(low[n]), "high": float(high[n]), "note": ""}
        for n, name in enumerate(("brier", "scaled_brier"))
    }


def _brier_scores(sums: Floats) -> Floats:
    """Brier score and its scaled form (r, 2) from the sums of squares, positives and segments (r, 3)."""
    brier, prevalence = sums[:, 0] / sums[:, 2], sums[:, 1] / sums[:, 2]
    return np.column_stack([brier, 1 - brier / (prevalence * (1 - prevalence))])


def _observed(members: pd.DataFrame) -> dict[str, object]:
    """Observed share of positives of a group of segments, patients as clusters."""
    counts = members.groupby("participant_id")["y_true"].agg(["sum", "size"]).to_numpy()
    found = estimated("observed", ratio_covariance, counts[:, :1], counts[:, 1:])
    means = {"mean_score": members["score"].mean(), "observed": members["y_true"].mean()}
    return {**found, **means, "n": len(members), "n_patients": len(counts)}


_UPDATED = [column for column in COLUMNS if column != "threshold"]  # which belongs to the scores before the update
# What each method fits to the labels.
UPDATES = {"intercept": ("intercept",), "intercept and slope": ("intercept", "slope")}


@dataclass(frozen=True, eq=False)
class Recalibrated:
    """Probabilities after an update, and the update.

    Parameters
    ----------
    predictions : the predictions table without thresholds, each score updated by the fit to all patients but its own;
        runs that cannot be updated are left out
    update : fitted to all patients: ``RUN``, ``method``, ``quantity``, ``value``, ``low``, ``high``, ``note`` (why
        there is none, or what was changed; empty otherwise)
    """

    predictions: pd.DataFrame
    update: pd.DataFrame


def recalibrate(predictions: pd.DataFrame, method: str) -> Recalibrated:
    """Update the probabilities of each model to the cohort that they are held against.

    Logistic recalibration (Cox 1958; Steyerberg et al. 2004, Stat Med 23:2567): logit P = a + logit(score) with the
    method "intercept", logit P = a + b logit(score) with "intercept and slope". The fit to all patients is what the
    next patient of this cohort would get. On the patients that it was fitted to it looks better than it is, so each
    patient's scores are updated by the fit to all the others. That errs a little on the strict side: without a patient
    the fit moves away from that patient's labels.

    Parameters
    ----------
    predictions : the predictions table, its scores probabilities
    method : one of ``UPDATES``; the intervals of its coefficients are by the sandwich variance, patients as clusters
    """
    updated, rows = [], []
    for run, table in runs(predictions):
        left_out = unfit(table) or _left_out(table, method)
        if isinstance(left_out, str):
            found = [undefined(left_out)] * len(UPDATES[method])
        else:
            updated.append(left_out)
            found = _update(table, method)
        rows += [
            {**run, "method": method, "quantity": name, **numbers}
            for name, numbers in zip(UPDATES[method], found, strict=True)
        ]
    empty = pd.DataFrame(columns=_UPDATED)
    return Recalibrated(pd.concat(updated, ignore_index=True) if updated else empty, pd.DataFrame(rows))


def _left_out(table: pd.DataFrame, method: str) -> pd.DataFrame | str:
    """The table, each score updated by the fit to the other patients; or why no finite update fits to them."""
    x, y = to_log_odds(table["score"])[0], table["y_true"].to_numpy()
    scores = np.empty(len(table))
    for patient in table["participant_id"].unique():
        own = (table["participant_id"] == patient).to_numpy()
        others = x[~own], y[~own]
        if len(np.unique(others[1])) < 2:
            return f"no update: without {patient} there is one class only"
        if method != "intercept" and separated(*others):
            return f"no update: without {patient} one score parts the classes, so no finite slope fits"
        model, start = _model(*others, method)
        intercept, *slope = model.fit(start).params
        scores[own] = expit(intercept + (slope[0] if slope else 1.0) * x[own])
    return table[_UPDATED].assign(score=scores)


def _update(table: pd.DataFrame, method: str) -> list[dict[str, object]]:
    """Coefficients of the fit to all patients."""
    x, note = to_log_odds(table["score"])
    model, start = _model(x, table["y_true"].to_numpy(), method)
    return [{**numbers, "note": note} for numbers in coefficients(model, table["participant_id"], start)]


def _model(x: Floats, y: Labels, method: str) -> tuple[GLM, list[float]]:
    """What a method fits, and where the fit begins."""
    fitted = UPDATES[method]
    return logistic_regression(x, y, slope="slope" in fitted), [shift(x, y), 1.0][: len(fitted)]
