"""A command that must come to an end, with all its processes: where it does not, they say where they are."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

MARK = "MFLIB_TEST_MARK"  # inherited by whatever a command starts, in whatever session and under whatever parent
SHARED = Path("/dev/shm")


def heard() -> None:
    """What whoever starts tests in the background has them ignore is heard again."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def run(
    arguments: Sequence[str | Path], *, cwd: Path | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """What a command printed and how it ended; the test fails where it takes longer than ``timeout`` seconds."""
    environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, cwd=cwd, env=environment, **pipes) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            for each in (*psutil.Process(process.pid).children(recursive=True), process):
                each.send_signal(signal.SIGABRT)
            out, err = process.communicate(timeout=60)
            pytest.fail(f"{process.args} had not ended after {timeout:.0f} s\n{out}\n{err}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def shared() -> set[str]:
    """What lies in shared memory, where the system shows it as files."""
    return {path.name for path in SHARED.iterdir()} if SHARED.is_dir() else set()


@dataclass
class Watched:
    """A command with a session, a temporary folder and a mark of its own.

    Parameters
    ----------
    process : the command
    mark, temporary : by which what it starts and leaves is known
    before : what lay in shared memory when it started
    seen : numbers of all its processes so far
    """

    process: subprocess.Popen[str]
    mark: str
    temporary: Path
    before: set[str]
    seen: set[int] = field(default_factory=set)

    def alive(self) -> dict[int, str]:
        """The command line of every process that it has started, or that those have."""
        found = {}
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
            except psutil.Error:
                continue  # gone, or somebody else's
        self.seen |= found.keys()
        return found

    def wait_for(self, part: str, count: int = 1) -> list[int]:
        """The processes with ``part`` in their command line, as soon as there are ``count`` of them."""
        until = time.monotonic() + 120
        while len(found := [pid for pid, line in self.alive().items() if part in line]) < count:
            assert time.monotonic() < until and self.process.poll() is None, self.alive()
            time.sleep(0.2)
        return found

    def left(self, pids: Sequence[int] = ()) -> list[str]:
        """What is there ten seconds after a kill: processes (of ``pids``, where given), shared memory, files."""
        until = time.monotonic() + 10
        while (found := self._left(pids)) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def _left(self, pids: Sequence[int]) -> list[str]:
        running = [line for pid, line in self.alive().items() if not pids or pid in pids]
        # Others on this machine may use shared memory too; most names hold the number of the process that made them.
        makers = {name: re.findall(r"[-_](\d{2,})[-_]", name) for name in shared() - self.before}
        kept = [name for name, pid in makers.items() if not pid or int(pid[0]) in self.seen]
        return [*running, *kept, *([] if pids else map(str, self.temporary.iterdir()))]


@contextmanager
def watched(arguments: Sequence[str | Path], temporary: Path) -> Iterator[Watched]:
    """A command that is to be killed, with a pipe from its standard output."""
    mark, before = uuid4().hex, shared()
    temporary.mkdir(exist_ok=True)
    environment = os.environ | {MARK: mark, "TMPDIR": str(temporary)}
    pipe = {"stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    options = {"env": environment, "start_new_session": True, "preexec_fn": heard, **pipe}
    with subprocess.Popen(list(map(str, arguments)), **options) as process:
        command = Watched(process, mark, temporary, before)
        try:
            yield command
        finally:
            for pid in command.alive():
                psutil.Process(pid).kill()
