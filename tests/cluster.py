"""A real Dask cluster on this machine: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Cluster:
    """Where the scheduler is, and the workers' processes."""

    address: str
    workers: list[subprocess.Popen]


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster that is gone when the block ends; where the block fails, its processes say where they are."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    common = ("--host", "127.0.0.1", "--no-dashboard")
    worker = ("dask_worker", address, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder), *common)
    scheduler = _started(folder / "scheduler.log", "dask_scheduler", "--port", str(port), *common)
    workers = [_started(folder / f"worker-{n}.log", *worker) for n in range(2)]
    try:
        yield Cluster(address, workers)
    except BaseException:
        for process in (*workers, scheduler):
            process.send_signal(signal.SIGABRT)
            process.wait(60)
        print(*(path.read_text() for path in sorted(folder.glob("*.log"))), sep="\n")
        raise
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def _started(log: Path, command: str, *arguments: str) -> subprocess.Popen:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{command}", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONFAULTHANDLER": "1"},
            start_new_session=True,
        )
