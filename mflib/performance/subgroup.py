"""The models in parts of the cohort: exploratory, without tests."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mflib import roc
from mflib.performance.proportions import interval, per_patient
from mflib.performance.table import RUN, PredictionsError, runs, validate

NOT_RECORDED = "not recorded"
_COUNTS = ("n", "n_patients", "n_positive", "patients_with_positives", "patients_with_negatives")
_NUMBERS = ("auc", "low", "high", "accuracy", "sensitivity", "specificity")


def subgroups(
    predictions: pd.DataFrame, patients: pd.DataFrame | None = None, fewest: int = 5, level: float = 0.95
) -> pd.DataFrame:
    """Each model by level and side, and by sex and third of the BMI where the patients are given.

    This is exploratory: the cells are small and many, nothing is tested, and a difference between two rows is no
    finding. Small cells keep their counts and lose their numbers.

    Parameters
    ----------
    predictions : the predictions table
    patients : one row per patient: ``participant_id``, ``sex``, ``bmi``; missing values form a row "not recorded"
    fewest : patients with positives, and with negatives, that a cell needs to be shown
    level : confidence

    Returns
    -------
    DataFrame
        One row per model, split, repeat and group: ``RUN``, ``variable``, ``group``, ``n``, ``n_patients``,
        ``n_positive``, ``patients_with_positives``, ``patients_with_negatives``, ``auc`` with ``low`` and ``high``
        (clustered by patient, logit scale), ``accuracy``, ``sensitivity``, ``specificity`` at the frozen thresholds,
        ``note`` (why numbers are withheld; empty otherwise).

    Raises
    ------
    PredictionsError
        As ``validate``; patients without a row in ``patients``, with two, or with a BMI that is no number; ``fewest``
        below 2.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    if fewest < 2:
        raise PredictionsError(f"found fewest = {fewest}, expected at least 2: an interval needs two patients")
    table = validate(predictions)
    groups = {"level": table["level"], "side": table["lat"]}
    if patients is not None:
        groups |= _of_patients(table["participant_id"], patients)
    rows: list[dict[str, object]] = [
        {**run, "variable": variable, "group": name, **_cell(cell, fewest, level)}
        for run, of_run in runs(table)
        for variable, group in groups.items()
        for name, cell in of_run.groupby(group.loc[of_run.index], sort=True)
    ]
    return pd.DataFrame(rows)[[*RUN, "variable", "group", *_COUNTS, *_NUMBERS, "note"]]


def _of_patients(ids: pd.Series, patients: pd.DataFrame) -> dict[str, pd.Series]:
    """Sex and third of the BMI of each row's patient, the thirds of the patients of the table."""
    absent = [column for column in ("participant_id", "sex", "bmi") if column not in patients]
    if absent:
        raise PredictionsError(f"found patients without the columns {absent}, expected participant_id, sex and bmi")
    known = patients.astype({"participant_id": str}).set_index("participant_id")
    unknown = sorted(set(ids) - set(known.index))
    doubled = known.index[known.index.duplicated() & known.index.isin(ids)]
    if unknown or len(doubled):
        first = (unknown or list(doubled))[:3]
        kind = "without a row" if unknown else "with two rows"
        count = len(unknown) or len(doubled)
        raise PredictionsError(
            f"found {count} patients {kind} in the patients table, the first {first}; expected one each"
        )
    present = known.loc[sorted(set(ids))]
    sex = present["sex"].astype(object).fillna(NOT_RECORDED).astype(str)
    return {"sex": ids.map(sex), "BMI": ids.map(_thirds(_bmi(present["bmi"])))}


def _bmi(recorded: pd.Series) -> pd.Series:
    """The BMI of each patient as a number, NaN where it was not recorded."""
    bmi = pd.to_numeric(recorded, errors="coerce").astype(np.float64)
    wrong = recorded[recorded.notna() & ~np.isfinite(bmi)]
    if len(wrong):
        raise PredictionsError(f"patient {wrong.index[0]}, bmi: found {wrong.iloc[0]}, expected a number or nothing")
    return bmi


def _thirds(bmi: pd.Series) -> pd.Series:
    """Name of each patient's third, in words that sort from low to high."""
    low, high = bmi.quantile([1 / 3, 2 / 3])
    names = [f"1st third, up to {low:.1f}", f"2nd third, up to {high:.1f}", f"3rd third, above {high:.1f}"]
    third = np.searchsorted([low, high], bmi.to_numpy(dtype=np.float64), side="left")
    named = pd.Series(np.array(names)[np.minimum(third, 2)], index=bmi.index, dtype=object)
    return named.where(bmi.notna(), NOT_RECORDED)


def _cell(cell: pd.DataFrame, fewest: int, level: float) -> dict[str, object]:
    positive = cell["y_true"] == 1
    patients = cell["participant_id"]
    with_positives, with_negatives = patients[positive].nunique(), patients[~positive].nunique()
    counts: dict[str, object] = {"n": len(cell), "n_patients": patients.nunique(), "n_positive": int(positive.sum())}
    counts |= {"patients_with_positives": with_positives, "patients_with_negatives": with_negatives}
    if min(with_positives, with_negatives) < fewest:
        found = f"{with_positives} patients with positives and {with_negatives} with negatives"
        return {**counts, **dict.fromkeys(_NUMBERS, np.nan), "note": f"withheld: {found}, at least {fewest} needed"}
    auc, variance = roc.auc_covariance(cell["y_true"], cell["score"], patients)
    parts, wholes = per_patient(cell, ["accuracy", "sensitivity", "specificity"])
    accuracy, sensitivity, specificity = (parts.sum(axis=0) / wholes.sum(axis=0)).tolist()
    shares = {"accuracy": accuracy, "sensitivity": sensitivity, "specificity": specificity}
    return {**counts, "auc": float(auc[0]), **shares, **interval(float(auc[0]), float(variance[0, 0]), level)}
