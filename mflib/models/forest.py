"""Random forest on texture: one GLCM combination chosen inside each fold, thirteen features, out-of-fold predictions.

Everything that learns sees ``fold.train`` only: inner folds, grouped by patient, choose the combination and the leaf
size. Threshold and scale of the scores come from ``fold.validation``; ``fold.test`` is scored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as settings
from scipy.stats import rankdata
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier

from mflib.base import parallel
from mflib.base.errors import InputError
from mflib.base.settings import STRICT, Count, Distinct, Number, Seed, Whole
from mflib.base.words import KEY, WHOLE_FAMILY
from mflib.models import folds as division
from mflib.models.folds import Fold, Indices, Labels
from mflib.models.texture import glcm, intensity
from mflib.stats import reliability
from mflib.stats.performance.probability import Frozen, freeze

NAME = "random_forest"
COMBINATION = ["levels", "step", "direction"]
OTHER_FEATURES = ("nakagami_m", "nakagami_omega", *intensity.NAMES)
FAMILIES = {"glcm": "GLCM", "nakagami": "Nakagami", "first": "First-order"}

Values = NDArray[np.float64]
Inner = Sequence[tuple[Indices, Indices]]


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

    trees: Count = 500
    leaf_sizes: Annotated[Distinct[Count], Field(min_length=1)] = (1, 5, 15)
    inner_folds: Annotated[Whole, Field(ge=2, le=1000)] = 5
    inner_trees: Count = 50
    minimum_icc: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    permutations: Count = 10
    repeats: Count = 1
    seed: Seed = 0


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


def check(texture: pd.DataFrame, labels: Labels) -> None:
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


def univariate_auc(values: Values, labels: Labels) -> Values:
    """AUC of each column by its ranks (Mann-Whitney); ties count one half.

    Parameters
    ----------
    values : (n, features)
    labels : (n,) 0 or 1, both present
    """
    positives = int(labels.sum())
    rank_sum = rankdata(values, axis=0)[labels == 1].sum(axis=0)
    return np.asarray((rank_sum - positives * (positives + 1) / 2) / (positives * (labels.size - positives)))


@dataclass(frozen=True, eq=False)
class Choice:
    """The winner of the inner folds.

    Parameters
    ----------
    features : columns of the texture table that the forest gets
    described : levels, step, direction and leaf_size of the winner; univariate_auc and inner_auc: the mean AUC over the
        held-out parts of the inner folds, of its six properties each alone and of its forest; offered: how many
        combinations there were to choose from
    """

    features: list[str]
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
    settings : leaf sizes, trees of the inner forests
    seed : of the inner forests
    """
    separation = held_out_separation(texture, grid, labels, inner)
    finalists = separation.groupby("levels", sort=False).idxmax()
    tried = []
    for combination, leaf_size in product(finalists, settings.leaf_sizes):
        own = grid.index[(grid[COMBINATION] == list(combination)).all(axis=1)]
        features = [*own, *others]
        model, values = grown(settings.inner_trees, leaf_size, seed), texture[features].to_numpy(float)
        auc = float(np.mean([held_out_auc(model, values, labels, *rows) for rows in inner]))
        found = {"univariate_auc": float(separation[combination]), "inner_auc": auc, "offered": len(separation)}
        described = dict(zip(COMBINATION, combination, strict=True)) | {"leaf_size": leaf_size} | found
        tried.append(Choice(features, described))
    return max(tried, key=lambda choice: choice.described["inner_auc"])


def held_out_auc(model: ClassifierMixin, values: Values, labels: Labels, learn: Indices, held_out: Indices) -> float:
    """AUC in some rows of a model that is fitted to others."""
    # Half the time of cross_val_score, most of which is looking at its arguments.
    score = model.fit(values[learn], labels[learn]).predict_proba(values[held_out])[:, 1:]
    return float(univariate_auc(score, labels[held_out])[0])


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


def grown(trees: int, leaf_size: int, seed: int) -> RandomForestClassifier:
    """A forest that is still to be fitted; one thread, so that scores are the same to the last digit every time."""
    return RandomForestClassifier(trees, min_samples_leaf=leaf_size, random_state=seed, n_jobs=1)


def permutation_importance(
    model: RandomForestClassifier, features: Sequence[str], values: Values, labels: Labels, repeats: int, seed: int
) -> pd.DataFrame:
    """Fall of the AUC when one feature, or all features of one family together, are shuffled (Breiman 2001).

    For single features the same as ``sklearn.inspection.permutation_importance``, which knows no families; all shuffled
    copies go through the forest in one call, because a call costs far more than its rows.

    Parameters
    ----------
    model : fitted to these features
    features : their names in the study: ``glcm_contrast``, ``nakagami_m``, ``first_order_mean``
    values, labels : (n, features) and (n,) of segments that the model has not seen
    repeats, seed : shuffles of each feature and family, and their seed

    Returns
    -------
    DataFrame
        ``family``, ``feature`` (``WHOLE_FAMILY`` where all of a family were shuffled together), ``importance`` and
        ``sd``: mean and SD over the shuffles.
    """
    families = [FAMILIES[name.split("_")[0]] for name in features]
    shuffled = [(family, features[column], [column]) for column, family in enumerate(families)]
    for family in dict.fromkeys(families):
        shuffled.append((family, WHOLE_FAMILY, [n for n, other in enumerate(families) if other == family]))
    rng = np.random.default_rng(seed)
    copies = np.tile(values, (len(shuffled), repeats, 1, 1))
    for copy, (_, _, together) in zip(copies, shuffled, strict=True):
        for one in copy:
            one[:, together] = rng.permutation(one[:, together])
    scores = model.predict_proba(copies.reshape(-1, len(features)))[:, 1].reshape(-1, labels.size)
    whole = univariate_auc(model.predict_proba(values)[:, 1:], labels)
    falls = (whole - univariate_auc(scores.T, labels)).reshape(-1, repeats)
    table = pd.DataFrame([row[:2] for row in shuffled], columns=["family", "feature"])
    return table.assign(importance=falls.mean(axis=1), sd=falls.std(axis=1))


@dataclass(frozen=True, eq=False)
class Fitted:
    """The forest of one fold: what it was fitted to, and what its validation part decided about its scores."""

    fold: int
    features: list[str]
    frozen: Frozen
    model: RandomForestClassifier


@dataclass(frozen=True, eq=False)
class ForestResult:
    """What the folds gave.

    Parameters
    ----------
    predictions : the predictions table
    choices : repeat, fold, then `Choice.described`: the combination, and how it did in the inner folds
    importance : repeat, fold, family, feature, importance, sd, as `permutation_importance` on the test part
    models : the forests of the folds of repeat 0, in their order
    """

    predictions: pd.DataFrame
    choices: pd.DataFrame
    importance: pd.DataFrame
    models: list[Fitted]


@dataclass(frozen=True, eq=False)
class _Data:
    """What all folds need."""

    texture: pd.DataFrame
    grid: pd.DataFrame
    labels: Labels
    settings: ForestSettings
    perturbed: pd.DataFrame | None


def out_of_fold(
    texture: pd.DataFrame,
    labels: Labels,
    folds: Sequence[Fold],
    settings: ForestSettings,
    *,
    perturbed: pd.DataFrame | None = None,
    workers: int = 1,
    scheduler: str = "",
) -> ForestResult:
    """Choose, fit, freeze threshold and scale, and score, fold by fold.

    Parameters
    ----------
    texture : (n, ...) the texture table: KEY, then one column per feature
    labels : (n,) 0 or 1
    folds : positions in the rows of ``texture``; of one repeat or several
    perturbed : the table of `texture.robustness.measure`, needed where ``settings.minimum_icc`` is not 0
    workers, scheduler : where folds are computed, see `parallel.outcomes`; the numbers do not depend on it

    Raises
    ------
    InputError
        Rows and labels differ in number, a feature is missing, a value is not finite, or no combination is left to
        choose from.
    InputError
        A training part with fewer than two patients of a class, which inner folds cannot divide.
    """
    if settings.minimum_icc and perturbed is None:
        raise InputError(f"minimum_icc is {settings.minimum_icc}, but no perturbed texture was given to take ICCs from")
    check(texture, labels)
    data = _Data(texture, glcm_columns(texture), labels, settings, perturbed)
    results = parallel.in_order(_fold, data, folds, "forest folds", workers=workers, scheduler=scheduler)
    *tables, fitted = zip(*results, strict=True)
    predictions, choices, importance = (pd.concat(of_folds, ignore_index=True) for of_folds in tables)
    kept = [own for fold, own in zip(folds, fitted, strict=True) if fold.repeat == 0]
    return ForestResult(predictions, choices, importance, kept)


CHOICES = (
    "The folds of all repeats chose **{different} different combinations** in {count} choices, at most {most} of them "
    "the same; between their contrasts the rank correlation is at least {least:.2f}. {so}"
)
STABLE = "So what was chosen is nearly one feature under different names."
UNSTABLE = (
    "So the choice is not stable: other patients lead to another combination, and it ranks the segments otherwise. "
    "What is said of the forest holds for the way of choosing, and not for any one combination."
)


def stability_in_words(choices: pd.DataFrame, texture: pd.DataFrame) -> str:
    """How far the folds of all repeats agree on a combination, as sentences.

    Parameters
    ----------
    choices : of `ForestResult`
    texture : (n, ...) the texture table
    """
    counts = choices[COMBINATION].astype(str).agg("_".join, axis=1).value_counts()
    least = texture[("glcm_" + counts.index + "_contrast").tolist()].corr(method="spearman").min(axis=None)
    so = STABLE if least >= reliability.GOOD else UNSTABLE
    return CHOICES.format(different=len(counts), count=len(choices), most=counts.iloc[0], least=least, so=so)


def _fold(data: _Data, fold: Fold) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Fitted]:
    """Predictions, choice and importance of one fold, and its forest."""
    labels, settings = data.labels, data.settings
    state = np.random.SeedSequence([settings.seed, fold.repeat, fold.number]).generate_state(3)
    trees, shuffles, choosing = (int(seed) for seed in state)
    choice = _choose(data, fold.train, choosing)
    values = data.texture[choice.features].to_numpy(float)
    model = grown(settings.trees, choice.described["leaf_size"], trees).fit(values[fold.train], labels[fold.train])
    frozen = freeze(labels[fold.validation], model.predict_proba(values[fold.validation])[:, 1])
    scores = model.predict_proba(values[fold.test])[:, 1]
    predictions = division.predictions(fold, data.texture, labels, scores, NAME, frozen)
    names = [name if name in OTHER_FEATURES else f"glcm_{name.rsplit('_', 1)[1]}" for name in choice.features]
    importance = permutation_importance(
        model, names, values[fold.test], labels[fold.test], settings.permutations, shuffles
    )
    chosen = _of_fold(fold, pd.DataFrame([choice.described]))
    return predictions, chosen, _of_fold(fold, importance), Fitted(fold.number, choice.features, frozen, model)


def _choose(data: _Data, rows: Indices, seed: int) -> Choice:
    """The best combination and leaf size for the segments at ``rows``."""
    texture, labels, settings = data.texture.iloc[rows], data.labels[rows], data.settings
    inner = division.inner(labels, texture["participant_id"], settings.inner_folds, seed)
    grid, others = data.grid, list(OTHER_FEATURES)
    if data.perturbed is not None and settings.minimum_icc:
        grid, others = _repeatable(grid, others, data.perturbed, texture[KEY], settings.minimum_icc)
    return choose(texture, grid, others, labels, inner, settings, seed)


def _repeatable(
    grid: pd.DataFrame, others: list[str], perturbed: pd.DataFrame, keys: pd.DataFrame, minimum: float
) -> tuple[pd.DataFrame, list[str]]:
    """The features that repeat well in these segments; of a combination those of its properties that do."""
    table = reliability.repeatability(perturbed.merge(keys, on=KEY))
    icc = table[table[reliability.PERTURBATION] == reliability.ALL].set_index("feature")["icc"]
    of_grid = icc.reindex(grid.index)
    kept = grid[of_grid >= minimum]
    if kept.empty:
        best = f"the best has {of_grid.max():.2f}"
        raise InputError(f"no GLCM feature has an ICC of at least {minimum} (minimum_icc); {best}")
    return kept, [name for name in others if icc[name] >= minimum]


def _of_fold(fold: Fold, table: pd.DataFrame) -> pd.DataFrame:
    table.insert(0, "repeat", fold.repeat)
    table.insert(1, "fold", fold.number)
    return table
