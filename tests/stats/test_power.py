"""Power and sample size against values of R's pROC, against each other, and against simulated tests."""

import pytest
from numpy.testing import assert_allclose

from mflib.base.errors import InputError
from mflib.stats import roc
from mflib.stats.roc.power import hanley_mcneil


def test_one_area_as_proc():
    # power.roc.test(ncases=41, ncontrols=72, auc=.73) and (auc=.73, power=.95, kappa=1.7); sig.level .05, two-sided.
    assert_allclose(roc.power_one(0.73, 41, 72), 0.9897453436, atol=5e-11)
    assert_allclose(roc.sample_size_one(0.73, 0.95, 1.7), 29.6701956187, atol=5e-11)


@pytest.mark.parametrize(("correlation", "power"), [(0, 0.8243296032), (0.3, 0.9111062162), (0.5, 0.9616953029)])
def test_two_areas_as_proc(correlation, power):
    assert_allclose(roc.power_two(0.79, 0.68, 160, 208, correlation), power, atol=5e-11)


@pytest.mark.parametrize("design_effect", [0.75, 1, 4.25])
def test_the_needed_size_gives_the_power(design_effect):
    for auc in (0.2, 0.6, 0.97):
        positives = roc.sample_size_one(auc, 0.8, 1.3, design_effect=design_effect)
        if positives >= 1:
            power = roc.power_one(auc, positives, 1.3 * positives, design_effect=design_effect)
            assert power == pytest.approx(0.8, abs=1e-9)
    positives = roc.sample_size_two(0.85, 0.7, 0.9, 1.3, 0.4, design_effect=design_effect)
    power = roc.power_two(0.85, 0.7, positives, 1.3 * positives, 0.4, design_effect=design_effect)
    assert power == pytest.approx(0.9, abs=1e-12)
    assert positives == pytest.approx(design_effect * roc.sample_size_two(0.85, 0.7, 0.9, 1.3, 0.4))


def test_hanleys_variance_by_hand():
    # At 0.5 it is that of Mann and Whitney's test; at 0.75, Q1 = .6 and Q2 = 9 / 14.
    expected = [31 / (12 * 200), (0.1875 + 9 * (0.6 - 0.5625) + 19 * (9 / 14 - 0.5625)) / 200]
    assert_allclose(hanley_mcneil([0.5, 0.75], 10, 20), expected, rtol=1e-13)
    assert_allclose(roc.power_one(0.5, 10, 20), 0.025)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: roc.power_one(1, 10, 10), "found areas .1., expected between 0 and 1"),
        (lambda: roc.power_one(0.7, 0, 10), "found 0 positives and 10 negatives"),
        (lambda: roc.power_one(0.7, 10, 10, design_effect=0), "design effect 0"),
        (lambda: roc.sample_size_one(0.5, 0.8, 1), "found an area of 0.5"),
        (lambda: roc.sample_size_one(0.7, 0.01, 1), "found power 0.01"),
        (lambda: roc.sample_size_two(0.7, 0.7, 0.8, 1), "found two areas of 0.7"),
        (lambda: roc.power_two(0.8, 0.7, 10, 10, 2), "found correlation 2"),
        (lambda: roc.power_two(0.95, 0.6, 10, 10, 0.999), "give the area nearer 0.5 first"),
    ],
)
def test_what_cannot_be_planned_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
