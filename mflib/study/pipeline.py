"""The notebooks in order through papermill: what is up to date is skipped, a failure stops only what needs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from mflib.base import files, made_by
from mflib.base.errors import RunError
from mflib.base.files import ROOT, sha256

NOTEBOOKS = ROOT / "notebooks"
# Each notebook with those whose artifacts it reads.
STEPS: dict[str, tuple[str, ...]] = {
    "01_cohort": (),
    "02_texture": (),
    "03_random_forest": ("02_texture",),
    "04_dcnn": ("02_texture",),
    "05_comparison": ("03_random_forest", "04_dcnn"),
    "06_external": ("03_random_forest", "04_dcnn"),
    "07_pitfalls": ("02_texture",),
    "08_published_figures": (),
}
# Runs where a second cohort is given.
EXTERNAL = "06_external"
# What a notebook reads besides the cohort and the steps that it needs: anybody's predictions.
READS = {"05_comparison": "artifacts/predictions_*.csv"}
STALE = "It was left as it is, but data, settings, code or what it reads have changed since."


@dataclass(frozen=True)
class Record:
    """How a notebook's last execution ended.

    Parameters
    ----------
    key : digest of everything that the outcome depends on
    status : "done", "failed", "not run" where a notebook that it needs has failed, or "stale" where it was left as it
        is although data, settings, code or what it reads have changed since
    seconds : how long it took
    finished : when, in UTC
    products : digest of each file that it left in tables, figures and artifacts
    error : what went wrong
    """

    key: str
    status: str
    seconds: float = 0.0
    finished: str = ""
    products: dict[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Selection:
    """Which notebooks to run although they are up to date, and which to leave alone although they are not."""

    start: str | None = None
    only: str | None = None
    force: bool = False

    def forced(self, step: str) -> bool:
        """Whether ``step`` runs again in any case."""
        return self.force or step == self.only or (self.start is not None and step >= self.start)

    def left(self, step: str) -> bool:
        """Whether ``step`` stays as it is in any case."""
        return (self.only is not None and step != self.only) or (self.start is not None and step < self.start)


def find_step(name: str) -> str:
    """The step that ``name`` means: its full name, its number, or what follows the number.

    Raises
    ------
    RunError
        No such notebook.
    """
    bare = name.removesuffix(".ipynb").rpartition("/")[2]
    for step in STEPS:
        if bare in (step, *step.split("_", 1)):
            return step
    raise RunError(f"no notebook {name!r}; expected one of {', '.join(STEPS)}")


def run(
    folder: Path,
    parameters: Mapping[str, Any],
    settings: Mapping[str, Any],
    data_digest: str,
    selection: Selection,
    timeout_s: int,
    external_digest: str = "",
) -> dict[str, Record]:
    """Execute what is not up to date, and say how every notebook stands.

    Parameters
    ----------
    folder : the run folder
    parameters : what papermill injects into every notebook
    settings : what the numbers follow from; where cohort and run lie, and who computes, is not among it
    data_digest : of the cohort, and of whatever else is read from outside the repository
    selection : what to run again or leave alone
    timeout_s : longest time that one cell may take, in seconds
    external_digest : of the second cohort; without one its notebook is left out
    """
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    base = json.dumps([data_digest, settings], sort_keys=True)
    records: dict[str, Record] = {}
    steps = chosen(bool(external_digest))
    for number, (step, needs) in enumerate(steps.items(), 1):
        made_from = [records[need].key for need in needs if need in records]
        key = _key(folder, step, base, [*made_from, external_digest] if step == EXTERNAL else made_from)
        label = f"[{number}/{len(steps)}] {step}"
        kept = read_record(folder, step)
        current = up_to_date(folder, kept, key)
        if selection.left(step) or (current and not selection.forced(step)):
            if kept is not None:
                records[step] = kept if current or kept.status != "done" else replace(kept, status="stale", error=STALE)
            print(f"{label}: {'up to date' if current else 'left as it is'}", flush=True)
            continue
        missing = [need for need in needs if need in records and records[need].status in ("failed", "not run")]
        if missing:
            records[step] = Record(key, "not run", error=f"needs {', '.join(missing)}, which did not succeed")
        else:
            print(f"{label}: running", flush=True)
            records[step] = execute(folder, step, parameters, key, timeout_s)
        write_json(_record_path(folder, step), asdict(records[step]))
        print(f"{label}: {describe(records[step])}", flush=True)
    return records


def chosen(external: bool) -> dict[str, tuple[str, ...]]:
    """The steps of a run, with or without a second cohort."""
    return {step: needs for step, needs in STEPS.items() if external or step != EXTERNAL}


def execute(folder: Path, step: str, parameters: Mapping[str, Any], key: str, timeout_s: int) -> Record:
    """Execute one notebook; whatever happens, the record says how it ended."""
    # The old record goes first: a kill from here on leaves no claim that the notebook is done. What it left goes too,
    # so that nothing of an earlier execution stands beside the new one.
    kept = read_record(folder, step)
    _record_path(folder, step).unlink(missing_ok=True)
    for name in kept.products if kept else ():
        (folder / name).unlink(missing_ok=True)
    before = _products(folder)
    start = time.monotonic()
    error = ""
    try:
        _papermill(folder, step, parameters, timeout_s)
    except PapermillExecutionError as problem:
        error = f"{problem.ename}: {problem.evalue}"
    except CellTimeoutError:
        error = f"a cell took longer than {timeout_s} s (--timeout)"
    except DeadKernelError:
        error = "the kernel died; out of memory is the usual cause"
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    after = _products(folder)
    digests = {name: sha256(folder / name) for name, written in after.items() if before.get(name) != written}
    digests[f"notebooks/{step}.ipynb"] = sha256(folder / "notebooks" / f"{step}.ipynb")
    return Record(key, "failed" if error else "done", round(time.monotonic() - start, 1), finished, digests, error)


def _papermill(folder: Path, step: str, parameters: Mapping[str, Any], timeout_s: int) -> None:
    # As a Jupyter server tells its kernels; see `profile.notebook`.
    os.environ["JPY_SESSION_NAME"] = f"{step}.ipynb"
    # Over sockets of its own: a TCP port that is chosen before the kernel binds it can be taken by then.
    with tempfile.TemporaryDirectory() as sockets:
        papermill.execute_notebook(
            NOTEBOOKS / f"{step}.ipynb",
            folder / "notebooks" / f"{step}.ipynb",
            parameters=dict(parameters),
            kernel_name="python3",
            cwd=ROOT,
            progress_bar=False,
            stdout_file=_Indented(sys.stdout),
            execution_timeout=timeout_s,
            # The interrupt that precedes every shutdown would be logged as an error now and then.
            extra_arguments=["--log-level=50"],
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
        )


def up_to_date(folder: Path, record: Record | None, key: str) -> bool:
    """Whether a notebook succeeded with this key and everything that it left is still there, unchanged."""
    if record is None or record.status != "done" or record.key != key:
        return False
    return all((folder / name).exists() and sha256(folder / name) == d for name, d in record.products.items())


def describe(record: Record) -> str:
    """A record in one line."""
    if record.status == "done":
        return f"done in {record.seconds:.0f} s"
    return f"{record.status}: {record.error.strip().splitlines()[0]}"


def read_record(folder: Path, step: str) -> Record | None:
    """How ``step`` ended last time in this run folder; None where it never did."""
    path = _record_path(folder, step)
    return Record(**json.loads(path.read_text())) if path.exists() else None


@dataclass
class _Indented:
    """What a long cell prints, moved in under the line of its notebook."""

    stream: TextIO

    def write(self, text: str) -> None:
        for line in text.splitlines():
            self.stream.write(f"      {line}\n")

    def flush(self) -> None:
        self.stream.flush()


def _key(folder: Path, step: str, base: str, needs: list[str]) -> str:
    read = sorted(folder.glob(READS[step])) if step in READS else []
    published = sorted((ROOT / "data" / "published").glob("*.csv"))
    files = [f"{path.name} {sha256(path)}" for path in (*published, *read)]
    cells = nbformat.read(NOTEBOOKS / f"{step}.ipynb", as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    modules = sorted(set(re.findall(r"from (mflib[.\w]*) import", code)))
    sources = made_by.digest(*modules) + json.dumps(
        [[cell.cell_type, cell.source, cell.metadata.get("tags", [])] for cell in cells]
    )
    return hashlib.sha256("\n".join([base, sources, *needs, *files]).encode()).hexdigest()


def _products(folder: Path) -> dict[str, int]:
    """Each file that a reader may use, with its time; caches and checkpoints look after themselves."""
    paths = [path for part in ("tables", "figures", "artifacts") for path in (folder / part).glob("*.*")]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in sorted(paths) if path.is_file()}


def _record_path(folder: Path, step: str) -> Path:
    return folder / "notebooks" / f"{step}.json"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping, whole or not at all."""
    files.write_text(path, json.dumps(content, indent=2) + "\n")
