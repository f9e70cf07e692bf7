"""Choosing a GLCM combination and the forest's settings with inner folds, which whoever judges has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from mflib.folds import Indices
from mflib.forest.grid import COMBINATION, univariate_auc
from mflib.forest.settings import Settings

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
    settings: Settings,
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


def inner_auc(values: Values, labels: Labels, inner: Inner, settings: Settings, leaf_size: int, seed: int) -> float:
    """Mean AUC over the held-out parts of the inner folds, of a forest fitted to the rest."""
    areas = []
    for learn, held_out in inner:
        model = forest(settings, settings.inner_trees, leaf_size, seed).fit(values[learn], labels[learn])
        areas.append(roc_auc_score(labels[held_out], model.predict_proba(values[held_out])[:, 1]))
    return float(np.mean(areas))


def forest(settings: Settings, trees: int, leaf_size: int, seed: int) -> RandomForestClassifier:
    """A forest that is still to be fitted; one thread, so that scores are the same to the last digit every time."""
    weight = None if settings.class_weight == "none" else settings.class_weight
    return RandomForestClassifier(trees, min_samples_leaf=leaf_size, class_weight=weight, random_state=seed, n_jobs=1)
