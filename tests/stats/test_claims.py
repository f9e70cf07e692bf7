"""Single claims against other libraries and simulated people."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from mflib.base.errors import InputError
from mflib.stats.published import claims
from mflib.stats.published.printed import IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED, Printed


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
    assert claims.correlation("r", "0.22", 46, "> 0.05").status == REPRODUCED
    assert claims.correlation("r", "0.42", 46, ">0.05").status == NOT_REPRODUCIBLE
    mirrored = claims.correlation("r", "−0.42", 46, f"{test.pvalue:.5f}")
    assert mirrored.status == REPRODUCED
    assert mirrored.computed == f"P = {test.pvalue:.2g}, 95 % interval {-high:.2f} to {-low:.2f}"


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
    assert claims.agreement("a", ("abstract", "0.76"), ("results", "0.78")).status == IMPOSSIBLE


@pytest.mark.parametrize(
    ("first", "second", "possible"),
    [
        ("0.0004", "<0.001", True),
        ("0.03", "<0.05", True),
        ("<0.05", "<0.01", True),
        (">0.01", "<0.05", True),
        ("≥0.05", "≤0.05", True),
        ("0.032", "<0.001", False),
        ("<0.05", ">0.05", False),
        ("<0.05", "≥0.05", False),
        ("0.20", "≤ 0.05", False),
    ],
)
def test_limits_agree_where_one_value_is_within_both(first: str, second: str, possible: bool) -> None:
    for texts in ((first, second), (second, first)):
        found = claims.agreement("P", ("abstract", texts[0]), ("results", texts[1]))
        assert found.status == (REPRODUCED if possible else IMPOSSIBLE)


@pytest.mark.parametrize(
    ("first", "second", "same"), [("≥28", ">= 28", True), (">=28", ">28", False), (">28", ">29", False)]
)
def test_a_criterion_is_the_same_limit(first: str, second: str, same: bool) -> None:
    found = claims.agreement("BMI", ("methods", first), ("results", second), criterion=True)
    assert found.status == (REPRODUCED if same else IMPOSSIBLE)


def test_a_wrong_percentage_is_named() -> None:
    wrong, right = claims.shares("percentages", {"night shifts": (11, 46, "29.3"), "mild": (87, 160, "54.4")})
    assert (wrong.what, wrong.status, wrong.computed) == ("percentages: night shifts", NOT_REPRODUCIBLE, "23.91 %")
    assert right.status == REPRODUCED


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match=r"found 'n\.s\.', expected a number"):
        claims.correlation("r", "0.42", 46, "n.s.")
    with pytest.raises(InputError, match=r"found '<> 0\.05', expected a number such as 0\.032, after one of <"):
        claims.correlation("r", "0.42", 46, "<> 0.05")
