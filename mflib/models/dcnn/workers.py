"""Folds in child processes, on this machine or on the workers of a Dask cluster."""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mflib.base import parallel
from mflib.base.errors import RunError
from mflib.base.files import replacing
from mflib.data import preprocess
from mflib.models.dcnn import weights
from mflib.models.dcnn.compute import NetworkSettings
from mflib.models.dcnn.fold import fold_name, train_fold
from mflib.models.dcnn.inputs import RESULT, WEIGHTS, Epoch, Labels, Volumes, prepare
from mflib.models.folds import Fold

if TYPE_CHECKING:
    from mflib.data.cohort import Cohort

# Two threads on small networks only wait for each other, actively, on cores that other folds need. The cuBLAS
# workspace is what NVIDIA asks for where sums are to be repeatable.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@dataclass(frozen=True, eq=False)
class Task:
    """One fold to be trained; see ``fold.train_fold``."""

    inputs: Volumes
    labels: Labels
    fold: Fold
    settings: NetworkSettings
    folder: Path


@dataclass(frozen=True)
class Message:
    """What a child says: an epoch has ended, or (None) the fold has."""

    task: Task
    epoch: Epoch | None


def places(settings: NetworkSettings) -> list[dict[str, str]]:
    """The environment of each process that trains here: one for every GPU, ``settings.workers`` where there is none."""
    import torch

    gpus = torch.cuda.device_count()
    if not gpus:
        return [{} for _ in range(settings.workers)]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in seen[:gpus]]


class Child:
    """One child process with its three streams, and what its environment has besides that of all."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in ``close``
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mflib.models.dcnn.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | ENVIRONMENT | dict(environment or {}),
            start_new_session=True,  # an interrupt is for the parent, which ends its children
        )

    def train(self, task: Task) -> Iterator[Message]:
        """Hand over one fold and pass on what the child says of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            pickle.dump(task, self.process.stdin)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._death(task) from None
        for line in iter(self.process.stdout.readline, b""):
            message = Message(task, json.loads(line))
            yield message
            if message.epoch is None:
                return
        raise self._death(task)

    def close(self) -> None:
        """End the child, which has nothing to lose but the epoch in hand, and pass on what it had to say."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                _close(stream)
        sys.stderr.write(self._said())
        self.errors.close()

    def _said(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def _death(self, task: Task) -> RunError:
        code = self.process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        last = (self._said().strip().splitlines() or ["nothing on its standard error"])[-1]
        return RunError(
            f"{fold_name(task.fold)}: its process ended with {how} ({last}). Finished folds are kept; "
            f"the same call goes on from the last whole epoch in {task.folder}"
        )


def train_all(tasks: Sequence[Task], environments: Sequence[Mapping[str, str]]) -> Generator[Message, None, None]:
    """Train folds, one at a time in a process for each environment; yields what they say, in the order they say it.

    Raises
    ------
    RunError
        A child has died; the message names its fold. The other children are ended, finished folds stay.
    """
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    said: queue.SimpleQueue[Message | Exception] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    children = [Child(environment) for environment in environments[: len(tasks)]]
    try:
        for child in children:
            threading.Thread(target=_keep_busy, args=(child, waiting, said), daemon=True).start()
        unfinished = len(tasks)
        while unfinished:
            message = said.get()
            if isinstance(message, Exception):
                raise message
            unfinished -= message.epoch is None
            yield message
    finally:
        for child in children:
            child.close()


def _keep_busy(child: Child, waiting: queue.SimpleQueue[Task], said: queue.SimpleQueue[Message | Exception]) -> None:
    """Give the child folds until none is left; an error is handed to the thread that can raise it."""
    try:
        while True:
            for message in child.train(waiting.get_nowait()):
                said.put(message)
    except queue.Empty:
        return
    except Exception as error:
        said.put(error)


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return  # what was still to be written belonged to a child that is gone


def _serve(tasks: IO[bytes], answers: IO[str]) -> None:
    """The child's whole life. It ends with its parent, whose death closes ``tasks``."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(tasks, waiting), daemon=True).start()

    def say(message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    while True:
        task = waiting.get()
        try:
            train_fold(task.inputs, task.labels, task.fold, task.settings, task.folder, say)
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)  # an ordinary end would stumble over the thread that still reads
        say(None)


def _receive(tasks: IO[bytes], waiting: queue.SimpleQueue[Task]) -> None:
    try:
        while True:
            waiting.put(pickle.load(tasks))
    except EOFError:
        os._exit(0)  # at once, also in the middle of an epoch: nobody waits for it any more


if __name__ == "__main__":
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints must not stand between the answers
    _serve(sys.stdin.buffer, answers)
# A fold's kept weights and its record, as they stand in its folder.
Files = tuple[bytes, bytes]


@dataclass(frozen=True, eq=False)
class Source:
    """What a worker needs to make the inputs for itself, and the folder that they go to."""

    cohort: Cohort
    preprocessing: preprocess.GainSettings
    folder: Path


@dataclass(frozen=True, eq=False)
class _Job:
    """A task, and the digest of the weights that its caller found for it."""

    task: Task
    weights: str | None


def train_on_cluster(source: Source, tasks: Sequence[Task], scheduler: str) -> Iterator[Message]:
    """Train folds on a cluster and bring their weights and records here; yields the epochs of each as it is done.

    Raises
    ------
    RunError
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
    for _ in train_all([task], [{}]):
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
        with replacing(task.folder / name) as partial:
            partial.write_bytes(content)
