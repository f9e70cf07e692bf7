"""Cohort in, out-of-fold predictions and training histories out.

Every fold is trained in a process of `parallel`: its environment is set before torch is imported, it sees one GPU, it
ends with its parent in the middle of an epoch, and its epochs are told as they end. Every epoch is run and the last one
is kept, so the inner validation part decides nothing but threshold and scale of the scores (see `probability.freeze`);
the test part is scored once, and these processes are not told its labels.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch

from mflib.base import parallel
from mflib.base.errors import RunError
from mflib.base.files import replacing
from mflib.base.progress import Progress
from mflib.models import folds as division
from mflib.models.dcnn import network
from mflib.models.dcnn.fold import in_process
from mflib.models.dcnn.inputs import RESULT, WEIGHTS, Epoch, FoldResult, Source, Task, Volumes, prepare, read_result
from mflib.models.dcnn.settings import MODEL, NetworkSettings, describe_weights
from mflib.models.folds import Fold, Labels
from mflib.stats.performance.probability import Frozen, freeze

UNTOLD = -1
# Two threads on small networks only wait for each other, actively, on cores that other folds need. The cuBLAS
# workspace is what NVIDIA asks for where sums are to be repeatable.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
Watch = Callable[[pd.DataFrame], None]
Epochs = dict[tuple[int, int], list[Epoch]]  # by repeat and fold
Message = tuple[Task, Epoch | None]  # what is told of a task: an epoch has ended, or (None) the fold has
# A network that has not learnt stays within a few percent of the base rate's loss, or its scores near one number.
HARDLY_BELOW, HARDLY_SPREAD = 0.95, 1 / 3
LEARNT = (
    "All {count} networks have learnt: their training loss fell from {base:.2f}, which always saying the base rate "
    "would cost, to {mean:.2f} on average ({low:.2f} to {high:.2f})."
)
NOT_LEARNT = (
    "Fold {fold} has not learnt what holds for other patients: its training loss is {train_loss:.2f}, where always "
    "saying the base rate would cost {base_loss:.2f}, its validation AUC is {validation_auc:.2f}, and the SD of its "
    "scores is {spread:.2f}, where the median fold has {usual:.2f}."
)
FROZEN = "The backbone is frozen and its heads were fitted to the end: there is no training loss to look at."


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
    frozen : threshold and scale of each fold, from its validation part
    """

    predictions: pd.DataFrame
    history: pd.DataFrame
    folders: list[Path]
    inputs: Volumes
    made: pd.DataFrame
    frozen: list[Frozen]


def out_of_fold(
    source: Source,
    folds: Sequence[Fold],
    settings: NetworkSettings,
    *,
    place: str = "",
    watch: Watch = lambda history: None,
    scheduler: str = "",
) -> NetworkResult:
    """Train the network on every fold and score every fold's test part.

    Parameters
    ----------
    source : its folder keeps ``inputs/`` (one preprocessed volume per file) and ``{place}/fold-{repeat}-{number}/``
        (weights, scores, history and, while it is trained, a checkpoint per epoch). The same call goes on where it was
        killed
    folds : made for the segments of the cohort
    place : folder of the folds inside the source's; how they are split by default
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
    network.started(settings)  # before hours of work, and downloaded once
    inputs = prepare(source, settings)
    planned = tasks(source, inputs, folds, settings, source.folder / (place or folds[0].split))
    results = train(planned, source, watch=watch, scheduler=scheduler)
    epochs = {(fold.repeat, fold.number): result.history for fold, result in zip(folds, results, strict=True)}
    history = _history(epochs).assign(split=folds[0].split)
    table, record = predictions(source, folds, results), made(folds, results, settings)
    folders, scales = [task.folder for task in planned], frozen(source, folds, results)
    return NetworkResult(table, history, folders, inputs, record, scales)


def made(folds: Sequence[Fold], results: Sequence[FoldResult], settings: NetworkSettings) -> pd.DataFrame:
    """What each fold started from and how it was computed: repeat, fold, weights, computed."""
    start = describe_weights(settings)
    rows = [(f.repeat, f.number, start, r.computed) for f, r in zip(folds, results, strict=True)]
    return pd.DataFrame(rows, columns=["repeat", "fold", "weights", "computed"])


def tasks(
    source: Source, inputs: Volumes, folds: Sequence[Fold], settings: NetworkSettings, folder: Path
) -> list[Task]:
    """What is to be trained, each fold in a folder of its own; the labels of its test part are not in it."""
    planned = []
    for fold in folds:
        told = source.labels.copy()
        told[fold.test] = UNTOLD
        planned.append(Task(inputs, told, fold, settings, folder / f"fold-{fold.repeat}-{fold.number}"))
    return planned


def predictions(
    source: Source, folds: Sequence[Fold], results: Sequence[FoldResult], model: str = MODEL
) -> pd.DataFrame:
    """The predictions table of all folds, each with threshold and scale of its validation part."""
    segments, labels = source.cohort.segments, source.labels
    parts = [
        division.predictions(fold, segments, labels, np.asarray(result.test), model, scale)
        for fold, result, scale in zip(folds, results, frozen(source, folds, results), strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def frozen(source: Source, folds: Sequence[Fold], results: Sequence[FoldResult]) -> list[Frozen]:
    """Threshold and scale of each fold, from its validation part."""
    return [freeze(source.labels[f.validation], r.validation) for f, r in zip(folds, results, strict=True)]


def learning(result: NetworkResult, folds: Sequence[Fold], labels: Labels) -> pd.DataFrame:
    """Whether the network of each fold has learnt what holds for other patients too.

    Parameters
    ----------
    result : of these folds
    labels : (n,) of the segments, 0 or 1

    Returns
    -------
    The kept rows of the history with spread (SD of the scores of the test part) and, unless the network is frozen,
    base_loss (of always saying the training part's share of 1: the entropy of its labels, in nats), usual (median
    spread) and learnt: the training loss is well below base_loss, the scores spread, and the validation part is ranked
    better than by chance. Labels learnt by heart pass that by luck half the time. The validation loss does not count:
    it rises with the confidence of a long training that ranks as well
    """
    kept = result.history[result.history["kept"]].drop(columns=["kept", "split"]).set_index(["repeat", "fold"])
    kept["spread"] = result.predictions.groupby(["repeat", "fold"])["score"].std(ddof=0)
    if "train_loss" in kept:
        share = pd.Series({(fold.repeat, fold.number): labels[fold.train].mean() for fold in folds})
        kept["base_loss"] = -share * np.log(share) - (1 - share) * np.log1p(-share)
        kept["usual"] = kept["spread"].median()
        fitted = kept["train_loss"] < HARDLY_BELOW * kept["base_loss"]
        spread = kept["spread"] > HARDLY_SPREAD * kept["usual"]
        kept["learnt"] = fitted & spread & (kept["validation_auc"] > 0.5)
    return kept.reset_index()


def learning_in_words(found: pd.DataFrame) -> str:
    """Which folds have not learnt, and by what that is seen; of the table of `learning`."""
    if "learnt" not in found:
        return FROZEN
    failed = found[~found["learnt"]].to_dict("records")
    if failed:
        return " ".join(NOT_LEARNT.format(**row) for row in failed)
    losses, base = found["train_loss"], found["base_loss"].mean()
    return LEARNT.format(count=len(found), base=base, mean=losses.mean(), low=losses.min(), high=losses.max())


def _history(epochs: Epochs) -> pd.DataFrame:
    """The epochs as one table; the last one of each fold so far is marked as kept."""
    parts = []
    for (repeat, number), of_fold in sorted(epochs.items()):
        part = pd.DataFrame(of_fold)
        parts.append(part.assign(repeat=repeat, fold=number, kept=part["epoch"] == part["epoch"].max()))
    return pd.concat(parts, ignore_index=True)


def train(
    tasks: Sequence[Task], source: Source, *, watch: Watch = lambda history: None, scheduler: str = ""
) -> list[FoldResult]:
    """The result of every task; those that are not finished are trained first, in processes here or on a cluster.

    Raises
    ------
    RunError
        As `out_of_fold`.
    """
    keys = [task.key() for task in tasks]
    known = [read_result(task.folder, key) for task, key in zip(tasks, keys, strict=True)]
    unfinished = [(task, key) for task, key, result in zip(tasks, keys, known, strict=True) if result is None]
    epochs = {(t.fold.repeat, t.fold.number): r.history for t, r in zip(tasks, known, strict=True) if r is not None}
    if unfinished and scheduler:
        _follow(_on_cluster(source, unfinished, scheduler), unfinished, epochs, watch)
    elif unfinished:
        of_them = [task for task, _ in unfinished]
        with closing(train_all(of_them, places(of_them[0].settings))) as messages:
            _follow(messages, unfinished, epochs, watch)
    results = [read_result(task.folder, key) for task, key in zip(tasks, keys, strict=True)]
    lost = [str(task.fold) for task, result in zip(tasks, results, strict=True) if result is None]
    if lost:
        raise RunError(f"{', '.join(lost)}: trained, but not from what was asked for; did a source or input change?")
    return [result for result in results if result is not None]


def _follow(messages: Iterator[Message], unfinished: Sequence[tuple[Task, str]], epochs: Epochs, watch: Watch) -> None:
    """Print how far the training is, and show the epochs to ``watch``."""
    progress = Progress("dcnn epochs", sum(task.settings.epochs for task, _ in unfinished))
    done = {task.folder: 0 for task, _ in unfinished}
    for task, epoch in messages:
        fold, folder, epochs_of_fold = task.fold, task.folder, task.settings.epochs
        who = f"{folder.parent.name}, {fold}"
        # Epochs of an earlier run, and those that another process has run meanwhile, leave the total.
        if epoch is None:
            progress.total -= epochs_of_fold - done[folder]
            progress.advance(0, f"{who} finished")
            continue
        number, loss, auc = epoch["epoch"], epoch["train_loss"], epoch["validation_auc"]
        progress.total -= number - done[folder] - 1
        done[folder] = number
        progress.advance(1, f"{who}: epoch {number}/{epochs_of_fold}, loss {loss:.3f}, validation AUC {auc:.2f}")
        epochs.setdefault((fold.repeat, fold.number), []).append(epoch)
        watch(_history(epochs))


def places(settings: NetworkSettings) -> list[dict[str, str]]:
    """The environment of each process that trains here: one on every GPU, else as many as settings and cores allow."""
    gpus = torch.cuda.device_count()
    if not gpus:
        return [{} for _ in range(min(settings.workers, joblib.cpu_count()))]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in seen[:gpus]]


def train_all(
    tasks: Sequence[Task], environments: Sequence[Mapping[str, str]], check: Callable[[], None] = lambda: None
) -> Generator[Message, None, None]:
    """Train folds, one at a time in a process for each environment; yields what they say, in the order they say it.

    What ``check`` raises, every second, ends them.

    Raises
    ------
    RunError
        A fold has failed, or has killed its process twice; the message names it. The others are ended, finished folds
        stay.
    """
    own = [ENVIRONMENT | dict(environment) for environment in environments]
    with closing(parallel.outcomes(in_process, None, tasks, environments=own, check=check)) as outcomes:
        for position, told in outcomes:
            task = tasks[position]
            if isinstance(told, Exception):
                kept = f"Finished folds are kept; the same call goes on from the last whole epoch in {task.folder}"
                raise RunError(f"{task.fold}: {type(told).__name__}: {told}. {kept}") from told
            yield task, told


def _on_cluster(source: Source, unfinished: Sequence[tuple[Task, str]], scheduler: str) -> Iterator[Message]:
    """Train folds on a cluster and bring their weights and records here; yields the epochs of each as it is done."""
    for position, outcome in parallel.outcomes(_train_there, source, unfinished, workers=1, scheduler=scheduler):
        if isinstance(outcome, Exception):
            raise outcome
        task, (weights, record) = unfinished[position][0], outcome
        task.folder.mkdir(parents=True, exist_ok=True)
        # The record says that all is there, and one of other settings must not stand beside new weights.
        (task.folder / RESULT).unlink(missing_ok=True)
        for name, content in ((WEIGHTS, weights), (RESULT, record)):
            with replacing(task.folder / name) as partial:
                partial.write_bytes(content)
        for epoch in [*json.loads(record)["history"], None]:
            yield task, epoch


def _train_there(source: Source, unfinished: tuple[Task, str]) -> tuple[bytes, bytes]:
    """On the worker: one fold in a child process, from inputs of its own; weights and record as its folder has them."""
    from distributed import get_worker

    worker, (task, key) = get_worker(), unfinished
    if torch.cuda.is_available() and (threads := worker.state.nthreads) > 1:
        # Folds of several threads would crowd onto the first GPU of a worker, and leave its others idle.
        raise RunError(f"this worker has a GPU and {threads} threads, expected a worker with one thread for each GPU")
    own = replace(task, inputs=prepare(source, replace(task.settings, workers=1)))
    if own.key() != key:
        seen = "this worker sees other volumes or weights than the caller"
        raise RunError(f"{task.fold}: {seen}; is it the same cohort?")
    asked = worker.get_current_task()

    def check() -> None:
        # A cluster gives up the tasks of a client that has died.
        state = worker.state.tasks.get(asked)
        if state is None or state.state != "executing":
            raise RunError("nobody waits for this fold any more")

    with closing(train_all([own], [{}], check)) as messages:
        for _ in messages:
            check()
    return (task.folder / WEIGHTS).read_bytes(), (task.folder / RESULT).read_bytes()
