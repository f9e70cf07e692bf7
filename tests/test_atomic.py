"""Files that are there whole or not at all: an error, a kill and a disk that is really full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mflib import atomic

KILLED = """
import sys, time
from pathlib import Path
from mflib import atomic
with atomic.replacing(Path(sys.argv[1])) as partial:
    with partial.open("w") as file:
        file.write("half")
        file.flush()
        print("written", flush=True)
        time.sleep(60)
"""


def test_a_full_disk_leaves_the_old_table(small_disk: Path) -> None:
    old = small_disk / "texture.parquet"
    pd.DataFrame({"a": range(10)}).to_parquet(old)
    before = old.read_bytes()
    with pytest.raises(OSError, match=r"No space left.*texture\.parquet"), atomic.replacing(old) as partial:
        pd.DataFrame({"a": range(10**6)}).to_parquet(partial)
    assert old.read_bytes() == before
    assert list(small_disk.iterdir()) == [old]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="half way"), atomic.replacing(tmp_path / "a.txt") as partial:
        partial.write_text("new")
        raise RuntimeError("half way")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert path.read_text() == "old"
    atomic.write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
