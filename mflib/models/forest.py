"""Random forest on texture: one GLCM combination chosen inside each fold, thirteen features, out-of-fold predictions.

Everything that learns sees ``fold.train`` only: inner folds, grouped by patient, choose the combination and the leaf
size. The threshold comes from ``fold.validation``; ``fold.test`` is scored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from mflib.base import parallel
from mflib.base.errors import InputError
from mflib.base.progress import Progress
from mflib.base.words import KEY
from mflib.models import folds as division
from mflib.models import selection as inside
from mflib.models.folds import Fold, Indices
from mflib.models.selection import OTHER_FEATURES, Choice, ForestSettings, check, glcm_columns, univariate_auc
from mflib.stats import reliability
from mflib.stats.performance.metrics import youden_threshold

FAMILIES = {"glcm": "GLCM", "nakagami": "Nakagami", "first": "First-order"}
WHOLE_FAMILY = "all of it"


def permutation_importance(
    model: RandomForestClassifier,
    features: Sequence[str],
    values: NDArray[np.float64],
    labels: NDArray[np.integer],
    repeats: int,
    seed: int,
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
    shuffled = [
        (family, feature, [column]) for column, (family, feature) in enumerate(zip(families, features, strict=True))
    ]
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


NAME = "random_forest"
OUTSIDE = "random_forest_selected_outside"
Labels = NDArray[np.integer]
_Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
Selection = Literal["nested", "outside"]


@dataclass(frozen=True, eq=False)
class Fitted:
    """The forest of one fold: what it was fitted to, and from which score on a segment is called infiltrated."""

    fold: int
    features: list[str]
    threshold: float
    model: RandomForestClassifier


@dataclass(frozen=True, eq=False)
class ForestResult:
    """What the folds gave.

    Parameters
    ----------
    predictions : the predictions table
    choices : repeat, fold, then `selection.Choice.described`: the combination, and how it did in the inner folds
    importance : repeat, fold, family, feature, importance, sd, as `importance.permutation_importance` on the test part
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
    labels: Labels
    settings: ForestSettings
    split: str
    perturbed: pd.DataFrame | None
    outside: Choice | None = None


def out_of_fold(
    texture: pd.DataFrame,
    labels: Labels,
    folds: Sequence[Fold],
    settings: ForestSettings,
    split: str,
    *,
    selection: Selection = "nested",
    perturbed: pd.DataFrame | None = None,
    workers: int = 1,
    scheduler: str = "",
) -> ForestResult:
    """Choose, fit, set the threshold and score, fold by fold.

    Parameters
    ----------
    texture : (n, ...) the texture table: KEY, then one column per feature
    labels : (n,) 0 or 1
    folds : positions in the rows of ``texture``; of one repeat or several
    split : how the folds were made, for the predictions table
    selection : ``"nested"`` chooses inside each training part. ``"outside"`` chooses once, with all segments and their
        labels, those of the test parts included: the wrong way, for teaching; its model is called ``OUTSIDE``
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
    if selection not in get_args(Selection):
        raise InputError(f"selection is {selection!r}, expected one of {', '.join(get_args(Selection))}")
    if settings.minimum_icc and perturbed is None:
        raise InputError(f"minimum_icc is {settings.minimum_icc}, but no perturbed texture was given to take ICCs from")
    check(texture, labels)
    glcm_columns(texture)
    data = _Data(texture, labels, settings, split, perturbed)
    if selection == "outside":
        data = replace(data, outside=_choose(data, folds[0], np.arange(len(labels))))
    results = _in_order(data, folds, workers, scheduler)
    tables, models = zip(*results, strict=True)
    predictions, choices, importance = (pd.concat(part, ignore_index=True) for part in zip(*tables, strict=True))
    kept = [fitted for fold, fitted in zip(folds, models, strict=True) if fold.repeat == 0]
    return ForestResult(predictions, choices, importance, kept)


def _in_order(data: _Data, folds: Sequence[Fold], workers: int, scheduler: str) -> list[tuple[_Tables, Fitted]]:
    progress = Progress("forest folds", len(folds))
    done: dict[int, tuple[_Tables, Fitted]] = {}
    for n, outcome in parallel.outcomes(_fold, data, folds, workers=workers, scheduler=scheduler):
        if isinstance(outcome, Exception):
            outcome.add_note(f"in fold {folds[n].number} of repeat {folds[n].repeat}")
            raise outcome
        done[n] = outcome
        progress.advance()
    return [done[n] for n in range(len(folds))]


def _fold(data: _Data, fold: Fold) -> tuple[_Tables, Fitted]:
    """Predictions, choice and importance of one fold, and its forest."""
    labels, settings = data.labels, data.settings
    choice = data.outside or _choose(data, fold, fold.train)
    values = data.texture[choice.features].to_numpy(float)
    trees, shuffles, _ = _seeds(settings, fold)
    model = inside.forest(settings, settings.trees, choice.leaf_size, trees).fit(values[fold.train], labels[fold.train])
    threshold = youden_threshold(labels[fold.validation], model.predict_proba(values[fold.validation])[:, 1])
    scores = model.predict_proba(values[fold.test])[:, 1]
    run = {"model": OUTSIDE if data.outside else NAME, "split": data.split}
    predictions = division.predictions(fold, data.texture, labels, scores, **run, threshold=threshold)
    names = [name if name in OTHER_FEATURES else f"glcm_{name.rsplit('_', 1)[1]}" for name in choice.features]
    importance = permutation_importance(
        model, names, values[fold.test], labels[fold.test], settings.permutations, shuffles
    )
    tables = predictions, _of_fold(fold, pd.DataFrame([choice.described])), _of_fold(fold, importance)
    return tables, Fitted(fold.number, choice.features, threshold, model)


def _choose(data: _Data, fold: Fold, rows: Indices) -> Choice:
    """The best combination and leaf size for the segments at ``rows``."""
    texture, labels, settings = data.texture.iloc[rows], data.labels[rows], data.settings
    seed = _seeds(settings, fold)[2]
    inner = division.inner(labels, texture["participant_id"], settings.inner_folds, seed)
    grid, others = glcm_columns(texture), list(OTHER_FEATURES)
    if data.perturbed is not None and settings.minimum_icc:
        grid, others = _repeatable(grid, others, data.perturbed, texture[KEY], settings.minimum_icc)
    return inside.choose(texture, grid, others, labels, inner, settings, seed)


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


def _seeds(settings: ForestSettings, fold: Fold) -> tuple[int, int, int]:
    """Seeds of trees, shuffles and choice."""
    state = np.random.SeedSequence([settings.seed, fold.repeat, fold.number]).generate_state(3)
    return int(state[0]), int(state[1]), int(state[2])


def _of_fold(fold: Fold, table: pd.DataFrame) -> pd.DataFrame:
    table.insert(0, "repeat", fold.repeat)
    table.insert(1, "fold", fold.number)
    return table
