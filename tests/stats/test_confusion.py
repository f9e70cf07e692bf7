"""The search for confusion matrices against loops over all of them, and against what an independent one found."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mflib.stats import published
from mflib.stats.published import audit, confusion
from mflib.stats.published.printed import Printed

# TP FP FN TN of each fold, from an independent recomputation of the published tables.
FOREST = ["18 19 11 16", "22 12 9 21", "26 13 8 18", "22 9 15 18", "20 12 14 18"]
NETWORK = ["21 11 7 34", "25 7 13 28", "19 15 13 26", "20 12 8 33", "23 9 13 28"]


def fits(repository: Path, table: str) -> list[confusion.Fit]:
    return confusion.fit(published.read_folds(repository / "data" / "published" / f"{table}.csv"), 160, 208)


def cells(found: list[confusion.Fit]) -> list[str]:
    return [" ".join(map(str, fit.chosen)) for fit in found]


def test_published_forest(repository: Path) -> None:
    found = fits(repository, "table2_random_forest")
    assert cells(found) == FOREST
    assert [len(fit.matrices) > 0 for fit in found] == [True, True, False, True, True]
    assert found[2].missed == ("accuracy 67.69 for 67.18", "specificity 58.06 for 59.06")


def test_published_network(repository: Path) -> None:
    found = fits(repository, "table3_dcnn")
    assert cells(found) == NETWORK
    assert [fit.assumption for fit in found] == ["", "", "", "the last zero of 80.50, 73.30 is padding", ""]


@pytest.mark.parametrize("left_out", [(), ("accuracy_pct",), ("sensitivity_pct",), ("ppv_pct",)])
def test_every_matrix_is_found_and_no_other(left_out: tuple[str, ...]) -> None:
    every = [(a, b, c, d) for a, b, c, d in product(range(9), range(8), repeat=2) if a + c <= 8 and b + d <= 7]
    for true in ((3, 2, 1, 4), (2, 2, 4, 3), (5, 1, 0, 1)):
        tp, fp, fn, tn = true
        exact = {
            "accuracy_pct": (tp + tn) / sum(true),
            "ppv_pct": tp / (tp + fp),
            "npv_pct": tn / (tn + fn),
            "sensitivity_pct": tp / (tp + fn),
            "specificity_pct": tn / (tn + fp),
        }
        row = {name: Printed.of(f"{100 * share:.0f}") for name, share in exact.items() if name not in left_out}
        by_hand = set()
        for a, b, c, d in every:
            over = {"accuracy_pct": a + b + c + d, "ppv_pct": a + b, "npv_pct": c + d}
            over |= {"sensitivity_pct": a + c, "specificity_pct": b + d}
            of = {"accuracy_pct": a + d, "ppv_pct": a, "npv_pct": d, "sensitivity_pct": a, "specificity_pct": d}
            if all(over[k] and abs(100 * of[k] / over[k] - row[k].value) < 1 + 1e-6 for k in row):
                by_hand.add((a, b, c, d))
        found = confusion.search(row, 8, 7)
        assert {tuple(m) for m in found.tolist()} == by_hand
        assert true in by_hand
        assert (np.diff(found.sum(axis=1)) >= 0).all()


def test_sums_over_all_choices() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        parts = [np.unique(rng.integers(0, 9, (3, 2)), axis=0) for _ in range(4)]
        reachable = {tuple(np.sum(choice, axis=0).tolist()) for choice in product(*parts)}
        for whole in product(range(10, 24, 3), repeat=2):
            assert audit.adds_up(parts, whole) == (whole in reachable)
