"""How far the suggested reference points lie from those of a cohort, and what a suggestion costs.

``.venv/bin/python benchmarks/suggestion.py [COHORT]``; the default phantom where none is given. The points of a
phantom are its truth; those of a clinic are an annotator's.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from mflib.data import cohort as cohorts
from mflib.data.annotation.suggestion import suggest

WITHIN_MM = 3.0


def main(root: Path) -> None:
    """Print the figures."""
    cohort = cohorts.load(root)
    distances, seconds = [], []
    for segment in cohort.segments.to_dict("records"):
        volume, marked = cohort.volume(segment), cohort.annotation(segment)
        start = time.process_time()
        found = suggest(volume)
        seconds.append(time.process_time() - start)
        if found is None:
            distances.append((np.inf, np.inf))
            continue
        pairs = zip(found, (marked.bone, marked.shadow), strict=True)
        steps = np.array(volume.spacing_mm)
        distances.append(tuple(float(np.linalg.norm((np.array(a) - b) * steps)) for a, b in pairs))
    both = np.array(distances)
    print(f"{len(both)} volumes, {np.isinf(both[:, 0]).sum()} without a suggestion")
    print(f"both points within {WITHIN_MM:g} mm: {(both.max(axis=1) <= WITHIN_MM).mean():.1%}")
    for name, column in zip(("bone", "shadow"), both.T, strict=True):
        middle, far = np.percentile(column, (50, 95), method="higher")
        print(f"{name}: median {middle:.2f} mm, 95th percentile {far:.2f} mm")
    print(f"CPU seconds a volume: mean {np.mean(seconds):.2f}, most {np.max(seconds):.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "data" / "phantom-quick")
