"""Cohort in, out-of-fold predictions and training histories out.

Thresholds are chosen on the inner validation part (Youden) with the epoch that did best there; the test part is scored
once. The processes that train are not even told the test labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mflib import folds as division
from mflib import preprocess
from mflib.cohort import Cohort
from mflib.dcnn.fold import Labels, TrainingError, merit, name
from mflib.dcnn.inputs import prepare
from mflib.dcnn.record import FoldResult, fold_key, read_result
from mflib.dcnn.settings import Settings
from mflib.dcnn.workers import Message, Task, train_all
from mflib.folds import Fold
from mflib.performance import youden_threshold
from mflib.progress import Progress

__all__ = ["Result", "Settings", "TrainingError", "out_of_fold"]

MODEL = "dcnn"
UNTOLD = -1


@dataclass(frozen=True, eq=False)
class Result:
    """Out-of-fold predictions and how they came about.

    Parameters
    ----------
    predictions : the predictions table, one row per segment and repeat, scores in [0, 1]
    history : split, repeat, fold, epoch, learning_rate, train_loss, validation_loss, validation_auc, kept
    """

    predictions: pd.DataFrame
    history: pd.DataFrame


def out_of_fold(
    cohort: Cohort,
    folds: Sequence[Fold],
    preprocessing: preprocess.Settings,
    settings: Settings,
    folder: Path,
    split: division.Split,
) -> Result:
    """Train the network on every fold and score every fold's test part.

    Parameters
    ----------
    cohort : its ``segments`` are what the folds divide
    folds : made for ``cohort.segments``
    folder : keeps ``inputs/`` (one preprocessed volume per file) and ``{split}/fold-{repeat}-{number}/`` (weights,
        scores, history and, while it is trained, a checkpoint per epoch). The same call goes on where it was killed
    split : what the folds keep together, written into the tables

    Raises
    ------
    TrainingError
        A fold cannot be trained, or its process died; finished folds stay.
    """
    inputs = prepare(cohort, preprocessing, settings.size, folder / "inputs", settings.workers)
    labels = cohort.segments["label"].to_numpy(dtype=np.int64)
    tasks = [
        Task(inputs, _without_test(labels, fold), fold, settings, folder / split / f"fold-{fold.repeat}-{fold.number}")
        for fold in folds
    ]
    results = _trained(tasks)
    tables = [_tables(cohort.segments, labels, f, r, split) for f, r in zip(folds, results, strict=True)]
    predictions, histories = zip(*tables, strict=True)
    return Result(pd.concat(predictions, ignore_index=True), pd.concat(histories, ignore_index=True))


def _without_test(labels: Labels, fold: Fold) -> Labels:
    told = labels.copy()
    told[fold.test] = UNTOLD
    return told


def _trained(tasks: Sequence[Task]) -> list[FoldResult]:
    """The result of every task; those that are not finished are trained first."""
    keys = [fold_key(task.inputs, task.labels, task.fold, task.settings) for task in tasks]
    unfinished = [t for t, key in zip(tasks, keys, strict=True) if read_result(t.folder, key) is None]
    if unfinished:
        _train(unfinished)
    results = [read_result(task.folder, key) for task, key in zip(tasks, keys, strict=True)]
    lost = [name(task.fold) for task, result in zip(tasks, results, strict=True) if result is None]
    if lost:
        raise TrainingError(
            f"{', '.join(lost)}: trained, but not from what was asked for; did a source or input change?"
        )
    return [result for result in results if result is not None]


def _train(tasks: Sequence[Task]) -> None:
    """Train in child processes and print how far they are."""
    settings = tasks[0].settings
    progress = Progress("dcnn epochs", settings.epochs * len(tasks))
    done = dict.fromkeys((task.folder for task in tasks), 0)
    with closing(train_all(tasks, 1 if torch.cuda.is_available() else settings.workers)) as messages:
        for message in messages:
            _count(progress, done, message)


def _count(progress: Progress, done: dict[Path, int], message: Message) -> None:
    """Advance by one epoch; epochs of an earlier run, and those an early stop saves, leave the total."""
    fold, folder, epochs = message.task.fold, message.task.folder, message.task.settings.epochs
    if message.epoch is None:
        progress.total -= epochs - done[folder]
        progress.advance(0, f"{name(fold)} finished")
        return
    progress.total -= message.epoch["epoch"] - done[folder] - 1
    done[folder] = message.epoch["epoch"]
    progress.advance(
        1,
        f"{name(fold)}: epoch {message.epoch['epoch']}/{epochs}, loss {message.epoch['train_loss']:.3f}, "
        f"validation AUC {message.epoch['validation_auc']:.2f}",
    )


def _tables(
    segments: pd.DataFrame, labels: Labels, fold: Fold, result: FoldResult, split: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of one fold in the predictions table and in the history."""
    threshold = youden_threshold(labels[fold.validation], result.validation)
    scores = np.asarray(result.test)
    predictions = division.predictions(fold, segments, labels, scores, model=MODEL, split=split, threshold=threshold)
    history = pd.DataFrame(result.history)
    history["kept"] = history["epoch"] == max(result.history, key=merit)["epoch"]
    for position, (column, value) in enumerate({"split": split, "repeat": fold.repeat, "fold": fold.number}.items()):
        history.insert(position, column, value)
    return predictions, history
