"""Stratified folds by patient, or by segment where asked for by name, each with an inner validation part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mflib.base.errors import InputError
from mflib.base.words import KEY

# A process that trains is handed its fold and divides nothing: what divides is imported where it is used, since pandas
# and scikit-learn together take more than a second.
if TYPE_CHECKING:
    import pandas as pd

    from mflib.stats.performance.probability import Frozen

Split = Literal["patient", "segment"]
Indices = NDArray[np.intp]
Labels = NDArray[np.integer]
Ints = NDArray[np.int64]
PARTS = ("train", "validation", "test")
# The paper's share of each training set for validation: one of five.
INNER_FOLDS = 5
# So many patients of each class let inner folds learn from one and hold out another.
ROOM = 2
# With few patients of a class a shuffle can leave a part without one; the next is tried, in a fixed order.
SHUFFLES = 100
# The numbers of folds that are tried where the one that is asked for cannot be.
TRIED = range(2, 11)
Splitter = Callable[[int, int, Ints, Ints], Iterable[tuple[Indices, Indices]]]


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of the segments.

    Parameters
    ----------
    repeat : which repetition of the whole cross-validation, from 0
    number : which fold of it, from 1
    train, validation, test : positions in the segments table, each sorted, without overlap, together all of them
    split : what it keeps together
    """

    repeat: int
    number: int
    train: Indices
    validation: Indices
    test: Indices
    split: Split = "patient"

    def __str__(self) -> str:
        """How messages call it."""
        return f"fold {self.number} of repeat {self.repeat}"


def make(
    labels: ArrayLike, groups: ArrayLike, *, n_folds: int = 5, split: Split = "patient", seed: int, repeat: int = 0
) -> list[Fold]:
    """Divide segments into folds; every segment is tested once.

    Train, validation and test of every fold hold both classes. Of 100 seeded shuffles the first that allows it is
    taken; the first half of them balances the classes over the folds, the second half, for small cohorts where balance
    and both classes cannot be had together, does not. Shuffles that leave two patients of each class in every training
    part, for inner folds to divide, go before those that leave one. Validation is a fifth of what is not tested, or
    more where fewer than five patients of a class remain.

    Parameters
    ----------
    labels : (n,) 0 or 1
    groups : (n,) the patient of each segment
    n_folds : number of folds, at least 2
    split : ``"patient"`` keeps all segments of a patient in one part. ``"segment"`` divides segments as if each were
        of another patient, as the paper did: its results are too good where segments of a patient are alike
    seed, repeat : together decide the shuffle

    Raises
    ------
    InputError
        No shuffle gives both classes to every part.
    """
    y, patients = _coded(labels, groups)
    units = patients if split == "patient" else np.arange(y.size)
    if folds := _shuffled(y, units, n_folds, split, seed, repeat):
        _check_disjoint(folds, units)
        return [replace(fold, repeat=repeat, split=split) for fold in folds]
    advised = advice(y, patients, n_folds, split, seed, repeat)
    raise InputError(f"{_found(y, units, n_folds, split)} {advised}")


def advice(y: Ints, patients: NDArray[Any], n_folds: int, split: Split, seed: int, repeat: int) -> str:
    """What to do where ``n_folds`` cannot be had; other numbers are tried to the end, inner folds too; see `make`."""
    units = patients if split == "patient" else np.arange(y.size)

    def carried(number: int) -> bool:
        folds = _shuffled(y, units, number, split, seed, repeat) or []
        try:
            return bool([inner(y[fold.train], patients[fold.train], INNER_FOLDS, seed) for fold in folds])
        except InputError:
            return False

    if others := [str(n) for n in TRIED if n != n_folds and carried(n)]:
        return f"With these, {' or '.join(others)} folds can be had (`n_folds` in the profile)."
    return f"Take more {split}s: no number of folds from {TRIED[0]} to {TRIED[-1]} can be had with these."


def _shuffled(y: Ints, units: Ints, n_folds: int, split: Split, seed: int, repeat: int) -> list[Fold] | None:
    """The folds of the first shuffle that allows them, None where none does."""
    if min(_holders(y, units)) < _needed(n_folds):
        return None
    for needed, shuffle in product((ROOM, 1), range(SHUFFLES)):
        seeds = np.random.SeedSequence([seed, repeat, shuffle])
        splitter = _splitter(split, stratified=shuffle < SHUFFLES // 2)
        if folds := _attempt(y, units, n_folds, splitter, seeds, needed):
            return folds
    return None


def inner(labels: ArrayLike, groups: ArrayLike, n_folds: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Divide a training part once more, by patient: positions to learn from and held out, of each inner fold.

    Both have both classes; there are fewer folds where fewer patients have a class. Shuffles are tried as in `make`.

    Parameters
    ----------
    labels : (n,) 0 or 1
    groups : (n,) the patient of each segment
    n_folds : number of inner folds, at least 2
    seed : decides the shuffle

    Raises
    ------
    InputError
        Fewer than two patients of a class, or no shuffle gives both classes to every part.
    """
    y, patients = _coded(labels, groups)
    holders = _holders(y, patients)
    parts = min(n_folds, *holders)
    for shuffle in range(SHUFFLES if parts > 1 else 0):
        (state,) = np.random.SeedSequence([seed, shuffle]).generate_state(1)
        divide = _splitter("patient", stratified=shuffle < SHUFFLES // 2)
        divided = [(np.asarray(a), np.asarray(b)) for a, b in divide(parts, int(state), y, patients)]
        if all(_both(y[learn]) and _both(y[held_out]) for learn, held_out in divided):
            return divided
    raise InputError(
        "inner folds need both classes to learn from and held out. Found of the patients of a training part "
        f"{holders[0]} with an infiltrated segment and {holders[1]} with a healthy one, expected at "
        "least two of each that can be told apart."
    )


def with_fewer(fold: Fold, labels: ArrayLike, groups: ArrayLike, share: float, seed: int) -> Fold:
    """The fold with a share of its training patients, drawn at random; validation and test stay.

    The patients of a smaller share are among those of a larger one. There are more than the share where both classes
    need them.

    Parameters
    ----------
    labels, groups : (n,) as for `make`
    share : of the patients of the training part, above 0, at most 1
    seed : decides the draw, with the fold's repeat and number
    """
    y, patients = np.asarray(labels), np.asarray(groups)
    drawn = np.random.default_rng([seed, fold.repeat, fold.number]).permutation(np.unique(patients[fold.train]))
    for count in range(max(1, round(share * drawn.size)), drawn.size + 1):
        train = fold.train[np.isin(patients[fold.train], drawn[:count])]
        if _both(y[train]):
            return replace(fold, train=train)
    return fold


def table(folds: Sequence[Fold], keys: pd.DataFrame) -> pd.DataFrame:
    """The folds as a table for ``splits.csv``: KEY, repeat, fold, part; one row per segment and fold.

    Parameters
    ----------
    folds : made for the rows of ``keys``
    keys : (n, ...) with the columns of KEY
    """
    import pandas as pd

    blocks = [
        keys[KEY].iloc[getattr(fold, part)].assign(repeat=fold.repeat, fold=fold.number, part=part)
        for fold, part in product(folds, PARTS)
    ]
    return pd.concat(blocks, ignore_index=True)


def predictions(
    fold: Fold, keys: pd.DataFrame, labels: Labels, scores: NDArray[np.float64], model: str, frozen: Frozen
) -> pd.DataFrame:
    """One fold's test segments as rows of the predictions table.

    Parameters
    ----------
    fold : whose test part was scored
    keys : (n, ...) with the columns of KEY
    labels : (n,) 0 or 1, of all segments
    scores : (n_test,) of the test part, in its order
    model : its name
    frozen : threshold and scale, of the fold's validation part
    """
    rows = keys[KEY].iloc[fold.test].reset_index(drop=True)
    rows = rows.assign(model=model, split=fold.split, repeat=fold.repeat, fold=fold.number)
    rows = rows.assign(y_true=labels[fold.test], score=scores, threshold=frozen.threshold)
    return rows.assign(probability=frozen.probability(scores))


def _coded(labels: ArrayLike, groups: ArrayLike) -> tuple[Ints, Ints]:
    """Labels and numbers of the patients."""
    import pandas as pd

    return np.asarray(labels, dtype=np.int64), pd.factorize(np.asarray(groups))[0].astype(np.int64)


def _holders(y: Ints, units: Ints) -> tuple[int, int]:
    """How many patients (or segments) have a positive, and how many a negative."""
    return np.unique(units[y == 1]).size, np.unique(units[y == 0]).size


def _needed(n_folds: int) -> int:
    """One of each class to test in every fold; two folds leave two more to train and to validate."""
    return max(n_folds, 4 if n_folds == 2 else 3)


def _found(y: Ints, units: Ints, n_folds: int, split: str) -> str:
    positive, negative = _holders(y, units)
    infiltrated, healthy = "that are infiltrated", "that are healthy"
    if split == "patient":
        infiltrated, healthy = "with an infiltrated segment", "with a healthy one"
    need, count = _needed(n_folds), np.unique(units).size
    counted = f"1 {split}" if count == 1 else f"{count} {split}s"
    return (
        f"{n_folds} folds need infiltrated (label 1) and healthy (label 0) segments in every training, validation and "
        f"test part: at least {need} {split}s {infiltrated} and {need} {healthy}. "
        f"Found {counted}: {positive} {infiltrated}, {negative} {healthy}."
    )


def _attempt(
    y: Ints, units: Ints, n_folds: int, splitter: Splitter, seeds: np.random.SeedSequence, needed: int
) -> list[Fold] | None:
    """The folds of one shuffle, None where a part lacks a class or a training part has too few patients of one."""
    outer, *inner = (int(seed) for seed in seeds.generate_state(n_folds + 1))
    folds = []
    for number, (rest, test) in enumerate(splitter(n_folds, outer, y, units), start=1):
        parts = _validation(y, units, rest, splitter, inner[number - 1], needed)
        if parts is None or not _both(y[test]):
            return None
        folds.append(Fold(0, number, *parts, test))
    return folds


def _validation(
    y: Ints, units: Ints, rest: Indices, splitter: Splitter, seed: int, needed: int
) -> tuple[Indices, Indices] | None:
    """Train and validation from what is not tested, None where one of them lacks a class or patients of it."""
    parts = min(INNER_FOLDS, *_holders(y[rest], units[rest]))
    if parts < 2:
        return None
    for train, validation in splitter(parts, seed, y[rest], units[rest]):
        if min(_holders(y[rest[train]], units[rest[train]])) >= needed and _both(y[rest[validation]]):
            return rest[train], rest[validation]
    return None


def _splitter(split: str, *, stratified: bool) -> Splitter:
    """What divides labels and units into a number of parts with a seed."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

    if split == "segment":
        return lambda parts, seed, y, units: StratifiedKFold(parts, shuffle=True, random_state=seed).split(y, y)
    kind = StratifiedGroupKFold if stratified else GroupKFold
    return lambda parts, seed, y, units: kind(parts, shuffle=True, random_state=seed).split(y, y, units)


def _both(y: Ints) -> bool:
    return bool(0 < y.sum() < y.size)


def _check_disjoint(folds: Sequence[Fold], units: Ints) -> None:
    """Rule 1 of the study, looked at rather than taken for granted."""
    for fold in folds:
        parts = [set(units[positions].tolist()) for positions in (fold.train, fold.validation, fold.test)]
        if sum(map(len, parts)) != len(set.union(*parts)):
            raise InputError(f"{fold} has a patient in two parts; report this as a bug")
