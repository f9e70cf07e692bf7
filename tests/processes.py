"""A command that must come to an end; where it does not, all its processes say where they are."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest


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
