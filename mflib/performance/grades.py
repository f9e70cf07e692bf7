"""The four MRI grades behind the two classes: how scores order them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from statsmodels.stats.inter_rater import cohens_kappa

from mflib import roc
from mflib.performance.proportions import interval
from mflib.performance.resampling import percentiles, resampled_sums
from mflib.performance.table import PredictionsError, runs, validate
from mflib.volume import KEY

KAPPA = "quadratic weighted kappa"
CUTS = {1: "AUC, 0 | 1 2 3", 2: "AUC, 0 1 | 2 3", 3: "AUC, 0 1 2 | 3"}
_UNDEFINED = {"value": np.nan, "low": np.nan, "high": np.nan}


def by_grade(
    predictions: pd.DataFrame, grades: pd.DataFrame, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How each model's scores order the four grades: an AUC for each cut between them, and an agreement.

    Parameters
    ----------
    predictions : the predictions table
    grades : KEY and ``grade`` (0-3), one row per segment
    level : confidence
    resamples, seed : of the bootstrap of patients

    Returns
    -------
    DataFrame
        Four rows per model, split and repeat: ``RUN``, ``quantity`` (the three ``CUTS``, then ``KAPPA``), ``value``,
        ``low``, ``high``, ``n``, ``n_above`` (segments at or above the cut), ``patients_above``, ``note``.

        The AUC of a cut ranks the segments at or above it against those below, pooled over folds, with patients as
        clusters (Obuchowski 1997). For the kappa scores must become grades: a fold's segments, in the order of their
        scores, are given grades in the shares that the other folds have, and the fold's own grades play no part. This
        reads ranks only, and it takes the test fold as a group, as a reader of one segment could not. The interval is
        the percentiles over resampled patients with the given grades as they are.

    Raises
    ------
    PredictionsError
        As ``validate``, or segments without a grade of 0 to 3.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    table = _graded(validate(predictions), grades)
    rows = []
    for run, of_run in runs(table):
        rows += [{**run, "quantity": name, **_cut(of_run, cut, level)} for cut, name in CUTS.items()]
        rows.append({**run, "quantity": KAPPA, **_agreement(of_run, level, resamples, seed)})
    return pd.DataFrame(rows)


def grades_by_rank(
    grades: NDArray[np.int64], scores: NDArray[np.float64], folds: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Grades (n,) that the ranks of the scores in each fold give, in the shares of the other folds' grades.

    Parameters
    ----------
    grades, scores, folds : (n,); two folds at least. Equal scores of a fold get the same grade.
    """
    predicted = np.empty(len(grades), dtype=np.int64)
    for fold in np.unique(folds):
        here = folds == fold
        shares = np.bincount(grades[~here], minlength=4).cumsum()[:3] / (~here).sum()
        places = (rankdata(scores[here]) - 0.5) / here.sum()
        predicted[here] = np.searchsorted(shares, places, side="right")
    return predicted


def _graded(table: pd.DataFrame, grades: pd.DataFrame) -> pd.DataFrame:
    absent = [column for column in (*KEY, "grade") if column not in grades]
    if absent:
        raise PredictionsError(f"found grades without the columns {absent}, expected {[*KEY, 'grade']}")
    grades = grades[[*KEY, "grade"]].astype({"participant_id": str})
    doubled = int(grades.duplicated(KEY).sum())
    if doubled:
        raise PredictionsError(f"found {doubled} segments with two rows of grades, expected one each")
    joined = table.merge(grades, on=KEY, how="left")
    wrong = joined[~joined["grade"].isin(range(4))]
    if len(wrong):
        first, segments = wrong.iloc[0], len(wrong.drop_duplicates(KEY))
        grade = "none" if pd.isna(first["grade"]) else first["grade"]
        found = f"found {segments} segments without a grade of 0 to 3, the first {' '.join(first[KEY])}"
        raise PredictionsError(f"{found} with the grade {grade}; expected one of 0 to 3 for each")
    return joined.astype({"grade": int})


def _cut(run: pd.DataFrame, cut: int, level: float) -> dict[str, object]:
    above = run["grade"] >= cut
    sizes = {"n": len(run), "n_above": int(above.sum()), "patients_above": run.loc[above, "participant_id"].nunique()}
    try:
        auc, variance = roc.auc_covariance(above.astype(int), run["score"], run["participant_id"])
    except roc.RocError as error:
        return {**_UNDEFINED, **sizes, "note": str(error)}
    return {"value": float(auc[0]), **sizes, **interval(float(auc[0]), float(variance[0, 0]), level)}


def _agreement(run: pd.DataFrame, level: float, resamples: int, seed: int) -> dict[str, object]:
    above = run["grade"] >= 1
    sizes = {"n": len(run), "n_above": int(above.sum()), "patients_above": run.loc[above, "participant_id"].nunique()}
    if run["fold"].nunique() < 2:
        return {**_UNDEFINED, **sizes, "note": "found one fold, expected others to take the shares of grades from"}
    truth = run["grade"].to_numpy()
    predicted = grades_by_rank(truth, run["score"].to_numpy(), run["fold"].to_numpy())
    cells = np.eye(16)[4 * truth + predicted]
    value = _kappa(cells.sum(axis=0).reshape(4, 4))
    if value is None:
        return {**_UNDEFINED, **sizes, "note": "found one and the same grade throughout, expected several"}
    drawn = [_kappa(table) for table in resampled_sums(run, cells, resamples, seed).reshape(-1, 4, 4)]
    defined = np.array([kappa for kappa in drawn if kappa is not None])
    low, high = percentiles(defined, level)
    lost = len(drawn) - len(defined)
    note = f"{lost} resamples with one grade throughout are left out" if lost else ""
    return {"value": value, "low": float(low), "high": float(high), **sizes, "note": note}


def _kappa(table: NDArray[np.float64]) -> float | None:
    """Quadratic weighted kappa; None where there is one and the same grade throughout: 0 / 0."""
    if table.max() == table.sum():
        return None
    return float(cohens_kappa(table, wt="quadratic", return_results=False))
