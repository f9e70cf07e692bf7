"""Folds on the workers of a Dask cluster, each in a process of its own as on this machine.

A worker finds the cohort under the same path. Where it sees the run folder too, it takes the inputs from there, and
another worker goes on from the last epoch of one that was lost; where it does not, it makes the inputs for itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mflib import atomic, parallel, preprocess
from mflib.cohort import Cohort
from mflib.dcnn import weights, workers
from mflib.dcnn.inputs import prepare
from mflib.dcnn.record import RESULT, WEIGHTS
from mflib.dcnn.workers import Message, Task

# A fold's kept weights and its record, as they stand in its folder.
Files = tuple[bytes, bytes]


@dataclass(frozen=True, eq=False)
class Source:
    """What a worker needs to make the inputs for itself, and the folder that they go to."""

    cohort: Cohort
    preprocessing: preprocess.Settings
    folder: Path


@dataclass(frozen=True, eq=False)
class _Job:
    """A task, and the digest of the weights that its caller found for it."""

    task: Task
    weights: str | None


def train_all(source: Source, tasks: Sequence[Task], scheduler: str) -> Iterator[Message]:
    """Train folds on a cluster and bring their weights and records here; yields the epochs of each as it is done.

    Raises
    ------
    parallel.SchedulerError
        No scheduler answers, or it is without workers.
    Exception
        Whatever a fold raised on its worker, with where it came from. Finished folds stay.
    """
    jobs = [_Job(task, weights.digest(task.settings)) for task in tasks]
    for position, outcome in parallel.outcomes(_train, source, jobs, workers=1, scheduler=scheduler):
        task = tasks[position]
        if isinstance(outcome, Exception):
            raise outcome
        _bring(task, outcome)
        for epoch in json.loads(outcome[1])["history"]:
            yield Message(task, epoch)
        yield Message(task, None)


def _train(source: Source, job: _Job) -> Files:
    """On the worker: one fold in a child process, whose environment is set before torch is imported."""
    task, found = job.task, weights.digest(job.task.settings)
    if found != job.weights:
        raise RuntimeError(
            f"{task.folder.name}: this worker found pretrained weights with SHA-256 {found}, expected {job.weights} as "
            "the caller's"
        )
    _check_gpu()
    stored = prepare(source.cohort, source.preprocessing, task.settings, source.folder, 1)
    if stored != task.inputs:
        raise RuntimeError(
            f"{task.folder.name}: this worker sees other volumes than the caller; is it the same cohort?"
        )
    for _ in workers.train_all([task], [{}]):
        pass
    return (task.folder / WEIGHTS).read_bytes(), (task.folder / RESULT).read_bytes()


def _check_gpu() -> None:
    """Folds of several threads would crowd onto the first GPU of a worker, and leave its others idle."""
    import torch
    from distributed import get_worker

    threads = get_worker().state.nthreads
    if torch.cuda.is_available() and threads > 1:
        raise RuntimeError(
            f"this worker has a GPU and {threads} threads, expected a worker with one thread for each GPU"
        )


def _bring(task: Task, files: Files) -> None:
    """Weights first: the record says that all is there, and one of other settings must not stand beside new weights."""
    task.folder.mkdir(parents=True, exist_ok=True)
    (task.folder / RESULT).unlink(missing_ok=True)
    for name, content in zip((WEIGHTS, RESULT), files, strict=True):
        with atomic.replacing(task.folder / name) as partial:
            partial.write_bytes(content)
