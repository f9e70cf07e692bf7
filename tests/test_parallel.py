"""The same work here and on a real Dask cluster of processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from mflib import cohort as cohorts
from mflib import folds, forest, parallel, preprocess
from mflib.texture import bank
from tests.test_forest import texture_table

SETTINGS = bank.Settings(levels=(8, 32), steps=(1, 3))


@dataclass
class Cluster:
    """A scheduler and its two workers, each a process of its own."""

    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen]


def started(*arguments: str, log: Path) -> subprocess.Popen:
    environment = os.environ | {"DASK_DISTRIBUTED__ADMIN__LOG_FORMAT": "%(message)s"}
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("dask")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    common = ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = started("dask_scheduler", "--port", str(port), *common, log=folder / "scheduler.log")
    options = ("--no-nanny", "--nthreads", "1", "--local-directory", str(folder), *common)
    workers = [started("dask_worker", address, *options, log=folder / f"worker-{n}.log") for n in range(2)]
    yield Cluster(address, scheduler, workers)
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


def slow_square(item: tuple[int, str]) -> int:
    """Leaves a trace of who computed what, so that the test knows when to kill whom."""
    number, folder = item
    Path(folder, f"{number}-{os.getpid()}").touch()
    time.sleep(0.3)
    if number == 3:
        raise ValueError("three is not squared")
    return number**2


def test_the_bank_of_a_cluster_is_that_of_this_machine(cluster: Cluster, make_cohort, tmp_path: Path) -> None:
    cohort = cohorts.load(make_cohort(2, segments=2))
    here, there = (
        bank.extract(cohort, preprocess.Settings(), SETTINGS, tmp_path / name, workers=1, scheduler=scheduler)
        for name, scheduler in (("here", ""), ("there", cluster.address))
    )
    pd.testing.assert_frame_equal(here, there, check_exact=True)


def test_the_forest_of_a_cluster_is_that_of_this_machine(cluster: Cluster) -> None:
    table, labels = texture_table(10)
    made = folds.make(labels, table["participant_id"], n_folds=2, seed=1)
    settings = forest.Settings(trees=20, leaf_sizes=(1, 8), inner_trees=5, permutations=2)
    here, there = (
        forest.out_of_fold(table, labels, made, settings, "patient", scheduler=scheduler)
        for scheduler in ("", cluster.address)
    )
    for name in ("predictions", "choices", "importance"):
        pd.testing.assert_frame_equal(getattr(here, name), getattr(there, name), check_exact=True)


def test_a_worker_with_other_sources_is_refused(cluster: Cluster, make_cohort, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bank, "_made_by", lambda: "another version")
    cohort = cohorts.load(make_cohort(1, segments=1))
    with pytest.raises(bank.BankError, match="another version of mflib"):
        bank.extract(cohort, preprocess.Settings(), SETTINGS, tmp_path, workers=1, scheduler=cluster.address)


def test_a_killed_worker_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    items = [(number, str(tmp_path)) for number in range(12)]
    found = {}
    for n, outcome in parallel.outcomes(slow_square, items, workers=1, scheduler=cluster.address):
        if not found:
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            cluster.workers[0].wait()
        found[n] = outcome
    assert isinstance(found.pop(3), ValueError)
    assert found == {n: n**2 for n in range(12) if n != 3}
    by = {path.name.split("-")[1] for path in tmp_path.iterdir()}
    assert by == {str(worker.pid) for worker in cluster.workers}


def test_a_cluster_without_workers_is_said(cluster: Cluster, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", 2.0)
    for worker in cluster.workers:
        worker.kill()
        worker.wait()
    with pytest.raises(parallel.SchedulerError, match="has no workers; 1 of 1 tasks are left"):
        list(parallel.outcomes(slow_square, [(1, str(tmp_path))], workers=1, scheduler=cluster.address))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:x", "nonsense://x"])
def test_no_scheduler_is_said(address: str) -> None:
    with pytest.raises(parallel.SchedulerError, match=address):
        list(parallel.outcomes(len, ["a"], workers=1, scheduler=address))


def test_outcomes_on_this_machine() -> None:
    found = dict(parallel.outcomes(int, ["1", "x", "3"], workers=2))
    assert (found[0], found[2]) == (1, 3)
    assert isinstance(found[1], ValueError)
    assert list(parallel.outcomes(int, [], workers=2)) == []
