"""What a decision by each model would bring, over how much a false alarm weighs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mflib import roc
from mflib.performance.probability import unfit
from mflib.performance.proportions import Floats
from mflib.performance.resampling import percentiles, resampled_sums
from mflib.performance.table import RUN, PredictionsError, check_same_segments, runs, validate
from mflib.volume import KEY

TREAT_ALL, TREAT_NONE = "treat_all", "treat_none"
PROBABILITIES = tuple(percent / 100 for percent in range(2, 99, 2))


def decision_curve(
    predictions: pd.DataFrame,
    thresholds: Sequence[float] = PROBABILITIES,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Net benefit of every model whose scores are probabilities, beside treating all and treating none.

    Parameters
    ----------
    predictions : the predictions table; its own thresholds play no part here
    thresholds : probabilities in (0, 1) from which a segment would be treated
    resamples, seed : of the bootstrap of patients
    level : confidence

    Returns
    -------
    DataFrame
        One row per model, split, repeat and threshold, also of the models "treat_all" and "treat_none": ``RUN``,
        ``threshold``, ``net_benefit``, ``low``, ``high`` (percentile interval over resampled patients), ``note``. Net
        benefit is TP / n - FP / n x t / (1 - t) (Vickers & Elkin 2006): true positives per segment, less the false
        ones at the exchange rate that the threshold implies. A model with scores outside [0, 1] has one row with a
        note and no numbers.

    Raises
    ------
    PredictionsError
        As ``validate``; thresholds outside (0, 1); a model with the name of a strategy; or models of one split and
        repeat on different segments.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    wrong = [threshold for threshold in thresholds if not 0 < threshold < 1]
    if wrong or not len(thresholds):
        raise PredictionsError(f"found thresholds {wrong}, expected numbers between 0 and 1")
    table, asked = validate(predictions), np.asarray(thresholds, dtype=np.float64)
    taken = sorted({TREAT_ALL, TREAT_NONE} & set(table["model"]))
    if taken:
        raise PredictionsError(f"found models called {taken}, which are the strategies here, expected other names")
    rows = []
    for run, of_run in [*runs(table), *_treated(table)]:
        reason = unfit(of_run)
        if reason:
            nothing = dict.fromkeys(("threshold", "net_benefit", "low", "high"), np.nan)
            rows.append(pd.DataFrame([{**run, **nothing, "note": reason}]))
            continue
        rows.append(_net_benefits(of_run, asked, resamples, seed, level).assign(**run))
    columns = [*RUN, "threshold", "net_benefit", "low", "high", "note"]
    return pd.concat(rows, ignore_index=True)[columns]


def _treated(table: pd.DataFrame) -> list[tuple[dict[str, object], pd.DataFrame]]:
    """The two strategies that ask no model, as runs: every score is 1, or 0."""
    found = []
    for (split, repeat), rows in table.groupby(["split", "repeat"], sort=True):
        check_same_segments(rows)
        segments = rows.drop_duplicates(KEY)
        for name, score in ((TREAT_ALL, 1.0), (TREAT_NONE, 0.0)):
            found.append(({"model": name, "split": split, "repeat": int(repeat)}, segments.assign(score=score)))
    return found


def _net_benefits(run: pd.DataFrame, thresholds: Floats, resamples: int, seed: int, level: float) -> pd.DataFrame:
    called = run["score"].to_numpy()[:, None] >= thresholds
    positive = run["y_true"].to_numpy()[:, None] == 1
    gains = np.where(positive, called, called * -thresholds / (1 - thresholds))
    values = np.column_stack([gains, np.ones(len(run))])
    low, high = percentiles(_per_segment(resampled_sums(run, values, resamples, seed)), level)
    benefit = _per_segment(values.sum(axis=0)[None])[0]
    return pd.DataFrame({"threshold": thresholds, "net_benefit": benefit, "low": low, "high": high, "note": ""})


def _per_segment(sums: Floats) -> Floats:
    """Net benefit (r, t) from the sums of gains and the number of segments (r, t + 1)."""
    return sums[:, :-1] / sums[:, -1:]
