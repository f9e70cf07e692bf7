"""Paired test of two models on a million cases, against the sorting of one column, the floor of any such test.

    .venv/bin/python benchmarks/roc.py

Run on an otherwise idle machine. The limit is five argsorts. Beside it what is resampled most: a cohort of 368.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pandas as pd

from mflib.stats import roc

CASES, ROUNDS, LIMIT = 1_000_000, 9, 5.0


def seconds(function: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def sample(cases: int, *, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores of two models, and patients of eight cases each; rounded scores are tied."""
    rng = np.random.default_rng(0)
    y_true, groups = rng.integers(2, size=cases), np.arange(cases) // 8
    scores = rng.normal(size=(cases, 2)) + y_true[:, None]
    return y_true, scores if decimals is None else np.round(scores, decimals), groups


def main() -> None:
    """Print the table."""
    y_true, scores, groups = sample(CASES)
    tied, column = sample(CASES, decimals=2)[1], np.ascontiguousarray(scores[:, 0])
    contestants: dict[str, Callable[[], object]] = {
        "one argsort of one column": lambda: np.argsort(column),
        "paired test, cases independent": lambda: roc.compare(y_true, scores),
        "the same with ties": lambda: roc.compare(y_true, tied),
        "paired test, clustered": lambda: roc.compare(y_true, scores, groups),
    }
    # All take turns, so that a busy moment of the machine does not hit one of them only.
    turns = [{name: seconds(contestant) for name, contestant in contestants.items()} for _ in range(ROUNDS)]
    times = {name: [turn[name] for turn in turns] for name in contestants}
    floor = times["one argsort of one column"]
    print(f"n = {CASES}, two models, {ROUNDS} rounds; in argsorts of the same run (limit {LIMIT:g})")
    print(f"{'':32} {'minimum':>9} {'median':>9} {'argsorts, minimum':>18} {'median':>7}")
    for name, spent in times.items():
        ratios = f"{min(spent) / min(floor):18.2f} {median(spent) / median(floor):7.2f}"
        print(f"{name:32} {min(spent):8.3f}s {median(spent):8.3f}s {ratios}")
    y_true, scores, groups = sample(368)
    patients, labels = pd.Series(groups), pd.Series(y_true)
    resampling: dict[str, Callable[[], object]] = {
        "paired test, clustered": lambda: roc.compare(y_true, scores, groups),
        "sums of 2000 resamples": lambda: roc.resampled_sums(patients, labels, scores, 2000, 0),
    }
    print("n = 368")
    for name, contestant in resampling.items():
        print(f"{name:32} {1000 * min(seconds(contestant) for _ in range(ROUNDS)):8.1f} ms")


if __name__ == "__main__":
    main()
