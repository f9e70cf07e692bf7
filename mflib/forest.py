"""Random forest on texture: one GLCM combination chosen inside each fold, thirteen features, out-of-fold predictions.

Everything that learns sees ``fold.train`` only. The threshold comes from ``fold.validation``; ``fold.test`` is scored
once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier

from mflib import folds as division
from mflib.folds import Fold, Indices
from mflib.performance import youden_threshold
from mflib.texture import first_order, glcm

NAME = "random_forest"
COMBINATION = ["levels", "step", "direction"]
OTHER_FEATURES = ("nakagami_m", "nakagami_omega", *first_order.NAMES)
FEATURES = (*(f"glcm_{name}" for name in glcm.PROPERTIES), *OTHER_FEATURES)


class ForestError(ValueError):
    """A texture table that the forest cannot use; the message says what was found."""


@dataclass(frozen=True)
class Settings:
    """The forest and what is told about it.

    Parameters
    ----------
    trees : number of trees
    permutations : how often each feature is shuffled for its importance
    seed : of trees and shuffles; each fold derives its own from it
    """

    trees: int = 500
    permutations: int = 10
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Result:
    """What the folds gave.

    Parameters
    ----------
    predictions : the predictions table
    choices : repeat, fold, levels, step, direction, train_auc: the combination taken, and its mean univariate AUC
        over the six properties in the training part
    importance : repeat, fold, feature, importance, sd: fall of the test part's AUC when the feature is shuffled
    """

    predictions: pd.DataFrame
    choices: pd.DataFrame
    importance: pd.DataFrame


def out_of_fold(
    texture: pd.DataFrame, labels: NDArray[np.integer], folds: list[Fold], settings: Settings, split: str
) -> Result:
    """Choose, fit, set the threshold and score, fold by fold.

    Parameters
    ----------
    texture : (n, ...) the texture table: KEY, then one column per feature
    labels : (n,) 0 or 1
    folds : positions in the rows of ``texture``
    split : how the folds were made, for the predictions table

    Raises
    ------
    ForestError
        Rows and labels differ in number, a feature is missing, or a value is not finite.
    """
    _check(texture, labels)
    grid, values = _grid(texture), _glcm_values(texture)
    results = [_fold(texture, grid, values, labels, fold, settings, split) for fold in folds]
    predictions, choices, importance = (pd.concat(part, ignore_index=True) for part in zip(*results, strict=True))
    return Result(predictions, choices, importance)


def univariate_auc_map(texture: pd.DataFrame, labels: NDArray[np.integer], rows: Indices) -> pd.DataFrame:
    """How well single GLCM features separate the classes, over the grid.

    Parameters
    ----------
    texture, labels : as in `out_of_fold`
    rows : positions of the segments to look at; a training part, unless the map is only shown

    Returns
    -------
    (levels, steps) DataFrame
        Mean of max(AUC, 1 - AUC) over the properties and over those directions that the texture table has.
    """
    _check(texture, labels)
    separation = _separation(_grid(texture), _glcm_values(texture)[rows], labels[rows])
    return separation.groupby(["levels", "step"]).mean().unstack("step")


def univariate_auc(values: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """AUC of each column by its ranks (Mann-Whitney); ties count one half.

    Parameters
    ----------
    values : (n, features)
    labels : (n,) 0 or 1, both present
    """
    positives = int(labels.sum())
    rank_sum = rankdata(values, axis=0)[labels == 1].sum(axis=0)
    return np.asarray((rank_sum - positives * (positives + 1) / 2) / (positives * (labels.size - positives)))


def _fold(
    texture: pd.DataFrame,
    grid: pd.DataFrame,
    values: NDArray[np.float64],
    labels: NDArray[np.integer],
    fold: Fold,
    settings: Settings,
    split: str,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    chosen, train_auc = _choose(grid, values[fold.train], labels[fold.train])
    features = texture[[*chosen.index, *OTHER_FEATURES]].to_numpy(float)
    tree_seed, shuffle_seed = _seeds(settings, fold)
    model = RandomForestClassifier(settings.trees, random_state=tree_seed, n_jobs=-1)
    model.fit(features[fold.train], labels[fold.train])
    # Threads would add the trees' votes in any order, and scores would differ in the last digit from run to run.
    model.set_params(n_jobs=1)
    threshold = youden_threshold(labels[fold.validation], _scores(model, features[fold.validation]))
    scores = _scores(model, features[fold.test])
    predictions = division.predictions(fold, texture, labels, scores, model=NAME, split=split, threshold=threshold)
    choice = {column: chosen[column].iloc[0] for column in COMBINATION} | {"train_auc": train_auc}
    return (
        predictions,
        _of_fold(fold, pd.DataFrame([choice])),
        _of_fold(fold, _importance(model, features[fold.test], labels[fold.test], settings.permutations, shuffle_seed)),
    )


def _seeds(settings: Settings, fold: Fold) -> tuple[int, int]:
    trees, shuffles = np.random.SeedSequence([settings.seed, fold.repeat, fold.number]).generate_state(2)
    return int(trees), int(shuffles)


def _scores(model: RandomForestClassifier, features: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(model.predict_proba(features)[:, 1])


def _of_fold(fold: Fold, table: pd.DataFrame) -> pd.DataFrame:
    table.insert(0, "repeat", fold.repeat)
    table.insert(1, "fold", fold.number)
    return table


def _importance(
    model: RandomForestClassifier, features: NDArray[np.float64], labels: NDArray[np.integer], repeats: int, seed: int
) -> pd.DataFrame:
    """Fall of the AUC when one feature is shuffled (Breiman 2001), mean and SD over the shuffles.

    The same as ``sklearn.inspection.permutation_importance``, but all shuffled copies go through the forest in one
    call: with 500 trees and 70 segments a call costs far more than its rows.
    """
    rng = np.random.default_rng(seed)
    copies = np.tile(features, (len(FEATURES), repeats, 1, 1))
    for column in range(len(FEATURES)):
        copies[column, ..., column] = rng.permuted(copies[column, ..., column], axis=1)
    scores = _scores(model, copies.reshape(-1, len(FEATURES))).reshape(-1, labels.size)
    whole = univariate_auc(_scores(model, features)[:, None], labels)
    falls = (whole - univariate_auc(scores.T, labels)).reshape(-1, repeats)
    return pd.DataFrame({"feature": FEATURES, "importance": falls.mean(axis=1), "sd": falls.std(axis=1)})


def _choose(grid: pd.DataFrame, values: NDArray[np.float64], labels: NDArray[np.integer]) -> tuple[pd.DataFrame, float]:
    """The six columns of the best combination as rows of ``grid``, and its mean AUC; the first of equals."""
    separation = _separation(grid, values, labels)
    best = separation.idxmax()
    return grid[(grid[COMBINATION] == list(best)).all(axis=1)], float(separation[best])


def _separation(grid: pd.DataFrame, values: NDArray[np.float64], labels: NDArray[np.integer]) -> pd.Series:
    """Mean over the six properties of max(AUC, 1 - AUC), indexed by combination in the order of the table."""
    auc = univariate_auc(values, labels)
    return grid.assign(auc=np.maximum(auc, 1 - auc)).groupby(COMBINATION, sort=False)["auc"].mean()


def _grid(texture: pd.DataFrame) -> pd.DataFrame:
    """Combination and property of each GLCM column, indexed by its name."""
    columns = pd.Series(texture.columns[texture.columns.str.startswith("glcm_")], dtype="str")
    parts = columns.str.split("_", expand=True).set_axis(["family", *COMBINATION, "property"], axis=1)
    grid = parts.astype({"levels": int, "step": int}).set_index(columns)
    whole = grid.groupby(COMBINATION, sort=False)["property"].agg(tuple) == glcm.PROPERTIES
    if not whole.all():
        raise ForestError(f"combination {whole.idxmin()} has not the six properties {glcm.PROPERTIES} in order")
    return grid


def _glcm_values(texture: pd.DataFrame) -> NDArray[np.float64]:
    return texture.loc[:, texture.columns.str.startswith("glcm_")].to_numpy(float)


def _check(texture: pd.DataFrame, labels: NDArray[np.integer]) -> None:
    if len(texture) != len(labels):
        raise ForestError(f"found {len(texture)} rows of texture and {len(labels)} labels, expected one label per row")
    missing = [name for name in OTHER_FEATURES if name not in texture]
    if missing or not texture.columns.str.startswith("glcm_").any():
        raise ForestError(f"the texture table lacks {', '.join(missing) or 'every glcm_ column'}")
    numbers = texture.loc[:, [*texture.columns[texture.columns.str.startswith("glcm_")], *OTHER_FEATURES]]
    wrong = ~np.isfinite(numbers.to_numpy(float))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ForestError(f"{wrong.sum()} values are not finite, first in row {row}, column {numbers.columns[column]}")
