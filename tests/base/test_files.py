"""Files that are there whole or not at all, and folders of one process: errors, kills, a disk that is really full."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mflib.base import files
from mflib.base.errors import BusyError

KILLED = """
import sys, time
from pathlib import Path
from mflib.base import files
with files.replacing(Path(sys.argv[1])) as partial:
    with partial.open("w") as file:
        file.write("half")
        file.flush()
        print("written", flush=True)
        time.sleep(60)
"""
HOLDER = """
import sys, time
from pathlib import Path
from mflib.base import files
with files.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """Another process that holds a folder by now."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, folder, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_folder_is_one_processs_until_it_ends_however_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    with holder(folder, 60) as process:
        start = time.monotonic()
        said = f"another mflib is writing to {re.escape(str(folder))}$"
        with pytest.raises(BusyError, match=said), files.locked(folder, 0.5):
            pass
        assert time.monotonic() - start >= 0.5
        os.kill(process.pid, signal.SIGKILL)
    with files.locked(folder), pytest.raises(BusyError), files.locked(folder):
        pass


def test_a_folder_is_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path, 0.5) as process, files.locked(tmp_path, 60):
        assert process.wait() == 0


def test_an_error_lets_the_folder_go(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"), files.locked(tmp_path):
        raise RuntimeError("half way")
    with files.locked(tmp_path):
        pass


@pytest.mark.parametrize("answer", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_without_locks_the_work_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: int
) -> None:
    def missing(descriptor: int, operation: int) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", missing)
    if answer == errno.EIO:
        with pytest.raises(OSError, match="Input/output"), files.locked(tmp_path):
            pass
        return
    with files.locked(tmp_path):
        files.write_text(tmp_path / "a.txt", "done")
    assert (tmp_path / "a.txt").read_text() == "done"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no locks where") and str(tmp_path) in line


@pytest.mark.parametrize("name", ["n" * 251 + ".csv", "腰" * 83 + ".csv", "a {b} c.csv"])
def test_a_name_as_long_as_the_disk_takes_can_be_written(tmp_path: Path, name: str) -> None:
    files.write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(os.fsencode(files.short(name))) <= 120 and files.short("a {b} c") == "a {b} c"
    assert files.short("n" * 200 + "1") != files.short("n" * 200 + "2")


def test_a_full_disk_leaves_the_old_table(small_disk: Path) -> None:
    old = small_disk / "texture.parquet"
    pd.DataFrame({"a": range(10)}).to_parquet(old)
    before = old.read_bytes()
    with pytest.raises(OSError, match=r"No space left.*texture\.parquet"), files.replacing(old) as partial:
        pd.DataFrame({"a": range(10**6)}).to_parquet(partial)
    assert old.read_bytes() == before
    assert list(small_disk.iterdir()) == [old]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="half way"), files.replacing(tmp_path / "a.txt") as partial:
        partial.write_text("new")
        raise RuntimeError("half way")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert path.read_text() == "old"
    files.write_text(path, "new")
    assert path.read_text() == "new"
    (leftover,) = set(tmp_path.iterdir()) - {path}
    assert leftover.name.startswith("partial-")


def test_two_writers_do_not_tear_each_others_file(tmp_path: Path) -> None:
    code = "import sys, numpy; from pathlib import Path; from mflib.base import files\n"
    code += "for _ in range(150): files.write_array(Path(sys.argv[1]), numpy.full(50_000, float(sys.argv[2])))"
    path = tmp_path / "a.npy"
    writers = [subprocess.Popen([sys.executable, "-c", code, path, str(n)]) for n in (1, 2)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            values = np.load(path)
            assert values.shape == (50_000,) and np.ptp(values) == 0
            seen.add(values[0])
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen == {1, 2}
    assert list(tmp_path.iterdir()) == [path]
