"""Training that is killed, runs out of disk, or shares the machine: the weights are those of the undisturbed run."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from mflib.base.errors import RunError
from mflib.models.dcnn import training
from mflib.models.dcnn.fold import train_fold
from mflib.models.dcnn.inputs import Epoch, Task
from tests.models.toy import FOLD, LABELS, QUICK, same_weights, textures

INPUTS = textures()
# Imports once and trains in a fork for every line that it reads; torch has not computed anything in it before.
SERVER = """
import os, pickle, sys
from dataclasses import replace
from pathlib import Path
from mflib.models.dcnn.fold import train_fold
with open(sys.argv[1], "rb") as file:
    task = pickle.load(file)
for folder in sys.stdin:
    child = os.fork()
    if child == 0:
        train_fold(replace(task, folder=Path(folder.strip())))
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=12)
    whole = train_fold(Task(INPUTS, LABELS, FOLD, settings, tmp_path / "whole"))
    (tmp_path / "task").write_bytes(pickle.dumps(Task(INPUTS, LABELS, FOLD, settings, tmp_path)))
    rng, rounds = np.random.default_rng(), 0
    arguments = [sys.executable, "-c", SERVER, str(tmp_path / "task")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as server:
        assert server.stdin is not None and server.stdout is not None
        for _ in range(20):
            folder = tmp_path / f"killed-{rounds}"
            print(folder, file=server.stdin)
            child = int(server.stdout.readline())
            time.sleep(rng.uniform(0.02, 0.5))
            os.kill(child, signal.SIGKILL)
            assert server.stdout.readline() == "ended\n"
            rounds += (folder / "fold.json").exists()  # it was faster than the kill
        print(folder, file=server.stdin)
        server.stdin.close()
        assert server.stdout.read().endswith("ended\n")
    for number in range(rounds + 1):
        folder = tmp_path / f"killed-{number}"
        if folder.exists():
            assert train_fold(Task(INPUTS, LABELS, FOLD, settings, folder)) == whole
            assert same_weights(folder, tmp_path / "whole")
            assert sorted(path.name for path in folder.iterdir()) == [".lock", "fold.json", "weights.pt"]


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    settings = replace(QUICK, learning_rate=1e-3, head_factor=10)

    def interrupt(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_fold(Task(INPUTS, LABELS, FOLD, settings, tmp_path / "killed"), interrupt)
    train_fold(Task(INPUTS, LABELS, FOLD, settings, tmp_path / "killed"))
    train_fold(Task(INPUTS, LABELS, FOLD, settings, tmp_path / "whole"))
    assert same_weights(tmp_path / "killed", tmp_path / "whole")


def test_full_disk_keeps_the_last_epoch(small_disk: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, width=1)  # one checkpoint has room, a second beside it has not
    with pytest.raises(OSError, match=r"No space left on device: .*checkpoint\.pt"):
        train_fold(Task(INPUTS, LABELS, FOLD, settings, small_disk / "fold"))
    assert {path.name for path in (small_disk / "fold").iterdir()} == {".lock", "checkpoint.pt"}
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    seen: list[int] = []
    train_fold(Task(INPUTS, LABELS, FOLD, settings, small_disk / "fold"), lambda epoch: seen.append(epoch["epoch"]))
    assert seen == [2, 3, 4, 5]
    train_fold(Task(INPUTS, LABELS, FOLD, settings, tmp_path))
    assert same_weights(small_disk / "fold", tmp_path)


def test_full_disk_of_a_child_is_said_by_its_parent(small_disk: Path) -> None:
    task = Task(INPUTS, LABELS, FOLD, QUICK, small_disk / "fold")
    with pytest.raises(RunError, match=r"fold 1 of repeat 0: .*No space left on device: .*checkpoint\.pt"):
        list(training.train_all([task], [{}]))


def test_two_folds_at_once_are_what_they_are_alone(tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=2)
    folds = [replace(FOLD, number=number) for number in (1, 2, 3)]
    tasks = [Task(INPUTS, LABELS, fold, settings, tmp_path / f"child-{fold.number}") for fold in folds]
    messages = list(training.train_all(tasks, [{}, {}]))
    assert [epoch["epoch"] for task, epoch in messages if epoch and task is tasks[1]] == [1, 2]
    for fold, task in zip(folds, tasks, strict=True):
        train_fold(Task(INPUTS, LABELS, fold, settings, tmp_path / f"alone-{fold.number}"))
        assert same_weights(task.folder, tmp_path / f"alone-{fold.number}")


def kill_processes() -> None:
    """Those that train here, and those that wait for work."""
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "mflib.base.parallel" in " ".join(child.cmdline()):
                child.kill()


def test_a_killed_process_is_replaced_and_the_fold_goes_on(tmp_path: Path) -> None:
    task, seen = Task(INPUTS, LABELS, FOLD, replace(QUICK, epochs=12), tmp_path / "killed"), []
    for _, epoch in training.train_all([task], [{}]):
        seen.append(epoch and epoch["epoch"])
        if seen == [1, 2]:
            kill_processes()
    assert seen[-1] is None and seen[:-1] == sorted(set(seen[:-1])) and seen[-2] == 12
    train_fold(replace(task, folder=tmp_path / "whole"))
    assert same_weights(task.folder, tmp_path / "whole")


def test_a_fold_whose_process_is_killed_twice_is_named(tmp_path: Path) -> None:
    task = Task(INPUTS, LABELS, FOLD, replace(QUICK, epochs=10_000), tmp_path / "killed")
    with pytest.raises(RunError, match=r"fold 1 of repeat 0: .*its process died \(signal 9\).* goes on from the last"):
        for _ in training.train_all([task], [{}]):
            kill_processes()
    assert not (task.folder / "fold.json").exists() and (task.folder / "checkpoint.pt").exists()


def test_dead_child_is_an_error_that_names_its_fold(tmp_path: Path) -> None:
    one_class = LABELS.copy()
    one_class[FOLD.validation] = 1
    settings = replace(QUICK, epochs=1)
    works = Task(INPUTS, LABELS, FOLD, settings, tmp_path / "works")
    fails = Task(INPUTS, one_class, replace(FOLD, repeat=2, number=4), settings, tmp_path / "fails")
    messages = training.train_all([works, fails], [{}])
    assert [next(messages)[1] is None for _ in range(2)] == [False, True]
    with pytest.raises(RunError, match=r"fold 4 of repeat 2: .*validation labels are \[1\]"):
        next(messages)
    assert (works.folder / "fold.json").exists()
