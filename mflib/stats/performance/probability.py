"""Whether scores are the probabilities that they are read as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from mflib.base.errors import InputError
from mflib.stats import roc
from mflib.stats.performance.metrics import Floats, interval, percentiles, ratio, ratio_covariance, resampled_sums
from mflib.stats.performance.predictions import RUN, runs, validate

EPSILON = 1e-3
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


QUANTITIES = ("intercept", "slope", "brier", "scaled_brier")


def calibration(predictions: pd.DataFrame, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Calibration in the large, calibration slope and Brier score of each model, pooled over its test folds.

    Parameters
    ----------
    predictions : the predictions table
    level : confidence
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

        Scores within ``logistic.EPSILON`` of 0 or 1 are moved there for the first two, since the logit of 0 and 1 is
        infinite; the note counts them. A model with scores outside [0, 1] has no calibration, and a note in place of
        numbers.

    Raises
    ------
    InputError
        As ``validate``.
    InputError
        A level outside (0, 1).
    """
    roc.check_level(level)
    rows = []
    for run, table in runs(validate(predictions)):
        reason = unfit(table)
        if reason:
            rows += [{**run, "quantity": name, **_missing(reason)} for name in QUANTITIES]
            continue
        fitted = {"intercept": _intercept(table, level), "slope": _slope(table, level)}
        fitted |= _brier(table, level, resamples, seed)
        rows += [{**run, "quantity": name, **fitted[name]} for name in QUANTITIES]
    return pd.DataFrame(rows)


def calibration_curve(predictions: pd.DataFrame, bins: int = 10, level: float = 0.95) -> pd.DataFrame:
    """Observed share of positives over groups of similar scores.

    Parameters
    ----------
    predictions : the predictions table
    bins : groups of equal size by the score's quantiles; fewer where many scores are equal
    level : confidence

    Returns
    -------
    DataFrame
        One row per model, split, repeat and group: ``RUN``, ``bin`` (from 1), ``mean_score``, ``observed``, ``low``,
        ``high`` (ratio estimator with patients as clusters, logit scale), ``n``, ``n_patients``, ``note``. A model
        with scores outside [0, 1] has one row with a note and no numbers.

    Raises
    ------
    InputError
        As ``validate``, or fewer than one bin.
    InputError
        A level outside (0, 1).
    """
    roc.check_level(level)
    if bins < 1:
        raise InputError(f"found {bins} bins, expected at least 1")
    rows: list[dict[str, object]] = []
    for run, table in runs(validate(predictions)):
        reason = unfit(table)
        if reason:
            rows.append({**run, "bin": 0, "n": len(table), "n_patients": table["participant_id"].nunique()})
            rows[-1] |= {"mean_score": np.nan, "observed": np.nan, "low": np.nan, "high": np.nan, "note": reason}
            continue
        edges = np.unique(np.quantile(table["score"], np.linspace(0, 1, bins + 1)[1:-1]))
        group = np.searchsorted(edges, table["score"], side="left")
        rows += [
            {**run, "bin": number, **_observed(members, level)}
            for number, (_, members) in enumerate(table.groupby(group, sort=True), start=1)
        ]
    return pd.DataFrame(rows)[[*RUN, "bin", "mean_score", "observed", "low", "high", "n", "n_patients", "note"]]


def unfit(table: pd.DataFrame) -> str:
    """Why the scores of a run cannot be read as probabilities of both classes; empty where they can."""
    low, high = table["score"].min(), table["score"].max()
    if low < 0 or high > 1:
        return f"scores from {low:.3g} to {high:.3g}, expected probabilities in [0, 1]"
    if table["y_true"].nunique() < 2:
        return f"found the label {table['y_true'].iloc[0]} only, expected positives and negatives"
    patients = table["participant_id"].nunique()
    return f"found {patients} patients, expected at least 2" if patients < 2 else ""


def _missing(note: str) -> dict[str, object]:
    return {"value": np.nan, "low": np.nan, "high": np.nan, "note": note}


def _intercept(table: pd.DataFrame, level: float) -> dict[str, object]:
    labels = table["y_true"].to_numpy()
    log_odds, note = to_log_odds(table["score"])
    model = logistic_regression(log_odds, labels, slope=False)
    return _last(model, table, level, note, [shift(log_odds, labels)])


def _slope(table: pd.DataFrame, level: float) -> dict[str, object]:
    labels = table["y_true"].to_numpy()
    log_odds, note = to_log_odds(table["score"])
    if log_odds.min() == log_odds.max():
        return _missing(f"no slope: all scores are equal{', ' * bool(note)}{note}")
    if separated(log_odds, labels):
        return _missing("no slope: one score parts the classes, so no finite slope fits")
    return _last(logistic_regression(log_odds, labels, slope=True), table, level, note)


def _last(
    model: GLM, table: pd.DataFrame, level: float, note: str, start: list[float] | None = None
) -> dict[str, object]:
    """The model's last coefficient, with patients as clusters."""
    fitted = fit_clustered(model, table["participant_id"], start)
    low, high = fitted.conf_int(1 - level)[-1]
    return {"value": float(fitted.params[-1]), "low": float(low), "high": float(high), "note": note}


def _brier(table: pd.DataFrame, level: float, resamples: int, seed: int) -> dict[str, dict[str, object]]:
    squares = (table["score"] - table["y_true"]) ** 2
    values = np.column_stack([squares, table["y_true"], np.ones(len(table))])
    drawn = _brier_scores(resampled_sums(table, values, resamples, seed))
    low, high = percentiles(drawn, level)
    value = _brier_scores(values.sum(axis=0)[None])[0]
    return {
        name: {"value": float(value[n]), "low": float(low[n]), "high": float(high[n]), "note": ""}
        for n, name in enumerate(("brier", "scaled_brier"))
    }


def _brier_scores(sums: Floats) -> Floats:
    """Brier score and its scaled form (r, 2) from the sums of squares, positives and segments (r, 3)."""
    brier, prevalence = sums[:, 0] / sums[:, 2], sums[:, 1] / sums[:, 2]
    return np.column_stack([brier, 1 - brier / (prevalence * (1 - prevalence))])


def _observed(members: pd.DataFrame, level: float) -> dict[str, object]:
    counts = members.groupby("participant_id")["y_true"].agg(["sum", "size"]).to_numpy()
    x, m = counts.sum(axis=0)
    row: dict[str, object] = {"mean_score": members["score"].mean(), "observed": ratio(x, m)}
    row |= {"n": int(m), "n_patients": len(counts)}
    try:
        proportion, variance = ratio_covariance(counts[:, :1], counts[:, 1:])
    except InputError as error:
        return {**row, "low": np.nan, "high": np.nan, "note": str(error)}
    return row | interval(float(proportion[0]), float(variance[0, 0]), level)
