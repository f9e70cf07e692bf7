"""CPU seconds to simulate one volume of each profile, and wall seconds to write a cohort.

Run on an otherwise idle machine: ``.venv/bin/python benchmarks/phantom.py``.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from mflib.data import phantom


def cpu_seconds(profile: str, repeats: int) -> list[float]:
    """CPU seconds of each of ``repeats`` volumes after one to warm up."""
    times = []
    for seed in range(repeats + 1):
        start = time.process_time()
        phantom.simulate(phantom.Parameters(fat=0.4), seed, profile)
        times.append(time.process_time() - start)
    return times[1:]


def main() -> None:
    """Print the figures."""
    for profile, repeats in (("quick", 9), ("paper", 3)):
        times = cpu_seconds(profile, repeats)
        print(f"{profile}: {min(times):.2f} CPU s a volume at least, median {median(times):.2f}")
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        phantom.write_cohort(Path(folder) / "cohort")
        print(f"368 quick volumes written in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
