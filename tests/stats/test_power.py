"""Power and sample size against values of R's pROC, against each other, and against simulated tests."""

import pytest
from numpy.testing import assert_allclose

from mflib.base.errors import InputError
from mflib.stats.roc import Question
from mflib.stats.roc.power import hanley_mcneil


def test_one_area_as_proc():
    # power.roc.test(ncases=41, ncontrols=72, auc=.73) and (auc=.73, power=.95, kappa=1.7); sig.level .05, two-sided.
    assert_allclose(Question(0.73).power(41, 72), 0.9897453436, atol=5e-11)
    assert_allclose(Question(0.73).positives_needed(0.95, 1.7), 29.6701956187, atol=5e-11)


@pytest.mark.parametrize(("correlation", "power"), [(0, 0.8243296032), (0.3, 0.9111062162), (0.5, 0.9616953029)])
def test_two_areas_as_proc(correlation, power):
    assert_allclose(Question(0.68, 0.79, correlation).power(160, 208), power, atol=5e-11)


@pytest.mark.parametrize("design_effect", [0.75, 1, 4.25])
def test_the_needed_size_gives_the_power(design_effect):
    for auc in (0.2, 0.6, 0.97):
        asked = Question(auc, design_effect=design_effect)
        positives = asked.positives_needed(0.8, 1.3)
        if positives >= 1:
            assert asked.power(positives, 1.3 * positives) == pytest.approx(0.8, abs=1e-9)
    asked = Question(0.7, 0.85, 0.4, design_effect)
    positives = asked.positives_needed(0.9, 1.3)
    assert asked.power(positives, 1.3 * positives) == pytest.approx(0.9, abs=1e-12)
    assert positives == pytest.approx(design_effect * Question(0.7, 0.85, 0.4).positives_needed(0.9, 1.3))


def test_hanleys_variance_by_hand():
    # At 0.5 it is that of Mann and Whitney's test; at 0.75, Q1 = .6 and Q2 = 9 / 14.
    expected = [31 / (12 * 200), (0.1875 + 9 * (0.6 - 0.5625) + 19 * (9 / 14 - 0.5625)) / 200]
    assert_allclose(hanley_mcneil([0.5, 0.75], 10, 20), expected, rtol=1e-13)
    assert_allclose(Question(0.5).power(10, 20), 0.025)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Question(1), "found areas .1., expected between 0 and 1"),
        (lambda: Question(0.7).power(0, 10), "found 0 positives and 10 negatives"),
        (lambda: Question(0.7, design_effect=0), "design effect 0"),
        (lambda: Question(0.5).positives_needed(0.8, 1), "found an area of 0.5 to tell from 0.5"),
        (lambda: Question(0.7, 0.7).positives_needed(0.8, 1), "found an area of 0.7 to tell from 0.7"),
        (lambda: Question(0.7, 0.8, 2).power(10, 10), "found correlation 2"),
        (lambda: Question(0.6, 0.95, 0.999).power(10, 10), "give the area nearer 0.5 first"),
    ],
)
def test_what_cannot_be_planned_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
