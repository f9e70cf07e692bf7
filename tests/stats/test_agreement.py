"""Reader agreement against another library's kappa, and for readers who are absent or never vary."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import cohen_kappa_score

from mflib.base.words import KEY, LEVELS
from mflib.stats import clinical
from mflib.stats.performance.metrics import kappa


def graded(reader1, reader2, adjudicator=None):
    """Segments of consecutive patients, eight each."""
    keys = [(f"sub-{n // 8:03}", LEVELS[n // 2 % 4], "LR"[n % 2]) for n in range(len(reader1))]
    table = pd.DataFrame(keys, columns=KEY).assign(grade_reader1=reader1, grade_reader2=reader2)
    table["grade_adjudicator"] = [pd.NA] * len(reader1) if adjudicator is None else adjudicator
    names = ["grade_reader1", "grade_reader2", "grade_adjudicator"]
    return table.astype(dict.fromkeys(names, "Int64"))


def test_kappas_of_clustered_readers():
    rng = np.random.default_rng(2)
    first = rng.integers(4, size=320)
    # Every third patient is hard: there the second reader guesses.
    second = np.where(np.arange(320) // 8 % 3 == 0, rng.integers(4, size=320), first)
    result = clinical.reader_agreement(graded(first, second), seed=1)
    unweighted, quadratic = result.kappas
    assert_allclose(unweighted.value, cohen_kappa_score(first, second))
    assert_allclose(quadratic.value, cohen_kappa_score(first, second, weights="quadratic"))
    assert unweighted.low < unweighted.value < unweighted.high
    # Disagreement comes in whole patients, so the interval is far wider than 320 independent segments would give.
    assert unweighted.high - unweighted.low > 1.3 * 2 * 1.96 * np.sqrt(0.75 * 0.25 / 320) / 0.75
    assert_allclose(result.agreement_pct, 100 * np.mean(first == second))
    assert result.table.to_numpy()[1, 2] == np.sum((first == 1) & (second == 2))
    assert clinical.reader_agreement(graded(first, second), seed=1).kappas == result.kappas


def test_adjudication_and_gaps_are_counted():
    na = pd.NA
    result = clinical.reader_agreement(graded([0, 1, 2, 3, na, 1], [0, 1, 1, 2, 2, na], [na, na, 2, na, 2, na]))
    assert (result.n, result.n_missing, result.adjudicated, result.undecided) == (4, 2, 2, 1)
    assert result.agreement_pct == 50


@pytest.mark.parametrize("absent", [["grade_reader2"], ["grade_reader1", "grade_reader2", "grade_adjudicator"]])
def test_absent_readers_are_said(absent):
    result = clinical.reader_agreement(graded([0, 1], [0, 1]).drop(columns=absent))
    assert result.n == 0 and result.agreement_pct is None
    assert result.problem == f"{' and '.join(name for name in absent if 'reader' in name)} not recorded"
    assert result.summary()["value"].isna().all()


def test_one_grade_throughout_has_no_kappa():
    result = clinical.reader_agreement(graded([0] * 16, [0] * 16))
    assert result.agreement_pct == 100
    assert [kappa.value for kappa in result.kappas] == [None, None]


@pytest.mark.parametrize(("first", "second"), [([1] * 16, [2] * 16), ([0] * 16, [3] * 16), ([1] * 16, [1, 2] * 8)])
def test_readers_with_one_grade_each_that_is_not_the_same_have_a_kappa_of_0(first, second):
    result = clinical.reader_agreement(graded(first, second), resamples=50)
    assert [(found.value, found.low, found.high) for found in result.kappas] == [(0, None, None)] * 2
    assert str(result.kappas[1]) == "0.00 (no interval: one patient, or one grade from a reader)"
    for weights in (None, "linear", "quadratic"):
        assert kappa(result.table, weights) == cohen_kappa_score(first, second, weights=weights) == 0
    by_level = clinical.agreement_by_level(graded(first, second), resamples=50)
    assert by_level["note"].str.startswith("one reader gave one grade throughout").all()


def test_one_patient_has_no_interval():
    one = graded([0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 1, 1, 2, 2])
    kappa = clinical.reader_agreement(one, resamples=20).kappas[1]
    assert (
        kappa.value > 0.5
        and kappa.low is None
        and str(kappa).endswith("(no interval: one patient, or one grade from a reader)")
    )
    assert clinical.agreement_by_level(one, resamples=20)["note"].iloc[0].startswith("one patient: no interval")


def test_each_level_is_read_alone():
    rng = np.random.default_rng(3)
    first = rng.integers(4, size=160)
    second = np.where(rng.random(160) < 0.3, rng.integers(4, size=160), first)
    grades = graded(first, second, np.where(first == second, None, first))
    grades.loc[grades["level"] == "L34", "grade_reader2"] = 2
    table = clinical.agreement_by_level(grades, resamples=50).set_index("level")
    assert table.index.tolist() == ["all", *LEVELS]
    of_level = grades[grades["level"] == "L45"].astype({"grade_reader1": int, "grade_reader2": int})
    one, two = of_level["grade_reader1"], of_level["grade_reader2"]
    row = table.loc["L45"]
    assert (row["segments"], row["note"]) == (40, "")
    assert_allclose(row["quadratic_kappa"], cohen_kappa_score(one, two, weights="quadratic"))
    assert_allclose(row["same_grade_pct"], 100 * np.mean(one == two))
    assert_allclose(row["far_apart_pct"], 100 * np.mean(np.abs(one - two) >= 2))
    assert_allclose(row["adjudicated_pct"], 100 * np.mean(of_level["grade_adjudicator"].notna()))
    # Kappa of a reader who never varies is 0 whatever the other says: an interval of 0 to 0 would mislead.
    constant = table.loc["L34"]
    assert constant["quadratic_kappa"] == 0 and np.isnan(constant["low"])
    assert constant["note"].startswith("one reader gave one grade throughout")
    nobody = clinical.agreement_by_level(grades.drop(columns="grade_reader1"), resamples=50)
    assert (nobody["note"] == "grade_reader1 not recorded").all() and nobody["quadratic_kappa"].isna().all()
