"""Choosing a GLCM combination and the forest's settings inside each fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as settings
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from mflib.base.errors import InputError
from mflib.base.settings import STRICT
from mflib.models.folds import Indices
from mflib.models.texture import glcm, intensity

COMBINATION = ["levels", "step", "direction"]
OTHER_FEATURES = ("nakagami_m", "nakagami_omega", *intensity.NAMES)


@settings(frozen=True, config=STRICT)
class ForestSettings:
    """The forest, how its combination and its leaves are chosen, and what is told about it.

    Parameters
    ----------
    trees : number of trees
    leaf_sizes : least numbers of segments in a leaf, of which the inner folds choose one
    inner_folds : folds inside each training part, grouped by patient; fewer where fewer patients have a class
    inner_trees : trees of the forests that only choose
    minimum_icc : features whose ICC(2,1) under perturbation is lower in the training patients are not offered: a
        combination has only its other properties; 0 offers all, see `reliability`
    permutations : how often each feature is shuffled for its importance
    repeats : how often the whole cross-validation is repeated with other folds
    seed : of trees, inner folds and shuffles; each fold derives its own from it

    """

    trees: Annotated[int, Field(ge=1)] = 500
    leaf_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 5, 15)
    inner_folds: Annotated[int, Field(ge=2)] = 5
    inner_trees: Annotated[int, Field(ge=1)] = 50
    minimum_icc: Annotated[float, Field(ge=0, lt=1)] = 0.0
    permutations: Annotated[int, Field(ge=1)] = 10
    repeats: Annotated[int, Field(ge=1)] = 1
    seed: int = 0


def glcm_columns(texture: pd.DataFrame) -> pd.DataFrame:
    """Combination and property of each GLCM column of a texture table, indexed by its name.

    Raises
    ------
    InputError
        A combination without its six properties in order.
    """
    names = pd.Series(texture.columns[texture.columns.str.startswith("glcm_")], dtype="str")
    parts = names.str.split("_", expand=True).set_axis(["family", *COMBINATION, "property"], axis=1)
    grid = parts.astype({"levels": int, "step": int}).set_index(names)
    whole = grid.groupby(COMBINATION, sort=False)["property"].agg(tuple) == glcm.PROPERTIES
    if not whole.all():
        raise InputError(f"combination {whole.idxmin()} has not the six properties {glcm.PROPERTIES} in order")
    return grid


def check(texture: pd.DataFrame, labels: NDArray[np.integer]) -> None:
    """Refuse a texture table that lacks a column, holds a value that is not finite, or has not a row per label.

    Raises
    ------
    InputError
        The first such fault, with its row and column.
    """
    if len(texture) != len(labels):
        raise InputError(f"found {len(texture)} rows of texture and {len(labels)} labels, expected one label per row")
    missing = [name for name in OTHER_FEATURES if name not in texture]
    if missing or not texture.columns.str.startswith("glcm_").any():
        raise InputError(f"the texture table lacks {', '.join(missing) or 'every glcm_ column'}")
    numbers = texture.loc[:, [*texture.columns[texture.columns.str.startswith("glcm_")], *OTHER_FEATURES]]
    wrong = ~np.isfinite(numbers.to_numpy(float))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(f"{wrong.sum()} values are not finite, first in row {row}, column {numbers.columns[column]}")


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


def univariate_auc_map(texture: pd.DataFrame, labels: NDArray[np.integer], rows: Indices) -> pd.DataFrame:
    """How well single GLCM features separate the classes, over the grid.

    Parameters
    ----------
    texture : (n, ...) the texture table
    labels : (n,) 0 or 1
    rows : positions of the segments to look at; a training part, unless the map is only shown

    Returns
    -------
    (levels, steps) DataFrame
        Mean of max(AUC, 1 - AUC) over the properties and over those directions that the texture table has.

    Raises
    ------
    InputError
        As `check` and `columns`.
    """
    check(texture, labels)
    grid = glcm_columns(texture)
    auc = univariate_auc(texture[grid.index].to_numpy(float)[rows], labels[rows])
    return grid.assign(auc=np.maximum(auc, 1 - auc)).groupby(["levels", "step"])["auc"].mean().unstack("step")


Values = NDArray[np.float64]
Labels = NDArray[np.integer]
Inner = Sequence[tuple[Indices, Indices]]


@dataclass(frozen=True, eq=False)
class Choice:
    """The winner of the inner folds.

    Parameters
    ----------
    features : columns of the texture table that the forest gets
    leaf_size : least number of segments in a leaf
    described : levels, step, direction and leaf_size of the winner; univariate_auc and inner_auc: the mean AUC over the
        held-out parts of the inner folds, of its six properties each alone and of its forest; offered: how many
        combinations there were to choose from
    """

    features: list[str]
    leaf_size: int
    described: dict[str, Any]


def choose(
    texture: pd.DataFrame,
    grid: pd.DataFrame,
    others: Sequence[str],
    labels: Labels,
    inner: Inner,
    settings: ForestSettings,
    seed: int,
) -> Choice:
    """The best combination of each grey-level count goes on to the forests, with every leaf size; the best one wins.

    Single features are judged first because 1170 forests in every inner fold would take hours. Neighbouring
    combinations are nearly the same feature, so one of each grey-level count goes on. Of equals the first is taken.

    Parameters
    ----------
    texture : (n, ...) rows to learn from
    grid : combination and property of the columns to choose from, as `grid.columns`
    others : columns that go into every forest
    labels : (n,) 0 or 1
    inner : positions to learn from and held out, of each inner fold
    settings : leaf sizes, trees of the inner forests, class weights
    seed : of the inner forests
    """
    separation = held_out_separation(texture, grid, labels, inner)
    finalists = separation.groupby("levels", sort=False).idxmax()
    best: Choice | None = None
    for combination in finalists:
        own = grid.index[(grid[COMBINATION] == list(combination)).all(axis=1)]
        features = [*own, *others]
        values = texture[features].to_numpy(float)
        for leaf_size in settings.leaf_sizes:
            auc = inner_auc(values, labels, inner, settings, leaf_size, seed)
            if best is None or auc > best.described["inner_auc"]:
                found = {"univariate_auc": float(separation[combination]), "inner_auc": auc, "offered": len(separation)}
                described = dict(zip(COMBINATION, combination, strict=True)) | {"leaf_size": leaf_size} | found
                best = Choice(features, leaf_size, described)
    assert best is not None, "a grid has at least one combination"
    return best


def held_out_separation(texture: pd.DataFrame, grid: pd.DataFrame, labels: Labels, inner: Inner) -> pd.Series:
    """How well the properties of each combination separate classes in segments that they were not looked at in.

    Whether high means positive is read off the learning part of each inner fold, the AUC off its held-out part.

    Returns
    -------
    Series
        Mean AUC over properties and inner folds by levels, step, direction, in the order of the grid.
    """
    values = texture[grid.index].to_numpy(float)
    total = np.zeros(len(grid))
    for learn, held_out in inner:
        upward = univariate_auc(values[learn], labels[learn]) >= 0.5
        auc = univariate_auc(values[held_out], labels[held_out])
        total += np.where(upward, auc, 1 - auc)
    return grid.assign(auc=total / len(inner)).groupby(COMBINATION, sort=False)["auc"].mean()


def inner_auc(
    values: Values, labels: Labels, inner: Inner, settings: ForestSettings, leaf_size: int, seed: int
) -> float:
    """Mean AUC over the held-out parts of the inner folds, of a forest fitted to the rest."""
    areas = []
    for learn, held_out in inner:
        model = forest(settings, settings.inner_trees, leaf_size, seed).fit(values[learn], labels[learn])
        areas.append(roc_auc_score(labels[held_out], model.predict_proba(values[held_out])[:, 1]))
    return float(np.mean(areas))


def forest(settings: ForestSettings, trees: int, leaf_size: int, seed: int) -> RandomForestClassifier:
    """A forest that is still to be fitted; one thread, so that scores are the same to the last digit every time."""
    return RandomForestClassifier(trees, min_samples_leaf=leaf_size, random_state=seed, n_jobs=1)
