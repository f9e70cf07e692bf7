"""A report that is hurt again and again, by a schedule that a seed draws: does the same command end it all the same?

    python -m tests.faults --seed 1 --faults 50 --minutes 45

Every series of faults has a run folder of its own on a small disk of its own. After the last fault the same command
runs undisturbed; its tables and artifacts must be those of a report that nobody hurt, byte for byte. After each fault
the processes that are left are counted for ten seconds, and what stays in shared memory and in the temporary folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import yaml

from mflib.base.files import sha256
from mflib.data import phantom
from mflib.study.pipeline import NOTEBOOKS
from tests import processes

MARK = "MFLIB_FAULTS"
DISK_MB = 400
ENDS_WITHIN_S = 10.0
SERIES = 8  # faults before a report is left alone
SMALLEST = {
    "n_folds": 2,
    "texture": {"levels": [16], "steps": [1, 2], "nakagami_input": "intensity"},
    "robustness": {"gain_db": 2.0},
    "forest": {"trees": 10, "permutations": 1, "inner_trees": 5, "leaf_sizes": [5], "repeats": 1},
    "network": {"depth": "small", "width": 4, "size": [16, 16, 8], "epochs": 2, "learning_rate": 0.01},
    "comparisons": [],
    "pitfalls": {"repetitions": 2, "simulations": 5, "permutations": 1, "trees": 5, "volumes": 1},
}
# Where the folder lies that this variable names, clocks stand an hour back while a file of that name is in it.
CLOCK = """
import os, time
_time = time.time
_time_ns = time.time_ns
def _back(): return 3600 if os.path.exists(os.path.join(os.environ["MFLIB_FAULTS_CLOCK"], "back")) else 0
time.time = lambda: _time() - _back()
time.time_ns = lambda: _time_ns() - _back() * 10**9
"""


@dataclass
class Tally:
    """What became of one kind of fault."""

    tried: int = 0
    survived: int = 0
    equal: int = 0
    orphans: int = 0
    left: int = 0


@dataclass
class Place:
    """Where one series happens.

    Parameters
    ----------
    root : a folder of its own: cohort, run (on a small disk, where one can be made), temporary folder, clock
    profile : of the report
    disk : whether the run lies on a disk of its own, which can be filled and made read-only
    """

    root: Path
    profile: Path
    disk: bool
    log: list[str] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.root / "disk" / "run"

    @property
    def volumes(self) -> list[Path]:
        return sorted((self.root / "cohort").glob("sub-*/us/*.nii.gz"))

    @property
    def command(self) -> list[str]:
        given = ["--cohort", self.root / "cohort", "--profile", self.profile, "--run", self.run]
        return [sys.executable, "-m", "mflib", "report", *map(str, given)]

    def start(self) -> subprocess.Popen[bytes]:
        own = {MARK: str(self.root), "TMPDIR": str(self.root / "tmp"), "MFLIB_FAULTS_CLOCK": str(self.root / "clock")}
        paths = os.pathsep.join([str(self.root / "clock"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env={**os.environ, **own, "PYTHONPATH": paths},
                start_new_session=True,
                preexec_fn=processes.heard,
            )

    def processes(self) -> list[psutil.Process]:
        """Everything that was started here, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                if process.environ().get(MARK) == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def left(self) -> int:
        """Files in the temporary folder, and in shared memory, that nobody holds any more."""
        shared = Path("/dev/shm")
        mine = [path for path in shared.iterdir() if path.stat().st_mtime > self.since] if shared.is_dir() else []
        return len(mine) + len(list((self.root / "tmp").iterdir()))

    since: float = field(default_factory=time.time)


Fault = Callable[[Place, "subprocess.Popen[bytes]", np.random.Generator], None]


def kill(what: str) -> Fault:
    """Kill all, the command, a kernel or a worker, by any of the signals that end a process."""

    def hurt(place: Place, process: subprocess.Popen[bytes], rng: np.random.Generator) -> None:
        ways = [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP] if what in ("group", "command") else [signal.SIGKILL]
        way = ways[rng.integers(len(ways))]
        if what == "group":
            with suppress(ProcessLookupError):
                os.killpg(process.pid, way)
            return
        known = {"kernel": "ipykernel", "worker": "mflib.base.parallel"}
        chosen = [process.pid]
        if what != "command":
            chosen = [one.pid for one in place.processes() if known[what] in " ".join(one.cmdline())] or chosen
        with suppress(ProcessLookupError):
            os.kill(chosen[rng.integers(len(chosen))], way)

    return hurt


def full(place: Place, process: subprocess.Popen[bytes], rng: np.random.Generator) -> None:
    ballast = place.run.parent / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))
    _wait(process, rng.uniform(3, 8))
    _end(place, process)
    ballast.unlink()


def read_only(place: Place, process: subprocess.Popen[bytes], rng: np.random.Generator) -> None:
    """The next start finds the disk read-only: with files open for writing the system would refuse to turn it."""
    _end(place, process)
    turned = any(_mount(place, "remount,ro") or time.sleep(0.1) for _ in range(100))
    print("" if turned else "  could not be made read-only\n", end="", flush=True)
    process = place.start()
    _wait(process, 60)
    _end(place, process)
    _mount(place, f"remount,rw,size={DISK_MB}m")


def volume(what: str) -> Fault:
    """Truncate, take away or exchange a volume; afterwards it is as it was."""

    def hurt(place: Place, process: subprocess.Popen[bytes], rng: np.random.Generator) -> None:
        path, other = (place.volumes[n] for n in rng.choice(len(place.volumes), 2, replace=False))
        before = path.read_bytes()
        if what == "vanished":
            path.unlink()
        else:
            path.write_bytes(before[: len(before) // 2] if what == "truncated" else other.read_bytes())
        _wait(process, rng.uniform(3, 10))
        _end(place, process)
        path.write_bytes(before)

    return hurt


def two(place: Place, process: subprocess.Popen[bytes], rng: np.random.Generator) -> None:
    second = place.start()
    _wait(second, 60)
    assert process.poll() is not None or second.poll() is not None, "two reports write into one folder"
    _end(place, process)
    _end(place, second)


def clock(place: Place, process: subprocess.Popen[bytes], rng: np.random.Generator) -> None:
    (place.root / "clock" / "back").touch()
    _wait(process, rng.uniform(5, 15))
    _end(place, process)
    (place.root / "clock" / "back").unlink()


FAULTS: dict[str, Fault] = {
    **{f"{what} killed": kill(what) for what in ("group", "command", "kernel", "worker")},
    "disk full": full,
    "read-only": read_only,
    **{f"volume {what}": volume(what) for what in ("truncated", "vanished", "exchanged")},
    "two at once": two,
    "clock back": clock,
}
NEEDS_DISK = ("disk full", "read-only")


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _end(place: Place, process: subprocess.Popen[bytes]) -> None:
    """End what a fault has not ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _mount(place: Place, options: str) -> bool:
    return subprocess.run(["mount", "-o", options, place.run.parent], check=False, capture_output=True).returncode == 0


def results(run: Path) -> dict[str, str]:
    """What a report computed, by file: tables and predictions."""
    found = [*run.glob("tables/*.csv"), *run.glob("artifacts/*.csv"), *run.glob("artifacts/*.parquet")]
    return {path.relative_to(run).as_posix(): sha256(path) for path in found}


@contextmanager
def place(root: Path, cohort: Path, profile: Path) -> Iterator[Place]:
    """A fresh place for one series."""
    for name in ("disk", "tmp", "clock"):
        (root / name).mkdir(parents=True)
    shutil.copytree(cohort, root / "cohort")
    (root / "clock" / "sitecustomize.py").write_text(CLOCK)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(root / "disk")]
    disk = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield Place(root, profile, disk)
    finally:
        if disk:
            subprocess.run(["umount", "-l", str(root / "disk")], check=True)
        shutil.rmtree(root)


def hurt(here: Place, name: str, rng: np.random.Generator, seconds: float) -> Tally:
    """One fault at a moment drawn at random; what it left is counted."""
    process = here.start()
    _wait(process, rng.uniform(1, seconds))
    FAULTS[name](here, process, rng)
    if name in ("kernel killed", "worker killed"):
        # The command itself goes on, and is ended by what it was told of the death, or by us.
        _wait(process, rng.uniform(1, 10))
        _end(here, process)
    until = time.monotonic() + ENDS_WITHIN_S
    while (alive := here.processes()) and time.monotonic() < until:
        time.sleep(0.2)
    process.wait()
    for orphan in alive:
        print(f"  left by {name}: {' '.join(orphan.cmdline())[:100]}", flush=True)
        orphan.kill()
    return Tally(tried=1, orphans=len(alive), left=here.left())


def series(
    here: Place, names: list[str], expected: dict[str, str], rng: np.random.Generator, seconds: float
) -> Iterator[tuple[str, Tally]]:
    """Hurt one report again and again, then leave it alone, and hold it against one that nobody hurt."""
    found = [(name, hurt(here, name, rng, seconds)) for name in names]
    process = here.start()
    _wait(process, 1200)
    _end(here, process)
    made = results(here.run)
    survived, equal = process.returncode == 0, made == expected
    if not (survived and equal):
        wrong = sorted(name for name in made.keys() | expected.keys() if made.get(name) != expected.get(name))
        print((here.root / "log").read_text(errors="replace")[-3000:], f"\n  differing: {wrong}", flush=True)
    for name, tally in found:
        tally.survived, tally.equal = int(survived), int(equal)
        yield name, tally


def show(found: dict[str, Tally]) -> None:
    print(f"{'fault':<18}{'tried':>7}{'survived':>10}{'equal':>7}{'orphans':>9}{'left':>6}")
    total = Tally()
    for name, tally in [*found.items(), ("all", total)]:
        print(f"{name:<18}{tally.tried:>7}{tally.survived:>10}{tally.equal:>7}{tally.orphans:>9}{tally.left:>6}")
        for part in vars(total):
            setattr(total, part, getattr(total, part) + getattr(tally, part))


def main() -> int:
    """Draw the schedule, follow it, print the table; 1 where a report was lost, differs or left something behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    for option, value in (("--seed", 1), ("--faults", 50), ("--minutes", 45)):
        parser.add_argument(option, type=int, default=value)
    given = parser.parse_args()
    rng, start = np.random.default_rng(given.seed), time.monotonic()
    found: dict[str, Tally] = {name: Tally() for name in FAULTS}
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        root = Path(folder)
        phantom.write_cohort(root / "cohort", profile="quick", patients=8, seed=3)
        (root / "smallest.yaml").write_text(
            yaml.safe_dump(yaml.safe_load((NOTEBOOKS / "profiles" / "quick.yaml").read_text()) | SMALLEST)
        )
        with place(root / "sound", root / "cohort", root / "smallest.yaml") as here:
            begun = time.monotonic()
            process = here.start()
            assert process.wait() == 0, (here.root / "log").read_text()
            seconds, expected = time.monotonic() - begun, results(here.run)
        print(f"undisturbed: {seconds:.0f} s, {len(expected)} tables and artifacts", flush=True)
        usable = [name for name in FAULTS if here.disk or name not in NEEDS_DISK]
        names = [str(name) for name in rng.permutation(usable * (given.faults // len(usable) + 1))[: given.faults]]
        while names and time.monotonic() - start < 60 * given.minutes - 2 * seconds:
            now, names = names[:SERIES], names[SERIES:]
            with place(root / f"series-{len(names)}", root / "cohort", root / "smallest.yaml") as here:
                # Later faults find less left to do, so they come sooner.
                for name, tally in series(here, now, expected, rng, seconds / 3):
                    for part, value in vars(tally).items():
                        setattr(found[name], part, getattr(found[name], part) + value)
            print(f"{given.faults - len(names)} of {given.faults}, {time.monotonic() - start:.0f} s", flush=True)
    show(found)
    return int(any(t.orphans or t.left or not t.tried == t.survived == t.equal for t in found.values()))


if __name__ == "__main__":
    sys.exit(main())
