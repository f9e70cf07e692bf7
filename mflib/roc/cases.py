"""Cases of an ROC analysis as they are used here: labels, scores and clusters, checked."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class RocError(ValueError):
    """Labels, scores, groups or settings that no ROC analysis can use; the message says what was found."""


def check(y_true: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """Labels (n,) and scores (n, k) as they are used here, or an error that says what is wrong.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) or (n, k)

    Returns
    -------
    positive : (n,) True where the label is 1
    scores : (n, k) float64

    Raises
    ------
    RocError
        Lengths differ, no numbers, labels other than 0 and 1, one class only, or non-finite scores.
    """
    labels, columns = _numbers(y_true, "labels"), _numbers(scores, "scores")
    columns = columns[:, None] if columns.ndim == 1 else columns
    if labels.ndim != 1 or columns.ndim != 2 or columns.shape[1] == 0:
        raise RocError(f"found labels {labels.shape} and scores {columns.shape}, expected (n,) and (n,) or (n, k)")
    if len(labels) != len(columns):
        raise RocError(f"found {len(labels)} labels and {len(columns)} scores, expected as many of each")
    positive = labels == 1
    if not (positive | (labels == 0)).all():
        raise RocError(f"found labels {np.unique(labels)[:5].tolist()}, expected 0 and 1")
    if positive.all() or not positive.any():
        classes = np.unique(labels).tolist()
        raise RocError(f"found {len(labels)} cases of class {classes}, expected positives and negatives")
    finite = np.isfinite(columns)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(axis=1))
        raise RocError(f"found {len(bad)} non-finite scores, the first at {bad[0]}: {columns[bad[0]].tolist()}")
    return positive, columns


def one_column(y_true: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """Labels (n,) and the scores (n,) of one model.

    Raises
    ------
    RocError
        As ``check``, or more than one column of scores.
    """
    positive, columns = check(y_true, scores)
    if columns.shape[1] != 1:
        raise RocError(f"found {columns.shape[1]} columns of scores, expected one")
    return positive, columns[:, 0]


def clusters(groups: ArrayLike | None, n: int) -> tuple[NDArray[np.intp], int]:
    """Number (n,) of each case's cluster, and how many clusters there are; without groups each case is its own.

    Raises
    ------
    RocError
        As ``numbered``, or not one group for each case.
    """
    if groups is None:
        return np.arange(n), n
    codes, count = numbered(groups)
    if len(codes) != n:
        raise RocError(f"found {len(codes)} groups for {n} cases, expected one for each")
    return codes, count


def numbered(groups: ArrayLike) -> tuple[NDArray[np.intp], int]:
    """Number (n,) of each group in the order in which they occur, and how many different ones there are.

    Raises
    ------
    RocError
        Groups that are no column of names, or a missing one.
    """
    try:
        codes, distinct = pd.factorize(pd.Series(groups))  # numpy would make the text "nan" of a missing name
    except (TypeError, ValueError) as error:
        raise RocError(f"found groups that are no column of names ({error}), expected one for each case") from error
    if (codes < 0).any():
        raise RocError(f"found no group at position {int(np.argmin(codes))}, expected one for each case")
    return codes, len(distinct)


def check_level(level: float) -> None:
    """A confidence level between 0 and 1, or an error."""
    if not 0 < level < 1:
        raise RocError(f"found level {level}, expected a confidence between 0 and 1, such as 0.95")


def _numbers(values: ArrayLike, name: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise RocError(f"found {name} that are no numbers ({error}), expected an array of numbers") from error
