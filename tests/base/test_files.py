"""Files that are there whole or not at all: an error, a kill and a disk that is really full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mflib.base import files

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
