"""What a model must beat: mean echo intensity, and age, sex and BMI without any image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mflib.base.errors import InputError
from mflib.models import folds as division
from mflib.models.folds import Fold, Indices, Labels
from mflib.stats.performance.probability import freeze

CLINICAL = ["age", "sex", "bmi"]
SEX = {"F": 0.0, "M": 1.0}
Score = Callable[[Indices], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """Predictions of the baselines, and why one of them is left out; an empty text where none is."""

    predictions: pd.DataFrame
    left_out: str


def echo_intensity(texture: pd.DataFrame, labels: Labels, folds: Sequence[Fold]) -> pd.DataFrame:
    """Mean grey level after gain normalisation, standardised by the training part, as the score.

    Whether bright means positive is also decided in the training part.

    Parameters
    ----------
    texture : (n, ...) with KEY and ``first_order_mean``
    labels : (n,) 0 or 1
    folds : positions in the rows of ``texture``

    Returns
    -------
    DataFrame
        The predictions table.

    Raises
    ------
    InputError
        All means of a training part are equal.
    """
    mean = texture["first_order_mean"].to_numpy(float)

    def fit(train: Indices) -> Score:
        spread = mean[train].std()
        if spread == 0:
            raise InputError(f"first_order_mean is {mean[train[0]]:g} in a whole training part")
        positive = labels[train] == 1
        sign = 1 if mean[train][positive].mean() >= mean[train][~positive].mean() else -1
        return lambda rows: sign * (mean[rows] - mean[train].mean()) / spread

    return _out_of_fold("echo_intensity", texture, labels, folds, fit)


def clinical(segments_with_patients: pd.DataFrame, labels: Labels, folds: Sequence[Fold]) -> pd.DataFrame:
    """Logistic regression on age, sex and BMI, the score being the predicted probability.

    Missing values take the median of the training part; values are standardised by the training part; the weights
    have scikit-learn's default ridge penalty (C = 1). A column without any value in a training part carries nothing
    in that fold: it is constant there, so its weight is zero.

    Parameters
    ----------
    segments_with_patients : (n, ...) one row per segment, with KEY, ``age`` in years, ``sex`` M or F, ``bmi`` in kg/m2
    labels, folds : as in `echo_intensity`

    Returns
    -------
    DataFrame
        The predictions table.

    Raises
    ------
    InputError
        A column is missing, or a training part has no value of any of the three.
    """
    table = segments_with_patients
    missing = [column for column in CLINICAL if column not in table]
    if missing:
        raise InputError(f"found no column {', '.join(missing)}, expected {', '.join(CLINICAL)}")
    values = table[CLINICAL].assign(sex=table["sex"].map(SEX)).to_numpy(float, na_value=np.nan)

    def fit(train: Indices) -> Score:
        if np.isnan(values[train]).all():
            raise InputError(f"{', '.join(CLINICAL)}: all values of a training part are missing")
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        model = make_pipeline(imputer, StandardScaler(), LogisticRegression()).fit(values[train], labels[train])
        return lambda rows: np.asarray(model.predict_proba(values[rows])[:, 1])

    return _out_of_fold("clinical", segments_with_patients, labels, folds, fit)


def out_of_fold(
    texture: pd.DataFrame, segments_with_patients: pd.DataFrame, labels: Labels, folds: Sequence[Fold]
) -> BaselineResult:
    """Both baselines; the clinical one is left out, and said, where a cohort has no age, sex and BMI to fit it on."""
    predictions = [echo_intensity(texture, labels, folds)]
    left_out = ""
    try:
        predictions.append(clinical(segments_with_patients, labels, folds))
    except InputError as error:
        left_out = f"The clinical baseline is left out: {error}."
    return BaselineResult(pd.concat(predictions, ignore_index=True), left_out)


LEVEL = (
    "The spinal level alone, without a picture, has an AUC of **{auc:.2f}** (mean of folds; 0.5 says nothing). A model "
    "that reads the level off a region's size or depth gets as far without seeing any fat."
)


def level_in_words(keys: pd.DataFrame, labels: Labels, folds: Sequence[Fold]) -> str:
    """What the share of 1 at each level of the training parts says of the test parts, as a sentence."""
    table, areas = pd.DataFrame({"level": keys["level"].to_numpy(), "label": labels}), []
    for fold in folds:
        shares = table.iloc[fold.train].groupby("level")["label"].mean()
        score = table["level"].iloc[fold.test].map(shares).fillna(labels[fold.train].mean())
        areas.append(roc_auc_score(labels[fold.test], score))
    return LEVEL.format(auc=np.mean(areas))


def _out_of_fold(
    name: str, keys: pd.DataFrame, labels: Labels, folds: Sequence[Fold], fit: Callable[[Indices], Score]
) -> pd.DataFrame:
    """Fit on train, freeze on validation, score test once; ``fit`` gives a function from positions to scores."""
    blocks = []
    for fold in folds:
        score = fit(fold.train)
        frozen = freeze(labels[fold.validation], score(fold.validation))
        blocks.append(division.predictions(fold, keys, labels, score(fold.test), name, frozen))
    return pd.concat(blocks, ignore_index=True)
