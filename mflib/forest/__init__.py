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

from mflib import folds as division
from mflib import parallel, reliability
from mflib.folds import Fold, Indices
from mflib.forest import selection as inside
from mflib.forest.grid import (
    COMBINATION,
    OTHER_FEATURES,
    ForestError,
    check,
    columns,
    univariate_auc,
    univariate_auc_map,
)
from mflib.forest.importance import WHOLE_FAMILY, permutation_importance
from mflib.forest.selection import Choice
from mflib.forest.settings import Settings
from mflib.performance import youden_threshold
from mflib.progress import Progress
from mflib.volume import KEY

__all__ = [
    "COMBINATION",
    "NAME",
    "OUTSIDE",
    "WHOLE_FAMILY",
    "Fitted",
    "ForestError",
    "Result",
    "Settings",
    "out_of_fold",
    "univariate_auc",
    "univariate_auc_map",
]

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
class Result:
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
    settings: Settings
    split: str
    perturbed: pd.DataFrame | None
    outside: Choice | None = None


def out_of_fold(
    texture: pd.DataFrame,
    labels: Labels,
    folds: Sequence[Fold],
    settings: Settings,
    split: str,
    *,
    selection: Selection = "nested",
    perturbed: pd.DataFrame | None = None,
    workers: int = 1,
    scheduler: str = "",
) -> Result:
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
    ForestError
        Rows and labels differ in number, a feature is missing, a value is not finite, or no combination is left to
        choose from.
    folds.FoldsError
        A training part with fewer than two patients of a class, which inner folds cannot divide.
    """
    if selection not in get_args(Selection):
        raise ForestError(f"selection is {selection!r}, expected one of {', '.join(get_args(Selection))}")
    if settings.minimum_icc and perturbed is None:
        raise ForestError(
            f"minimum_icc is {settings.minimum_icc}, but no perturbed texture was given to take ICCs from"
        )
    check(texture, labels)
    columns(texture)
    data = _Data(texture, labels, settings, split, perturbed)
    if selection == "outside":
        data = replace(data, outside=_choose(data, folds[0], np.arange(len(labels))))
    results = _in_order(data, folds, workers, scheduler)
    tables, models = zip(*results, strict=True)
    predictions, choices, importance = (pd.concat(part, ignore_index=True) for part in zip(*tables, strict=True))
    kept = [fitted for fold, fitted in zip(folds, models, strict=True) if fold.repeat == 0]
    return Result(predictions, choices, importance, kept)


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
    grid, others = columns(texture), list(OTHER_FEATURES)
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
        raise ForestError(f"no GLCM feature has an ICC of at least {minimum} (minimum_icc); {best}")
    return kept, [name for name in others if icc[name] >= minimum]


def _seeds(settings: Settings, fold: Fold) -> tuple[int, int, int]:
    """Seeds of trees, shuffles and choice."""
    state = np.random.SeedSequence([settings.seed, fold.repeat, fold.number]).generate_state(3)
    return int(state[0]), int(state[1]), int(state[2])


def _of_fold(fold: Fold, table: pd.DataFrame) -> pd.DataFrame:
    table.insert(0, "repeat", fold.repeat)
    table.insert(1, "fold", fold.number)
    return table
