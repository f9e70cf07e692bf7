"""Cohort in, out-of-fold predictions and training histories out.

Thresholds are chosen on the inner validation part (Youden) with the epoch that did best there; the test part is scored
once. The processes that train are not even told the test labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mflib.base.errors import RunError
from mflib.base.progress import Progress
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models import folds as division
from mflib.models.dcnn import weights, workers
from mflib.models.dcnn.compute import NetworkSettings
from mflib.models.dcnn.fold import fold_name, merit
from mflib.models.dcnn.inputs import Epoch, FoldResult, Labels, StoredVolumes, fold_key, prepare, read_result
from mflib.models.dcnn.workers import Message, Task, places, train_all
from mflib.models.folds import Fold
from mflib.stats.performance.metrics import youden_threshold

MODEL = "dcnn"
UNTOLD = -1
Watch = Callable[[pd.DataFrame], None]


@dataclass(frozen=True, eq=False)
class NetworkResult:
    """Out-of-fold predictions and how they came about.

    Parameters
    ----------
    predictions : the predictions table, one row per segment and repeat, scores in [0, 1]
    history : split, repeat, fold, epoch, learning_rate, train_loss, validation_loss, validation_auc, kept
    folders : of the folds, in their order; each holds ``weights.pt``
    inputs : the volumes as the network saw them, in the order of the segments
    made : repeat, fold, weights (what it started from), computed (device, precision, threads)
    """

    predictions: pd.DataFrame
    history: pd.DataFrame
    folders: list[Path]
    inputs: StoredVolumes
    made: pd.DataFrame


def out_of_fold(
    cohort: Cohort,
    folds: Sequence[Fold],
    preprocessing: preprocess.GainSettings,
    settings: NetworkSettings,
    folder: Path,
    split: division.Split,
    *,
    place: str = "",
    watch: Watch = lambda history: None,
    scheduler: str = "",
) -> NetworkResult:
    """Train the network on every fold and score every fold's test part.

    Parameters
    ----------
    cohort : its ``segments`` are what the folds divide
    folds : made for ``cohort.segments``
    folder : keeps ``inputs/`` (one preprocessed volume per file) and ``{split}/fold-{repeat}-{number}/`` (weights,
        scores, history and, while it is trained, a checkpoint per epoch). The same call goes on where it was killed
    split : what the folds keep together, written into the tables
    place : folder of the folds inside ``folder``; that of the split by default
    watch : called with the history so far whenever an epoch has ended
    scheduler : address of a Dask scheduler whose workers train; empty for processes of this machine

    Raises
    ------
    RunError
        A fold cannot be trained, or its process died; finished folds stay.
    RunError
        Pretrained weights are required and cannot be had.
    RunError
        No scheduler answers at the address, or it is without workers.
    """
    weights.find(settings)  # before hours of work, and downloaded once
    source = workers.Source(cohort, preprocessing, folder / "inputs")
    inputs = prepare(cohort, preprocessing, settings, source.folder, settings.workers)
    labels = cohort.segments["label"].to_numpy(dtype=np.int64)
    planned = tasks(inputs, labels, folds, settings, folder / (place or split))
    results = train(planned, source, watch=watch, scheduler=scheduler)
    epochs = {(fold.repeat, fold.number): result.history for fold, result in zip(folds, results, strict=True)}
    table = predictions(cohort.segments, labels, folds, results, split)
    history = _history(epochs).assign(split=split)
    return NetworkResult(table, history, [task.folder for task in planned], inputs, made(folds, results, settings))


def made(folds: Sequence[Fold], results: Sequence[FoldResult], settings: NetworkSettings) -> pd.DataFrame:
    """What each fold started from and how it was computed: repeat, fold, weights, computed."""
    start = weights.described(settings)
    rows = [(f.repeat, f.number, start, r.computed) for f, r in zip(folds, results, strict=True)]
    return pd.DataFrame(rows, columns=["repeat", "fold", "weights", "computed"])


def tasks(
    inputs: StoredVolumes, labels: Labels, folds: Sequence[Fold], settings: NetworkSettings, folder: Path
) -> list[Task]:
    """What is to be trained, each fold in a folder of its own; the labels of its test part are not in it."""
    planned = []
    for fold in folds:
        told = labels.copy()
        told[fold.test] = UNTOLD
        planned.append(Task(inputs, told, fold, settings, folder / f"fold-{fold.repeat}-{fold.number}"))
    return planned


def predictions(
    segments: pd.DataFrame,
    labels: Labels,
    folds: Sequence[Fold],
    results: Sequence[FoldResult],
    split: str,
    model: str = MODEL,
) -> pd.DataFrame:
    """The predictions table of all folds, each with the threshold of its validation part.

    Parameters
    ----------
    segments : (n, ...) with the columns of KEY
    labels : (n,) 0 or 1
    folds, results : in the same order
    split : how the folds were made
    model : its name in the table
    """
    parts = []
    for fold, result in zip(folds, results, strict=True):
        threshold = youden_threshold(labels[fold.validation], result.validation)
        scores, run = np.asarray(result.test), {"model": model, "split": split}
        parts.append(division.predictions(fold, segments, labels, scores, **run, threshold=threshold))
    return pd.concat(parts, ignore_index=True)


def _history(epochs: dict[tuple[int, int], list[Epoch]]) -> pd.DataFrame:
    """The epochs of each (repeat, fold) as one table; the best one so far is marked as kept."""
    parts = []
    for (repeat, number), of_fold in sorted(epochs.items()):
        best = max(of_fold, key=merit)["epoch"]
        part = pd.DataFrame(of_fold)
        parts.append(part.assign(repeat=repeat, fold=number, kept=part["epoch"] == best))
    return pd.concat(parts, ignore_index=True)


def train(
    tasks: Sequence[Task], source: workers.Source, *, watch: Watch = lambda history: None, scheduler: str = ""
) -> list[FoldResult]:
    """The result of every task; those that are not finished are trained first, in processes here or on a cluster.

    Raises
    ------
    RunError
        As `out_of_fold`.
    """
    keys = [fold_key(task.inputs, task.labels, task.fold, task.settings) for task in tasks]
    known = [read_result(task.folder, key) for task, key in zip(tasks, keys, strict=True)]
    unfinished = [task for task, result in zip(tasks, known, strict=True) if result is None]
    if unfinished:
        finished = {
            (t.fold.repeat, t.fold.number): r.history for t, r in zip(tasks, known, strict=True) if r is not None
        }
        _train(unfinished, source, finished, watch, scheduler)
    results = [read_result(task.folder, key) for task, key in zip(tasks, keys, strict=True)]
    lost = [fold_name(task.fold) for task, result in zip(tasks, results, strict=True) if result is None]
    if lost:
        raise RunError(f"{', '.join(lost)}: trained, but not from what was asked for; did a source or input change?")
    return [result for result in results if result is not None]


def _train(
    tasks: Sequence[Task],
    source: workers.Source,
    epochs: dict[tuple[int, int], list[Epoch]],
    watch: Watch,
    scheduler: str,
) -> None:
    """Train here or on a cluster, print how far it is, and show the epochs to ``watch``."""
    progress = Progress("dcnn epochs", sum(task.settings.epochs for task in tasks))
    done = dict.fromkeys((task.folder for task in tasks), 0)
    for message in _messages(tasks, source, scheduler):
        _count(progress, done, message)
        if message.epoch is not None:
            fold = message.task.fold
            epochs.setdefault((fold.repeat, fold.number), []).append(message.epoch)
            watch(_history(epochs))


def _messages(tasks: Sequence[Task], source: workers.Source, scheduler: str) -> Iterator[Message]:
    if scheduler:
        yield from workers.train_on_cluster(source, tasks, scheduler)
        return
    with closing(train_all(tasks, places(tasks[0].settings))) as messages:
        yield from messages


def _count(progress: Progress, done: dict[Path, int], message: Message) -> None:
    """Advance by one epoch; epochs of an earlier run, and those an early stop saves, leave the total."""
    folder, epochs = message.task.folder, message.task.settings.epochs
    who = f"{folder.parent.name}, {fold_name(message.task.fold)}"
    if message.epoch is None:
        progress.total -= epochs - done[folder]
        progress.advance(0, f"{who} finished")
        return
    progress.total -= message.epoch["epoch"] - done[folder] - 1
    done[folder] = message.epoch["epoch"]
    progress.advance(
        1,
        f"{who}: epoch {message.epoch['epoch']}/{epochs}, loss {message.epoch['train_loss']:.3f}, "
        f"validation AUC {message.epoch['validation_auc']:.2f}",
    )
