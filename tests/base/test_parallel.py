"""The same work here and on a real Dask cluster of processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from mflib.base import files, parallel
from mflib.base.errors import RunError
from mflib.base.progress import Progress
from mflib.data import cohort as cohorts
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models import folds, forest
from mflib.models.dcnn import training
from mflib.models.dcnn.inputs import Source
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.dcnn.training import NetworkResult
from mflib.models.texture import bank
from tests import processes
from tests.cluster import Cluster, running
from tests.models.test_forest import texture_table
from tests.models.toy import evenly_labelled

SETTINGS = bank.TextureSettings(levels=(8, 32), steps=(1, 3))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("dask")) as started:
        yield started


def slow_square(folder: str, number: int) -> int:
    """Leaves a trace of who computed what, so that the test knows whom it killed."""
    Path(folder, f"{number}-{os.getpid()}").touch()
    time.sleep(0.3)
    if number == 3:
        raise ValueError("three is not squared")
    return number**2


def die_at_three(_: None, number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def test_the_bank_of_a_cluster_is_that_of_this_machine(cluster: Cluster, make_cohort, tmp_path: Path) -> None:
    cohort = cohorts.load(make_cohort(2, segments=2))
    here, there = (
        bank.extract(cohort, preprocess.GainSettings(), SETTINGS, tmp_path / name, workers=1, scheduler=scheduler)
        for name, scheduler in (("here", ""), ("there", cluster.address))
    )
    pd.testing.assert_frame_equal(here, there, check_exact=True)


def test_the_forest_of_a_cluster_is_that_of_this_machine(cluster: Cluster) -> None:
    table, labels = texture_table(10)
    made = folds.make(labels, table["participant_id"], n_folds=2, seed=1)
    settings = forest.ForestSettings(trees=20, leaf_sizes=(1, 8), inner_trees=5, permutations=2)
    here, there = (
        forest.out_of_fold(table, labels, made, settings, scheduler=scheduler) for scheduler in ("", cluster.address)
    )
    for name in ("predictions", "choices", "importance"):
        pd.testing.assert_frame_equal(getattr(here, name), getattr(there, name), check_exact=True)


def network_folds(cohort: Cohort, folder: Path, epochs: int = 6, **options: str) -> NetworkResult:
    made = folds.make(cohort.segments["label"], cohort.segments["participant_id"], n_folds=2, seed=1)
    settings = NetworkSettings(width=4, size=(16, 16, 8), epochs=epochs, workers=1)
    source = Source(cohort, preprocess.GainSettings(), folder)
    return training.out_of_fold(source, made, settings, **options)


@pytest.mark.slow
def test_the_network_of_a_cluster_that_loses_a_worker_is_that_of_this_machine(make_cohort, tmp_path: Path) -> None:
    cohort = evenly_labelled(cohorts.load(make_cohort(8, segments=4)))
    here = network_folds(cohort, tmp_path / "here")
    (tmp_path / "dask").mkdir()
    with running(tmp_path / "dask") as cluster, ThreadPoolExecutor(1) as caller:
        call = caller.submit(network_folds, cohort, tmp_path / "there", scheduler=cluster.address)
        while not (call.done() or list((tmp_path / "there" / "patient").glob("*/checkpoint.pt"))):
            time.sleep(0.05)
        assert not call.done()
        cluster.workers[0].kill()
        there = call.result(timeout=300)
    pd.testing.assert_frame_equal(here.predictions, there.predictions, check_exact=True)
    pd.testing.assert_frame_equal(here.history, there.history, check_exact=True)
    for one, other in zip(here.folders, there.folders, strict=True):
        assert (one / "weights.pt").read_bytes() == (other / "weights.pt").read_bytes()


CLIENT = """
import sys
from pathlib import Path
from mflib.data import cohort as cohorts
from tests.base import test_parallel
from tests.models.toy import evenly_labelled
cohort = evenly_labelled(cohorts.load(Path(sys.argv[1])))
test_parallel.network_folds(cohort, Path(sys.argv[2]), epochs=10_000, scheduler=sys.argv[3])
"""


def training_below(workers: list[psutil.Process]) -> list[int]:
    """The processes that workers of a cluster have started for a fold; a worker starts others for a moment."""
    found = []
    for child in [child for worker in workers for child in worker.children()]:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if parallel.__name__ in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


@pytest.mark.slow
def test_a_client_that_dies_leaves_nothing_on_the_cluster(make_cohort, tmp_path: Path) -> None:
    folder = make_cohort(8, segments=4)
    with running(tmp_path) as cluster:
        arguments = [sys.executable, "-c", CLIENT, folder, tmp_path / "there", cluster.address]
        with processes.watched(arguments, tmp_path / "temporary") as client:
            workers = [psutil.Process(worker.pid) for worker in cluster.workers]
            until = time.monotonic() + 120
            while not training_below(workers) and time.monotonic() < until:
                time.sleep(0.1)
            assert training_below(workers)
            client.process.kill()
            assert client.left() == []
            until = time.monotonic() + 10
            while training_below(workers) and time.monotonic() < until:
                time.sleep(0.1)
            assert training_below(workers) == []


def test_a_worker_with_other_sources_is_refused(cluster: Cluster, make_cohort, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(parallel, "fingerprint", lambda: "another version")
    cohort = cohorts.load(make_cohort(1, segments=1))
    with pytest.raises(RunError, match="another version of mflib"):
        bank.extract(cohort, preprocess.GainSettings(), SETTINGS, tmp_path, workers=1, scheduler=cluster.address)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_of_the_bank(make_cohort, tmp_path: Path, monkeypatch) -> None:
    cohort, write = cohorts.load(make_cohort(4)), files.write_array
    whole = bank.extract(cohort, preprocess.GainSettings(), bank.TextureSettings(), tmp_path / "here", workers=1)
    with running(tmp_path) as cluster:

        def write_and_kill(path: Path, values: np.ndarray) -> None:
            write(path, values)
            if len(list(path.parent.iterdir())) == 5:
                cluster.workers[0].kill()
                cluster.workers[0].wait()

        monkeypatch.setattr(files, "write_array", write_and_kill)
        arguments = (cohort, preprocess.GainSettings(), bank.TextureSettings(), tmp_path / "there")
        found = bank.extract(*arguments, workers=1, scheduler=cluster.address)
        assert cluster.workers[0].returncode == -signal.SIGKILL
    pd.testing.assert_frame_equal(whole, found, check_exact=True)


def test_a_killed_worker_loses_nothing_that_it_had_in_hand(cluster: Cluster, tmp_path: Path) -> None:
    found = {}
    for n, outcome in parallel.outcomes(slow_square, str(tmp_path), range(12), workers=1, scheduler=cluster.address):
        if not found:
            # On a busy machine one of the two may have begun nothing yet.
            begun = {path.name.split("-")[1] for path in tmp_path.iterdir()}
            victim = next(worker for worker in cluster.workers if str(worker.pid) in begun)
            victim.kill()
            victim.wait()
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
    with pytest.raises(RunError, match="has no workers; 1 of 1 tasks are left"):
        list(parallel.outcomes(slow_square, str(tmp_path), [1], workers=1, scheduler=cluster.address))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:x", "nonsense://x"])
def test_no_scheduler_is_said(address: str) -> None:
    with pytest.raises(RunError, match=address):
        list(parallel.outcomes(slow_square, "", [1], workers=1, scheduler=address))


@pytest.mark.parametrize("workers", [1, 2])
def test_outcomes_on_this_machine(tmp_path: Path, workers: int) -> None:
    found = dict(parallel.outcomes(slow_square, str(tmp_path), [1, 3, 2], workers=workers))
    assert (found[0], found[2]) == (1, 4)
    assert isinstance(found[1], ValueError)
    assert "in slow_square" in found[1].__notes__[0]
    assert list(parallel.outcomes(slow_square, "", [], workers=workers)) == []


def test_an_item_that_kills_its_process_is_named_and_the_rest_goes_on() -> None:
    found = dict(parallel.outcomes(die_at_three, None, range(6), workers=2))
    assert isinstance(found.pop(3), RunError)
    assert found == {n: n**2 for n in range(6) if n != 3}


def test_a_scheduler_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RunError, match=r"pip install 'mflib\[cluster\]'"):
        parallel.check_scheduler("tcp://127.0.0.1:8786")


def tell_and_return(_: None, number: int, tell: parallel.Tell) -> int:
    tell(os.environ["MFLIB_TEST_TOLD"])
    return number


def test_processes_with_an_environment_of_their_own_tell_before_they_return() -> None:
    environments = [{"MFLIB_TEST_TOLD": "red"}, {"MFLIB_TEST_TOLD": "blue"}]
    found = list(parallel.outcomes(tell_and_return, None, range(6), environments=environments))
    for number in range(6):
        told, returned = [outcome for position, outcome in found if position == number]
        assert told in ("red", "blue") and returned == number


def nap(folder: str, number: int, _: parallel.Tell | None = None) -> None:
    Path(folder, f"{number}-{os.getpid()}").touch()
    time.sleep(600)


# A command with two workers; the same with environments of their own; a kernel with two workers, under a report.
COMMAND = """
import sys
from mflib.base import parallel
from tests.base.test_parallel import nap
list(parallel.outcomes(nap, sys.argv[1], range(4), workers=2))
"""
REPORT = """
import sys, time
from pathlib import Path
from mflib.study.kernels import Kernels
folder = Path(sys.argv[1])
with Kernels(folder / "running", 1, ["numpy"]).started("02_texture", folder / "log") as (kernel, _):
    client = kernel.client()
    client.start_channels()
    client.execute(f"import sys; sys.argv[1:] = [{sys.argv[1]!r}]" + sys.argv[2])
    time.sleep(600)
"""
OWN = COMMAND.replace("workers=2", "environments=[{}, {}]")
WORKER, KERNEL = "mflib.base.parallel", "kernels.serve"


@pytest.mark.parametrize(
    ("script", "parts", "victim", "how"),
    [
        (COMMAND, {WORKER: 2}, "group", signal.SIGKILL),
        (COMMAND, {WORKER: 2}, "command", signal.SIGTERM),
        (REPORT, {KERNEL: 1, WORKER: 2}, "group", signal.SIGHUP),
        (REPORT, {KERNEL: 1, WORKER: 2}, "command", signal.SIGKILL),
        (REPORT, {KERNEL: 1, WORKER: 2}, "kernel", signal.SIGKILL),
        (OWN, {WORKER: 2}, "command", signal.SIGKILL),
    ],
)
def test_whatever_dies_what_it_started_ends(
    script: str, parts: dict[str, int], victim: str, how: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "naps").mkdir()
    arguments = [sys.executable, "-c", script, tmp_path / "naps", COMMAND]
    with processes.watched(arguments, tmp_path / "temporary") as command:
        pids = {part: command.wait_for(part, count) for part, count in parts.items()}
        while len([path for path in (tmp_path / "naps").iterdir() if path.name[0] in "0123"]) < 2:
            assert command.process.poll() is None
            time.sleep(0.1)
        if victim == "group":
            os.killpg(command.process.pid, how)
        else:
            os.kill(pids[KERNEL][0] if victim == "kernel" else command.process.pid, how)
        if victim == "kernel":
            assert command.left([pid for part in pids.values() for pid in part]) == []
        else:
            assert command.left() == []


def test_progress_of_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    """The first thing told may be that nothing was left to do, seconds after the start: there is no rate to tell."""
    progress = Progress("epochs", 4, every=0)
    progress.total -= 2
    for count, note in ((0, "fold 1 finished"), (1, ""), (1, "")):
        progress.advance(count, note)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "epochs 0/2, fold 1 finished"
    assert second.startswith("epochs 1/2, ") and second.endswith(" s left")
    assert third.startswith("epochs 2/2, ") and third.endswith(" s")
