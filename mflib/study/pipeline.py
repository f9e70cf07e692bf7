"""The notebooks in order through papermill: what is up to date is skipped, a failure stops only what needs it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import joblib
import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from mflib.base import files, language, made_by, spoken
from mflib.base.errors import RunError
from mflib.base.files import ROOT, sha256
from mflib.base.language import LANGUAGES, say, tell
from mflib.study.kernels import Kernels

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
# Notebooks side by side: what is idle in one is used by the other.
LANES = 2
# Runs where a second cohort is given.
EXTERNAL = "06_external"
# What a notebook reads besides the cohort and the steps that it needs: anybody's predictions.
READS = {"05_comparison": "artifacts/predictions_*.csv"}
STALE = "It was left as it is, but data, settings, code or what it reads have changed since."
KILLED = "It did not come to its end. The same command goes on from there."
# What its kernels need while they run; a kill leaves it to the next start.
TEMPORARY = ".mflib-running"


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
    made_with : versions of Python and of packages, as its kernel has told them
    drawn : the languages in which its figures stand besides English, and the digest of what is said in each
    """

    key: str
    status: str
    seconds: float = 0.0
    finished: str = ""
    products: dict[str, str] = field(default_factory=dict)
    error: str = ""
    made_with: dict[str, str] = field(default_factory=dict)
    drawn: dict[str, str] = field(default_factory=dict)


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
    keys: tuple[str, str],
    selection: Selection,
    timeout_s: int,
    changed: Callable[[], str],
    finished: Callable[[Mapping[str, Record]], object] = lambda records: None,
) -> dict[str, Record]:
    """Execute what is not up to date, side by side where nothing waits for another, and say how every notebook stands.

    Parameters
    ----------
    folder : the run folder
    parameters : what papermill injects into every notebook
    keys : what the numbers follow from, and the digest of the second cohort; without one its notebook is left out. The
        first holds the settings, but for where cohort and run lie and who computes, and digests of the cohort and of
        whatever else is read from outside the repository
    selection : what to run again or leave alone
    timeout_s : longest time that one cell may take, in seconds
    changed : says what of the data is no longer what ``keys`` are of; a notebook that ran meanwhile has failed,
        whatever it made, since nobody knows what it read
    finished : called with the records so far whenever a notebook has ended
    """
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    base, external_digest = keys
    packages = ["mflib", *made_by.closure("mflib.study.report")[1]]
    kernels = Kernels(folder / TEMPORARY, max(1, joblib.cpu_count() // LANES), packages)
    steps = chosen(bool(external_digest))
    clear(folder)
    records: dict[str, Record] = {}

    def stand(step: str) -> Record | None:
        needs = {need: records[need] for need in steps[step] if need in records}
        keys = [need.key for need in needs.values()]
        key = _key(folder, step, base, [*keys, external_digest] if step == EXTERNAL else keys)
        kept = read_record(folder, step)
        current = up_to_date(folder, kept, key)
        if selection.left(step) or (current and _drawn(kept) and not selection.forced(step)):
            tell(f"{step}: up to date" if current else f"{step}: left as it is")
            stale = kept is not None and not current and kept.status == "done"
            return replace(kept, status="stale", error=STALE) if kept and stale else kept
        missing = [name for name, need in needs.items() if need.status in ("failed", "not run")]
        if missing:
            record = Record(key, "not run", error=f"needs {', '.join(missing)}, which did not succeed")
        elif said := changed():
            record = Record(key, "not run", error=said)
        else:
            tell(f"{step}: running")
            record = execute(folder, step, parameters, key, timeout_s, kernels)
            if said := changed():
                record = replace(record, status="failed", error=said)
        write_json(_record_path(folder, step), asdict(record))
        tell(f"{step}: {describe(record)}")
        return record

    expected = {step: _expected(folder, step) for step in steps}
    began, ended = dict[str, float](), dict[str, float]()
    waiting, running = list(steps), dict[Future[Record | None], str]()
    with ThreadPoolExecutor(LANES) as lanes:
        try:
            while waiting or running:
                for step in [step for step in waiting if ended.keys() >= set(steps[step])]:
                    waiting.remove(step)
                    running[lanes.submit(stand, step)] = step
                    began[step] = time.monotonic()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    step = running.pop(future)
                    ended[step] = time.monotonic()
                    if record := future.result():
                        records[step] = record
                        finished(records)
                if waiting or running:
                    tell(f"about {max(1, time_left(steps, expected, began, ended) / 60):.0f} min left")
        except BaseException:
            lanes.shutdown(wait=False, cancel_futures=True)
            kernels.kill()
            raise
    clear(folder)
    return {step: records[step] for step in steps if step in records}


def clear(folder: Path) -> None:
    """Remove what a kill may have left in a run folder that nobody else writes to."""
    shutil.rmtree(folder / TEMPORARY, ignore_errors=True)
    for part in ("notebooks", "tables", "figures", "artifacts"):
        for partial in (folder / part).rglob(f"partial-{'[0-9a-f]' * 12}-*"):
            partial.unlink(missing_ok=True)


def chosen(external: bool) -> dict[str, tuple[str, ...]]:
    """The steps of a run, with or without a second cohort."""
    return {step: needs for step, needs in STEPS.items() if external or step != EXTERNAL}


def execute(
    folder: Path, step: str, parameters: Mapping[str, Any], key: str, timeout_s: int, kernels: Kernels
) -> Record:
    """Execute one notebook; whatever happens, the record says how it ended."""
    start, log, notebook = time.monotonic(), folder / "notebooks" / f"{step}.written", f"notebooks/{step}.ipynb"
    with kernels.started(step, log) as (kernel, made_with):
        # From here on nothing claims that the notebook is done, though all that it left is still there. What of that
        # is not written again goes at the end, after a kill at the end of the next execution.
        kept = read_record(folder, step)
        before = {*(kept.products if kept else ()), *_products(folder, log)}
        log.unlink(missing_ok=True)
        begun = Record(key, "failed", products=dict.fromkeys(sorted(before), ""), error=KILLED)
        write_json(_record_path(folder, step), asdict(begun))
        try:
            papermill.execute_notebook(
                _literal(NOTEBOOKS / f"{step}.ipynb"),
                _literal(folder / notebook),
                parameters=dict(parameters),
                kernel_name="python3",
                km=kernel,
                progress_bar=False,
                stdout_file=_Named(step, sys.stdout),
                execution_timeout=timeout_s,
            )
            error = ""
        except PapermillExecutionError as problem:
            error = f"{problem.ename}: {problem.evalue}"
        except CellTimeoutError:
            error = f"a cell took longer than {timeout_s} s (--timeout)"
        except DeadKernelError:
            if kernels.killed:
                raise
            error = " ".join(["the kernel died; out of memory is the usual cause", kernels.last_words(step)]).strip()
    written = [*_products(folder, log), notebook]
    for name in before.difference(written):
        (folder / name).unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    digests, took = {name: sha256(folder / name) for name in written}, round(time.monotonic() - start, 1)
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(key, "failed" if error else "done", took, finished, digests, error, made_with, _asked())


def _asked() -> dict[str, str]:
    """The languages in which figures are asked for besides English: their digests, which no number follows from."""
    return {to: language.digest(to) for to in language.drawn() if to != "en"}


def _drawn(record: Record | None) -> bool:
    """Whether the figures of a notebook stand in every language that is asked for."""
    return record is not None and _asked().items() <= record.drawn.items()


def _literal(path: Path) -> str:
    """A path in which papermill fills in nothing."""
    return str(path).replace("{", "{{").replace("}", "}}")


def time_left(
    steps: Mapping[str, tuple[str, ...]],
    expected: Mapping[str, float],
    started: Mapping[str, float],
    ended: Mapping[str, float],
) -> float:
    """Seconds that a run will still take: its longest chain of notebooks, or all of them side by side.

    Parameters
    ----------
    steps : which notebooks each waits for
    expected : seconds of each, by what it took before or says of itself; they are scaled by the pace so far
    started, ended : when, on the clock of ``time.monotonic``
    """
    now = time.monotonic()
    took = {step: end - started[step] for step, end in ended.items()}
    # What was up to date took no time and says nothing of the pace.
    executed = [step for step, seconds in took.items() if seconds > 1]
    pace = sum(took[step] for step in executed) / sum(expected[step] for step in executed) if executed else 1.0
    own = {
        step: 0.0 if step in ended else max(0.0, pace * seconds - (now - started.get(step, now)))
        for step, seconds in expected.items()
    }
    chains: dict[str, float] = {}
    for step, needs in steps.items():
        chains[step] = own[step] + max((chains[need] for need in needs if need in chains), default=0.0)
    return max(*chains.values(), sum(own.values()) / LANES)


def _expected(folder: Path, step: str) -> float:
    """Seconds that a notebook took last time in this folder, or that it says it takes."""
    kept = read_record(folder, step)
    return kept.seconds if kept and kept.status == "done" else 60 * float((promised(step)[1].split() or ["1"])[-1])


def promised(step: str) -> tuple[str, str]:
    """What a notebook's first cell says: its question, in the reader's language, and how many minutes it takes."""
    cell = nbformat.read(NOTEBOOKS / f"{step}.ipynb", as_version=4).cells[0]
    parts, told = (text.split("\n\n") for text in (cell.source, spoken.cell(step, cell, language.language())))
    asked = next((there for part, there in zip(parts, told, strict=True) if part.startswith("**Question.**")), "")
    question = " ".join(asked.rpartition("**")[2].split())
    minutes = re.search(r"\*\*Minutes\.\*\* (.+?) on ", cell.source)
    return question, minutes[1] if minutes else ""


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
    kept = json.loads(path.read_text()) if path.exists() else {}
    # Another version may have kept more.
    return Record(**{name: kept[name] for name in Record.__match_args__ if name in kept}) if kept else None


@dataclass
class _Named:
    """What a long cell prints, under the name of its notebook."""

    step: str
    stream: TextIO

    def write(self, text: str) -> None:
        for line in text.splitlines():
            self.stream.write(f"      {self.step[:2]} {say(line)}\n")

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


def _products(folder: Path, log: Path) -> list[str]:
    """Files that a notebook left and a reader may use; caches and checkpoints look after themselves."""
    written = set(log.read_text(encoding="utf-8").split("\n")) if log.exists() else set()
    parts = ("tables", "figures", "artifacts", *(f"figures/{to}" for to in LANGUAGES))
    paths = [path for part in parts for path in (folder / part).glob("*.*")]
    return sorted(path.relative_to(folder).as_posix() for path in paths if str(path.resolve()) in written)


def _record_path(folder: Path, step: str) -> Path:
    return folder / "notebooks" / f"{step}.json"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping, whole or not at all."""
    files.write_text(path, json.dumps(content, indent=2) + "\n")
