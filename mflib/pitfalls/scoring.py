"""Cheap models, scored on folds: what most experiments do again and again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mflib.folds import Fold, Indices
from mflib.forest import grid, univariate_auc

Floats = NDArray[np.float64]
Labels = NDArray[np.integer]


def forest(trees: int, seed: int) -> RandomForestClassifier:
    """A forest of one thread, its trees grown to the end."""
    return RandomForestClassifier(trees, random_state=seed, n_jobs=1)


def logistic() -> ClassifierMixin:
    """Logistic regression on standardised features, with scikit-learn's default ridge penalty."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def scores(model: ClassifierMixin, values: Floats, labels: Labels, train: Indices, rows: Indices) -> Floats:
    """Probability of infiltration of some rows, by a model fitted to others."""
    return np.asarray(model.fit(values[train], labels[train]).predict_proba(values[rows])[:, 1])


def mean_auc(model: ClassifierMixin, values: Floats, labels: Labels, folds: Sequence[Fold]) -> float:
    """AUC in the test part, mean over folds.

    Not pooled: without anything to find, the more positives a test part has the fewer the training part had, and that
    alone pushes a pooled AUC below 0.5.
    """
    tested = [(scores(model, values, labels, f.train, f.test), labels[f.test]) for f in folds]
    return float(np.mean([univariate_auc(score[:, None], truth)[0] for score, truth in tested]))


def thirteen(texture: pd.DataFrame) -> Floats:
    """Features of the paper's forest without a choice: the grid's middle combination, Nakagami and first-order.

    Parameters
    ----------
    texture : (n, ...) the texture table

    Returns
    -------
    (n, 13)
    """
    columns = grid.columns(texture)
    combinations = columns[grid.COMBINATION].drop_duplicates()
    middle = combinations.iloc[len(combinations) // 2]
    six = columns.index[(columns[grid.COMBINATION] == middle).all(axis=1)]
    return texture[[*six, *grid.OTHER_FEATURES]].to_numpy(float)
