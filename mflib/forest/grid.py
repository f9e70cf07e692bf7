"""The GLCM grid as a forest sees it: combinations of grey-level count, step and direction, six properties each."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from mflib.folds import Indices
from mflib.texture import first_order, glcm

COMBINATION = ["levels", "step", "direction"]
OTHER_FEATURES = ("nakagami_m", "nakagami_omega", *first_order.NAMES)


class ForestError(ValueError):
    """A texture table that the forest cannot use; the message says what was found."""


def columns(texture: pd.DataFrame) -> pd.DataFrame:
    """Combination and property of each GLCM column of a texture table, indexed by its name.

    Raises
    ------
    ForestError
        A combination without its six properties in order.
    """
    names = pd.Series(texture.columns[texture.columns.str.startswith("glcm_")], dtype="str")
    parts = names.str.split("_", expand=True).set_axis(["family", *COMBINATION, "property"], axis=1)
    grid = parts.astype({"levels": int, "step": int}).set_index(names)
    whole = grid.groupby(COMBINATION, sort=False)["property"].agg(tuple) == glcm.PROPERTIES
    if not whole.all():
        raise ForestError(f"combination {whole.idxmin()} has not the six properties {glcm.PROPERTIES} in order")
    return grid


def check(texture: pd.DataFrame, labels: NDArray[np.integer]) -> None:
    """Refuse a texture table that lacks a column, holds a value that is not finite, or has not a row per label.

    Raises
    ------
    ForestError
        The first such fault, with its row and column.
    """
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
    ForestError
        As `check` and `columns`.
    """
    check(texture, labels)
    grid = columns(texture)
    auc = univariate_auc(texture[grid.index].to_numpy(float)[rows], labels[rows])
    return grid.assign(auc=np.maximum(auc, 1 - auc)).groupby(["levels", "step"])["auc"].mean().unstack("step")
