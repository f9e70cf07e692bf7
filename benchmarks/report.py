"""Where the seconds of a report go, and how many there are beside another version on the same machine in the same hour.

    .venv/bin/python benchmarks/report.py [COMMIT]

Makes the phantom and the report of the profile ``quick`` from nothing, in a folder of its own, with the packages that
are installed here: wall time, CPU seconds (user + system of the whole command and its children), the largest process,
and the cells that took longest. With a commit, the same of that version first, and the ratio.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 15  # cells


def spent(command: list[str], checkout: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command in a checkout."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    subprocess.run([sys.executable, "-m", "mflib", *command], cwd=checkout, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def cells(run: Path) -> list[tuple[float, str]]:
    """Seconds and name of each cell of the executed notebooks, the longest first."""
    found = []
    for path in sorted((run / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            seconds = cell["metadata"].get("papermill", {}).get("duration") or 0
            found.append((seconds, f"{path.stem}: {cell['id']}"))
    return sorted(found, reverse=True)


def measured(checkout: Path) -> float:
    """Make phantom and report of a checkout, print what they took, and give the CPU seconds."""
    cohort, total = checkout / "data" / "phantom-quick", 0.0
    for command in (["phantom", str(cohort)], ["report"]):
        wall, cpu = spent(command, checkout)
        total += cpu
        print(f"{command[0]}: {wall:.0f} s, {cpu:.0f} CPU s", flush=True)
    (run,) = (path.parent for path in (checkout / "reports").glob("*/report.html"))
    for seconds, name in cells(run)[:LONGEST]:
        print(f"  {seconds:6.1f} s  {name}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"together {total:.0f} CPU s; the largest process so far held {peak:.1f} GiB", flush=True)
    return total


def main(commit: str = "") -> None:
    """Measure this version, and another one before it."""
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name in [commit, "HEAD"] if commit else ["HEAD"]:
            checkout = Path(folder) / f"at-{name}"
            subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", checkout, name], check=True)
            try:
                print(f"{name}:", flush=True)
                found.append(measured(checkout))
            finally:
                subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", checkout], check=True)
        if commit:
            print(f"CPU seconds against {commit}: {found[1] / found[0]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
