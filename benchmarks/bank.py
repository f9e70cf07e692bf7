"""Seconds for the full texture bank of a cohort that lies on disk, reading included, and what it is spent on.

    .venv/bin/mflib phantom data/phantom-paper --profile paper
    .venv/bin/python benchmarks/bank.py data/phantom-paper

Run on an otherwise idle machine. Numbers of earlier runs are not used.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import joblib

from mflib.data import cohort as cohorts
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.models.texture import bank, glcm


def median_seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return median(times)


def main(folder: Path) -> None:
    """Print the figures."""
    cohort, preprocessing, settings = cohorts.load(folder), preprocess.GainSettings(), bank.TextureSettings()
    settings = settings.for_cohort(cohort)
    segment = cohort.segments.iloc[0].to_dict()
    volume, annotation = cohort.volume(segment), cohort.annotation(segment)
    region = preprocess.region(volume, annotation, preprocessing)
    glcm.features(region.voxels)  # compiled before anything is timed
    steps: dict[str, Callable[[], object]] = {
        "reading": lambda: volumes.read(cohort.root / segment["path"]),
        "normalising": lambda: preprocess.region(volume, annotation, preprocessing),
        "GLCM, 7020 features": lambda: glcm.features(region.voxels),
        "all features": lambda: bank.measure(region.voxels, volume.spacing_mm, region.dynamic_range_db, settings),
    }
    for name, step in steps.items():
        print(f"{name:20} {1000 * median_seconds(step):6.0f} ms a volume of {volume.voxels.shape}, one core")
    workers = joblib.cpu_count()
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        table = bank.extract(cohort, preprocessing, settings, Path(cache), workers=workers)
        seconds = time.perf_counter() - start
    print(f"{len(table)} volumes, {table.shape[1]} columns: {seconds:.0f} s on {workers} cores")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
