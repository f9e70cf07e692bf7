"""Where the models stand in parts of the cohort: the four grades, subgroups, the most confident mistakes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from mflib.base.errors import InputError
from mflib.base.words import KEY, NOT_RECORDED
from mflib.stats import roc
from mflib.stats.performance.metrics import estimated, grade_pairs, kappa, per_patient
from mflib.stats.performance.predictions import RUN, runs, undefined
from mflib.stats.roc.cases import Floats

KAPPA = "quadratic weighted kappa"
CUTS = {1: "AUC, 0 | 1 2 3", 2: "AUC, 0 1 | 2 3", 3: "AUC, 0 1 2 | 3"}


def by_grade(predictions: pd.DataFrame, grades: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How each model's scores order the four grades: an AUC for each cut between them, and an agreement.

    Parameters
    ----------
    predictions : the predictions table
    grades : KEY and ``grade`` (0-3), one row per segment
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
    InputError
        Segments without a grade of 0 to 3.
    """
    rows = []
    for run, of_run in runs(_graded(predictions, grades)):
        scored = of_run["score"], of_run["participant_id"]
        for cut, name in CUTS.items():
            area = estimated("value", roc.auc_covariance, (of_run["grade"] >= cut).astype(int), *scored)
            rows.append({**run, "quantity": name, **_sizes(of_run, cut), **area})
        rows.append({**run, "quantity": KAPPA, **_sizes(of_run, 1), **_agreement(of_run, resamples, seed)})
    columns = ["quantity", "value", "n", "n_above", "patients_above", "low", "high", "note"]
    return pd.DataFrame(rows)[[*RUN, *columns]]


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
    grades = grades[[*KEY, "grade"]].astype({"participant_id": str})
    joined = table.merge(grades, on=KEY, how="left", validate="many_to_one")
    wrong = joined[~joined["grade"].isin(range(4))]
    if len(wrong):
        first, segments = wrong.iloc[0], len(wrong.drop_duplicates(KEY))
        grade = "none" if pd.isna(first["grade"]) else first["grade"]
        found = f"found {segments} segments without a grade of 0 to 3, the first {' '.join(first[KEY])}"
        raise InputError(f"{found} with the grade {grade}; expected one of 0 to 3 for each")
    return joined.astype({"grade": int})


def _sizes(run: pd.DataFrame, cut: int) -> dict[str, int]:
    above = run["grade"] >= cut
    patients_above = run.loc[above, "participant_id"].nunique()
    return {"n": len(run), "n_above": int(above.sum()), "patients_above": patients_above}


def _agreement(run: pd.DataFrame, resamples: int, seed: int) -> dict[str, object]:
    """Quadratic weighted kappa of the grades and what the ranks of the scores make of them."""
    if run["fold"].nunique() < 2:
        return undefined("found one fold, expected others to take the shares of grades from")
    truth = run["grade"].to_numpy()
    cells = grade_pairs(truth, grades_by_rank(truth, run["score"].to_numpy(), run["fold"].to_numpy()))
    value = kappa(cells.sum(axis=0).reshape(4, 4), "quadratic")
    if value is None:
        return undefined("found one and the same grade throughout, expected several")
    tables = roc.resampled_sums(run["participant_id"], run["y_true"], cells, resamples, seed).reshape(-1, 4, 4)
    drawn = [found for table in tables if (found := kappa(table, "quadratic")) is not None]
    low, high = roc.percentiles(np.array(drawn))
    lost = len(tables) - len(drawn)
    note = f"{lost} resamples with one grade throughout are left out" if lost else ""
    return {"value": value, "low": float(low), "high": float(high), "note": note}


_COUNTS = ("n", "n_patients", "n_positive", "patients_with_positives", "patients_with_negatives")
_NUMBERS = ("auc", "low", "high", "accuracy", "sensitivity", "specificity")


def subgroups(predictions: pd.DataFrame, patients: pd.DataFrame | None = None, fewest: int = 5) -> pd.DataFrame:
    """Each model by level and side, and by sex and third of the BMI where the patients are given.

    This is exploratory: the cells are small and many, nothing is tested, and a difference between two rows is no
    finding. Small cells keep their counts and lose their numbers.

    Parameters
    ----------
    predictions : the predictions table
    patients : one row per patient: ``participant_id``, ``sex``, ``bmi``; missing values form a row "not recorded"
    fewest : patients with positives, and with negatives, that a cell needs to be shown

    Returns
    -------
    DataFrame
        One row per model, split, repeat and group: ``RUN``, ``variable``, ``group``, ``n``, ``n_patients``,
        ``n_positive``, ``patients_with_positives``, ``patients_with_negatives``, ``auc`` with ``low`` and ``high``
        (clustered by patient, logit scale), ``accuracy``, ``sensitivity``, ``specificity`` at the frozen thresholds,
        ``note`` (why numbers are withheld; empty otherwise).

    Raises
    ------
    InputError
        Patients without a row in ``patients``.
    """
    columns = {"level": "level", "side": "lat"}
    if patients is not None:
        columns |= {"sex": "sex", "BMI": "third"}
        people = _of_patients(predictions["participant_id"], patients)
        predictions = predictions.merge(people, on="participant_id", validate="many_to_one")
    rows: list[dict[str, object]] = [
        {**run, "variable": variable, "group": name, **_cell(cell, fewest)}
        for run, of_run in runs(predictions)
        for variable, column in columns.items()
        for name, cell in of_run.groupby(column, sort=True)
    ]
    return pd.DataFrame(rows)[[*RUN, "variable", "group", *_COUNTS, *_NUMBERS, "note"]]


def _of_patients(ids: pd.Series, patients: pd.DataFrame) -> pd.DataFrame:
    """Sex and third of the BMI of each patient of the table, the thirds of these patients."""
    known = patients.astype({"participant_id": str}).set_index("participant_id")
    unknown = sorted(set(ids) - set(known.index))
    if unknown:
        found = f"found {len(unknown)} patients without a row in the patients table, the first {unknown[:3]}"
        raise InputError(f"{found}; expected one each")
    present = known.loc[sorted(set(ids))]
    sex = present["sex"].astype(object).fillna(NOT_RECORDED).astype(str)
    return pd.DataFrame({"sex": sex, "third": _thirds(present["bmi"].astype(np.float64))}).reset_index()


def _thirds(bmi: pd.Series) -> pd.Series:
    """Name of each patient's third, in words that sort from low to high."""
    low, high = bmi.quantile([1 / 3, 2 / 3])
    names = [f"1st third, up to {low:.1f}", f"2nd third, up to {high:.1f}", f"3rd third, above {high:.1f}"]
    third = np.searchsorted([low, high], bmi.to_numpy(dtype=np.float64), side="left")
    return pd.Series(np.array(names)[third], index=bmi.index, dtype=object).where(bmi.notna(), NOT_RECORDED)


def _cell(cell: pd.DataFrame, fewest: int) -> dict[str, object]:
    positive = cell["y_true"] == 1
    patients = cell["participant_id"]
    with_positives, with_negatives = patients[positive].nunique(), patients[~positive].nunique()
    counts: dict[str, object] = {"n": len(cell), "n_patients": patients.nunique(), "n_positive": int(positive.sum())}
    counts |= {"patients_with_positives": with_positives, "patients_with_negatives": with_negatives}
    if min(with_positives, with_negatives) < fewest:
        found = f"{with_positives} patients with positives and {with_negatives} with negatives"
        return {**counts, **undefined(f"withheld: {found}, at least {fewest} needed", _NUMBERS)}
    area = estimated("auc", roc.auc_covariance, cell["y_true"], cell["score"], patients)
    parts, wholes = per_patient(cell, list(_NUMBERS[3:]))
    shares = parts.sum(axis=0) / wholes.sum(axis=0)
    return {**counts, **area, **dict(zip(_NUMBERS[3:], shares.tolist(), strict=True))}


def mistakes(predictions: pd.DataFrame, per_kind: int = 3) -> pd.DataFrame:
    """The most confident wrong segments of each model, false positives and false negatives.

    Parameters
    ----------
    predictions : the predictions table
    per_kind : how many of each kind, at most

    Returns
    -------
    DataFrame
        ``RUN``, ``kind`` (false positive, false negative), KEY, ``fold``, ``y_true``, ``score``, ``threshold``,
        ``margin``, the widest margin first. The margin is the share of the fold's segments whose scores lie between
        threshold and score (a score that equals one of the two counts one half), so models with different scales
        compare. A model without mistakes of a kind has no rows of it.
    """
    found = []
    for run, table in runs(predictions):
        table = table.assign(margin=_margins(table), **run)
        called = table["score"] >= table["threshold"]
        wrong = {"false positive": called & (table["y_true"] == 0), "false negative": ~called & (table["y_true"] == 1)}
        for kind, rows in wrong.items():
            widest = table[rows].sort_values(["margin", *KEY], ascending=[False, True, True, True]).head(per_kind)
            found.append(widest.assign(kind=kind))
    columns = [*RUN, "kind", *KEY, "fold", "y_true", "score", "threshold", "margin"]
    return pd.concat(found, ignore_index=True)[columns]


def _margins(table: pd.DataFrame) -> pd.Series:
    """Distance of each score from its threshold in shares of the fold's scores, 0 to 1."""
    margins = pd.Series(0.0, index=table.index)
    for _, fold in table.groupby("fold"):
        ranked = np.sort(fold["score"].to_numpy())
        margins[fold.index] = np.abs(_place(ranked, fold["score"]) - _place(ranked, fold["threshold"]))
    return margins


def _place(ranked: Floats, values: ArrayLike) -> Floats:
    """Share of the ranked scores below each value, half of those equal to it."""
    below, up_to = (np.searchsorted(ranked, values, side=side) for side in ("left", "right"))
    return (below + up_to) / (2 * len(ranked))
