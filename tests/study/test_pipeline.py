"""One notebook in a kernel of its own, whatever the user has set up; and how long a run will still take."""

from __future__ import annotations

import gc
import json
import platform
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import DeadKernelError

from mflib.base.errors import RunError
from mflib.data.cohort import stamps
from mflib.study import kernels, pipeline
from mflib.study.kernels import Kernels
from mflib.study.pipeline import Record, Selection, read_record
from mflib.study.report import changed

STEPS = {"a": (), "b": ("a",), "c": (), "d": ("b", "c")}
TOOK = {"a": 100.0, "b": 200.0, "c": 50.0, "d": 10.0}


@pytest.mark.parametrize("pace", [0.5, 1.0, 3.0])
def test_a_run_ends_with_its_longest_chain_and_keeps_its_pace(pace: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(pipeline.time, "monotonic", lambda: now)
    # Nothing has ended: a, b and d wait for each other.
    assert pipeline.time_left(STEPS, TOOK, {}, {}) == pytest.approx(310)
    started, ended = {"a": now, "c": now}, {}
    now += 100 * pace
    ended["a"] = started["b"] = now
    # c should have ended too, at this pace: it is late, and no time is taken off for that.
    assert pipeline.time_left(STEPS, TOOK, started, ended) == pytest.approx(210 * pace)
    now += 20 * pace
    ended["c"] = started["c"] + 50 * pace
    assert pipeline.time_left(STEPS, TOOK, started, ended) == pytest.approx(190 * pace)


def test_what_was_up_to_date_says_nothing_of_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.time, "monotonic", lambda: 5.0)
    assert pipeline.time_left(STEPS, TOOK, {"a": 4.9, "c": 4.9}, {"a": 5.0, "c": 5.0}) == pytest.approx(210)


STEP = "02_texture"
WRITE = """
from pathlib import Path
from mflib.base import files
def write(name, text):
    files.write_text(Path(run) / "tables" / name, text)
"""
SEEN = """
import json, matplotlib, sys
seen = {
    "python": sys.executable,
    "figures": matplotlib.rcParams["savefig.facecolor"],
    "users": [name for name in ("from_profile", "from_configuration", "from_startup") if name in globals()],
}
write("seen.json", json.dumps(seen))
"""
Execute = Callable[..., Record]


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execute:
    """Runs code as the second notebook of a run, in a folder whose name has what papermill would fill in."""
    monkeypatch.setattr(pipeline, "NOTEBOOKS", tmp_path / "{notebooks}")
    pipeline.NOTEBOOKS.mkdir()
    folder = tmp_path / "run {run} {} 腰"
    for part in ("notebooks", "tables"):
        (folder / part).mkdir(parents=True)

    def run(code: str, alive: Kernels | None = None) -> Record:
        cells = [nbformat.v4.new_code_cell("run = ''", metadata={"tags": ["parameters"]})]
        cells += [nbformat.v4.new_code_cell(WRITE), nbformat.v4.new_code_cell(code)]
        kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})
        nbformat.write(notebook, pipeline.NOTEBOOKS / f"{STEP}.ipynb")
        alive = alive or Kernels(folder / pipeline.TEMPORARY, 1, ["numpy"])
        record = pipeline.execute(folder, STEP, {"run": str(folder)}, "key", 60, alive)
        keep(record)
        return record

    def keep(record: Record) -> None:
        pipeline.write_json(folder / "notebooks" / f"{STEP}.json", vars(record))

    run.folder = folder  # type: ignore[attr-defined]
    return run


def left(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_kernel_is_this_python_and_nothing_of_the_users(
    execute: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "share" / "kernels" / "python3" / "kernel.json"
    profile = tmp_path / "ipython" / "profile_default"
    temporary = tmp_path / ("t" * 120)
    own = {
        spec: json.dumps({"argv": ["no-such-python"], "display_name": "x", "language": "python"}),
        profile / "startup" / "00.py": "from_profile = 1",
        profile / "ipython_kernel_config.py": "c.InteractiveShellApp.exec_lines = ['from_configuration = 1']",
        tmp_path / "startup.py": "from_startup = 1",
        tmp_path / "matplotlibrc": "savefig.facecolor: black",
        temporary / "here": "",
    }
    for path, text in own.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    places = {"JUPYTER_PATH": "share", "IPYTHONDIR": "ipython", "PYTHONSTARTUP": "startup.py", "MATPLOTLIBRC": ""}
    places["MPLBACKEND"] = "nobodys"
    for name, place in {**places, "TMPDIR": temporary.name}.items():
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setattr(kernels.tempfile, "tempdir", None)
    record = execute(SEEN)
    assert (record.status, record.error) == ("done", "")
    assert record.made_with == {"python": platform.python_version(), "numpy": metadata.version("numpy")}
    seen = json.loads((execute.folder / "tables" / "seen.json").read_text())
    assert seen == {"python": sys.executable, "figures": "auto", "users": []}
    assert list(record.products) == ["tables/seen.json", f"notebooks/{STEP}.ipynb"]
    assert [path.name for path in temporary.iterdir()] == ["here"]
    assert {path.name for path in (execute.folder / "notebooks").iterdir()} == {f"{STEP}.ipynb", f"{STEP}.json"}


@pytest.mark.parametrize("fault", ["no ipykernel", "no answer"])
def test_a_kernel_that_cannot_start_leaves_all_as_it_was(
    execute: Any, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute("write('a.csv', 'old')")
    before = left(execute.folder)
    python = tmp_path / "python"
    does = "echo \"No module named 'ipykernel'\" >&2" if fault == "no ipykernel" else "sleep 600"
    python.write_text(f"#!/bin/sh\n{does}\n")
    python.chmod(0o755)
    monkeypatch.setattr(kernels, "PATIENCE", 2.0)
    monkeypatch.setattr(kernels.sys, "executable", str(python))
    words = {"no ipykernel": "No module named 'ipykernel'", "no answer": "didn't respond in 2 seconds"}[fault]
    with pytest.raises(RunError, match=rf"the kernel of {STEP} did not start \(.*{words}.*pip install"):
        execute("write('a.csv', 'new')")
    assert left(execute.folder) == before


def test_what_was_not_written_again_goes_when_the_new_is_there(execute: Any) -> None:
    tables = execute.folder / "tables"
    execute("write('a.csv', '1'); write('b.csv', '1')")
    (tables / "mine.csv").write_text("of somebody else")
    # In the middle of an execution the old ones stand, and nothing says that the notebook is done.
    code = f"""
import json
record = json.loads((Path(run) / "notebooks" / "{STEP}.json").read_text())
write('a.csv', '2')
write('seen.json', json.dumps([record["status"], (Path(run) / "tables" / "b.csv").exists()]))
"""
    record = execute(code)
    assert json.loads((tables / "seen.json").read_text()) == ["failed", True]
    assert sorted(path.name for path in tables.iterdir()) == ["a.csv", "mine.csv", "seen.json"]
    assert (tables / "a.csv").read_text() == "2"
    assert pipeline.up_to_date(execute.folder, record, "key")
    failed = execute("write('c.csv', '3'); raise ValueError('no')")
    assert (failed.status, failed.error) == ("failed", "ValueError: no")
    assert sorted(path.name for path in tables.iterdir()) == ["c.csv", "mine.csv"]
    died = execute("import os; os.kill(os.getpid(), 9)")
    assert (died.status, died.error[:15]) == ("failed", "the kernel died")
    assert sorted(path.name for path in tables.iterdir()) == ["mine.csv"]


def test_an_execution_that_was_killed_is_forgotten_by_the_next(execute: Any) -> None:
    tables = execute.folder / "tables"
    execute("write('a.csv', '1'); write('b.csv', '1')")
    alive = Kernels(execute.folder / pipeline.TEMPORARY, 1, [])

    def kill_when_written() -> None:
        while not (tables / "c.csv").exists():
            threading.Event().wait(0.05)
        alive.kill()

    threading.Thread(target=kill_when_written).start()
    with pytest.raises(DeadKernelError):
        execute("import time; write('c.csv', '2'); time.sleep(600)", alive)
    record = read_record(execute.folder, STEP)
    assert record is not None and not pipeline.up_to_date(execute.folder, record, "key")
    assert pipeline.describe(record) == f"failed: {pipeline.KILLED}"
    assert sorted(path.name for path in tables.iterdir()) == ["a.csv", "b.csv", "c.csv"]
    execute("write('a.csv', '3')")
    assert sorted(path.name for path in tables.iterdir()) == ["a.csv"]


def test_what_ran_while_the_data_changed_has_failed_whatever_it_made(
    execute: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = tmp_path / "cohort"
    volume = cohort / "sub-001" / "us" / "sub-001_level-L45_lat-L_bmode.nii.gz"
    volume.parent.mkdir(parents=True)
    volume.write_bytes(b"as it is")
    # Away and back while the notebook runs: what it read is not what was looked at, though nothing shows it later.
    once = f"""
volume = Path({str(volume)!r})
if not (Path(run) / "tables" / "once").exists():
    before = volume.read_bytes()
    volume.write_bytes(b"another")
    volume.write_bytes(before)
write("once", volume.read_text())
"""
    execute(once)
    (execute.folder / "tables" / "once").unlink()
    other = "03_random_forest"
    (pipeline.NOTEBOOKS / f"{other}.ipynb").write_bytes((pipeline.NOTEBOOKS / f"{STEP}.ipynb").read_bytes())
    monkeypatch.setattr(pipeline, "STEPS", {STEP: (), other: (STEP,)})
    parameters = {"run": str(execute.folder)}

    def report() -> dict[str, Record]:
        unchanged = partial(changed, {cohort: stamps(cohort)})
        return pipeline.run(execute.folder, parameters, ("key", ""), Selection(), 60, unchanged)

    said = f"{volume.relative_to(cohort)}: changed while the report was made; the same command goes on"
    first = report()
    assert [record.status for record in first.values()] == ["failed", "not run"]
    assert first[STEP].error.startswith(said)
    assert {step: record.status for step, record in report().items()} == {STEP: "done", other: "done"}
    with warnings.catch_warnings():
        # jupyter_core leaves the event loop of a thread that has ended to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
