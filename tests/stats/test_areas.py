"""Claims about areas against simulated cohorts, published values and DeLong's intervals."""

from __future__ import annotations

import numpy as np
import pytest

from mflib.stats import roc
from mflib.stats.published import claims
from mflib.stats.published.printed import IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED, Status
from mflib.stats.roc import power


def test_variance_is_that_of_simulated_areas() -> None:
    # Hanley & McNeil's variance is exact for exponential scores; positives of mean 3 have an area of 3/4.
    rng = np.random.default_rng(2)
    positive, negative = rng.exponential(3, (20_000, 8, 1)), rng.exponential(1, (20_000, 1, 10))
    found = (positive > negative).mean(axis=(1, 2))
    assert found.mean() == pytest.approx(0.75, abs=0.005)
    assert found.var() == pytest.approx(float(power.hanley_mcneil(0.75, 8, 10)), rel=0.05)


def test_the_needed_correlation_gives_the_p_value_back() -> None:
    needed = claims.needed_correlation(0.68, 0.79, 0.001, 160, 208)
    assert needed is not None
    assert claims.p_of_difference(0.68, 0.79, 160, 208, needed) == pytest.approx(0.001, rel=1e-9)
    assert claims.needed_correlation(0.68, 0.79, 0.5, 160, 208) == 0
    assert claims.needed_correlation(0.7, 0.7, 0.001, 160, 208) is None
    p = claims.p_of_difference(0.68, 0.79, 160, 208, np.linspace(0, 0.99, 50))
    assert (np.diff(p) < 0).all()


@pytest.mark.parametrize(
    ("first", "second", "p", "cases", "status", "detail"),
    [
        ("0.68", "0.76", "0.032", (160, 208), REPRODUCED, "needs a correlation of 0."),
        ("0.68", "0.79", "0.032", (160, 208), IMPOSSIBLE, "at most "),
        ("0.79", "0.68", "<0.001", (160, 208), REPRODUCED, "needs a correlation of at least 0."),
        ("0.68", "0.79", ">0.05", (160, 208), IMPOSSIBLE, "at most "),
        ("0.68", "0.72", "> 0.05", (160, 208), REPRODUCED, "needs a correlation of at most 0."),
        ("0.70", "0.71", "<0.001", (20, 20), NOT_REPRODUCIBLE, "needs a correlation of at least 0.99"),
        ("0.70", "0.70", "0.95", (20, 20), REPRODUCED, "P from "),
        ("0.95", "1.00", "0.10", (20, 20), REPRODUCED, "P from "),
        ("0.0", "0.9", "<0.001", (20, 20), REPRODUCED, ""),
    ],
)
def test_p_of_a_difference(
    first: str, second: str, p: str, cases: tuple[int, int], status: Status, detail: str
) -> None:
    found = claims.area_difference("P", first, second, p, *cases)
    assert found.status == status
    assert found.detail.startswith(detail)
    assert "1.00" not in found.detail
    assert "nan" not in found.computed + found.detail


def test_honest_intervals_of_small_cohorts_stay_quiet() -> None:
    # Scores of unequal spread, for which Hanley & McNeil's variance is only about right.
    rng, flagged, n = np.random.default_rng(4), 0, 0
    y = np.repeat([1, 0], 20)
    for method in ("wald", "logit") * 40:
        score = rng.normal(y * rng.uniform(1, 3), 1 + y)
        area, covariance = roc.auc_covariance(y, score)
        if 0.005 < float(area[0]) < 0.995:
            ends = roc.auc_interval(float(area[0]), float(covariance[0, 0]), method=method)
            low, high = (f"{end:.2f}" for end in np.clip(ends, 0, 1))
            n += 1
            flagged += claims.area_interval("AUC", f"{area[0]:.2f}", (low, high), 20, 20).status != REPRODUCED
    assert n > 60
    assert flagged <= 0.03 * n


@pytest.mark.parametrize(
    ("auc", "bounds", "status"),
    [
        ("0.76", ("0.71", "0.81"), REPRODUCED),
        ("0.79", ("0.71", "0.81"), NOT_REPRODUCIBLE),  # the centre is off
        ("0.76", ("0.66", "0.86"), NOT_REPRODUCIBLE),  # twice as wide
    ],
)
def test_intervals(auc: str, bounds: tuple[str, str], status: Status) -> None:
    found = claims.area_interval("AUC", auc, bounds, 160, 208)
    assert found.status == status
