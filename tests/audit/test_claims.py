"""Single claims against published values, other libraries and simulated people."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from mflib import audit
from mflib.audit import IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED, Printed, claims


def test_variance_is_that_of_simulated_areas() -> None:
    # Hanley & McNeil's variance is exact for exponential scores; positives of mean 3 have an area of 3/4.
    rng = np.random.default_rng(2)
    positive, negative = rng.exponential(3, (20_000, 8, 1)), rng.exponential(1, (20_000, 1, 10))
    areas = (positive > negative).mean(axis=(1, 2))
    assert areas.mean() == pytest.approx(0.75, abs=0.005)
    assert areas.var() == pytest.approx(float(claims.hanley_mcneil(0.75, 8, 10)), rel=0.05)


def test_the_needed_correlation_gives_the_p_value_back() -> None:
    needed = claims.needed_correlation(0.68, 0.79, 0.001, 160, 208)
    assert needed is not None
    assert claims.p_of_difference(0.68, 0.79, 160, 208, needed) == pytest.approx(0.001, rel=1e-9)
    assert claims.needed_correlation(0.68, 0.79, 0.5, 160, 208) == 0
    assert claims.needed_correlation(0.7, 0.7, 0.001, 160, 208) is None
    p = claims.p_of_difference(0.68, 0.79, 160, 208, np.linspace(0, 0.99, 50))
    assert (np.diff(p) < 0).all()


@pytest.mark.parametrize(
    ("second", "p", "status"),
    [("0.76", "0.032", REPRODUCED), ("0.79", "0.032", IMPOSSIBLE), ("0.79", "<0.001", REPRODUCED)],
)
def test_p_of_a_difference(second: str, p: str, status: str) -> None:
    assert claims.difference("P", "0.68", second, p, 160, 208).status == status


def test_correlation_is_that_of_data_with_this_r() -> None:
    rng = np.random.default_rng(3)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(46), rng.normal(size=(46, 2))]))
    x, y = basis[:, 1], 0.42 * basis[:, 1] + np.sqrt(1 - 0.42**2) * basis[:, 2]
    test = pearsonr(x, y)
    low, high = test.confidence_interval()
    found = claims.correlation("r", "0.42", 46, f"{test.pvalue:.5f}")
    assert found.status == REPRODUCED
    assert found.computed == f"P = {test.pvalue:.2g}, 95 % interval {low:.2f} to {high:.2f}"
    assert claims.correlation("r", "0.42", 46, "0.05").status == NOT_REPRODUCIBLE
    assert claims.correlation("r", "0.22", 46, "<0.01").status == NOT_REPRODUCIBLE


def test_body_mass_index_of_simulated_people() -> None:
    rng = np.random.default_rng(0)
    z = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 200_000)
    height, weight = 170 + 8 * z[:, 0], 67 + 13 * z[:, 1]
    values = {"height": height, "weight": weight, "bmi": weight / (height / 100) ** 2}
    pairs = [(Printed.of(f"{v.mean():.2f}"), Printed.of(f"{v.std():.2f}")) for v in values.values()]
    found = claims.body_mass_index(pairs[0], pairs[1], pairs[2])
    assert found.status == REPRODUCED
    assert float(found.computed.split()[-1]) == pytest.approx(0.6, abs=0.03)
    heavier = Printed.of("27.0"), pairs[2][1]
    assert claims.body_mass_index(pairs[0], pairs[1], heavier).status == IMPOSSIBLE


def test_places_agree_within_the_coarser_rounding() -> None:
    assert claims.agreement("a", ("abstract", "62"), ("results", "61.87")).status == REPRODUCED
    assert claims.agreement("a", ("abstract", "69"), ("results", "70.41")).status == IMPOSSIBLE
    assert claims.agreement("a", ("methods", ">=28"), ("results", ">28")).status == IMPOSSIBLE


def test_a_wrong_percentage_is_named() -> None:
    wrong, right = claims.shares("percentages", {"night shifts": (11, 46, "29.3"), "mild": (87, 160, "54.4")})
    assert (wrong.what, wrong.status, wrong.computed) == ("percentages: night shifts", NOT_REPRODUCIBLE, "23.91 %")
    assert right.status == REPRODUCED


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(audit.AuditError, match=r"found 'n\.s\.', expected a number"):
        claims.difference("P", "0.68", "0.79", "n.s.", 160, 208)
    with pytest.raises(audit.AuditError, match=r"found r = 1\.0 of 46 pairs"):
        claims.correlation("r", "1.0", 46, "<0.01")
