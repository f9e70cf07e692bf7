"""Table 1, correlation and reader agreement, against published and textbook values and for incomplete clinics."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score

from mflib import clinical
from mflib.volume import KEY, LEVELS

N = 46


@pytest.fixture
def patients():
    """A clinic of 46 whose numbers are known: normal quantiles, a skewed duration, and the paper's counts."""
    quantiles = norm.ppf((np.arange(N) + 0.5) / N)
    yes = [True] * 26 + [False] * 20
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{n:03}" for n in range(N)],
            "sex": ["M", "F"] * 23,
            "age": 32.2 + 9.8 * quantiles / quantiles.std(ddof=1),
            "height_cm": 169.5 + quantiles,
            "weight_kg": np.where(np.arange(N) < 2, np.nan, 66.9 + quantiles),
            "bmi": 23.17 + quantiles,
            "vas": 3.6 + np.roll(quantiles, 7),
            "pain_months": np.r_[np.full(23, 1.0), np.full(11, 12.0), np.full(12, 240.0)],
            "bed_rest_months": np.nan,
            "sedentary": pd.array(yes, dtype="boolean"),
            "labour": np.array([*yes[:-6], *[None] * 6], dtype=object),
            "night_shift": pd.array([None] * N, dtype="boolean"),
        }
    )


def graded(reader1, reader2, adjudicator=None):
    """Segments of consecutive patients, eight each."""
    keys = [(f"sub-{n // 8:03}", LEVELS[n // 2 % 4], "LR"[n % 2]) for n in range(len(reader1))]
    table = pd.DataFrame(keys, columns=KEY).assign(grade_reader1=reader1, grade_reader2=reader2)
    table["grade_adjudicator"] = [pd.NA] * len(reader1) if adjudicator is None else adjudicator
    names = ["grade_reader1", "grade_reader2", "grade_adjudicator"]
    return table.astype(dict.fromkeys(names, "Int64"))


def test_table_one_in_the_papers_form(patients):
    segments = pd.DataFrame({"grade": [0] * 208 + [1] * 87 + [2] * 48 + [3] * 25})
    table = clinical.table_one(patients, segments).set_index("variable")
    assert table["section"].drop_duplicates().tolist() == ["demographics", "lifestyle", "pain", "mri"]
    assert table.loc["male/female", "value"] == "23/23"
    assert table.loc["age", ["statistic", "value"]].tolist() == ["mean ± SD", "32.2 ± 9.8"]
    assert table.loc["pain duration", ["statistic", "value"]].tolist() == ["median (Q1, Q3)", "6.5 (1, 183)"]
    assert table.loc["pain duration", "normality"] == "Shapiro-Wilk P < 0.001"
    assert table.loc["sedentary (>= 30 min/session)", "value"] == "26/46 (56.5)"
    mri = ["208 (56.5)", "160 (43.5)", "87 (54.4)", "48 (30.0)", "25 (15.6)"]  # the paper's table 1
    assert table.loc[table["section"] == "mri", "value"].tolist() == mri


def test_missing_values_are_counted_and_missing_columns_stay(patients):
    table = clinical.table_one(patients, pd.DataFrame({"grade": [0, 0]})).set_index("variable")
    assert table.loc["weight", "n_missing"] == 2
    labour = table.loc["physical labour (waist effort)"]
    assert (labour["value"], labour["n_missing"]) == ("26/40 (65.0)", 6)
    for variable in ("bed rest due to pain", "night shifts (>= 4/month)", "exercise"):
        assert table.loc[variable, ["value", "n_missing"]].tolist() == ["not recorded", N]
    assert table.loc["mild", "value"] == "0"
    bare = clinical.table_one(patients[["participant_id"]], pd.DataFrame({"grade": [0, 1]}))
    assert bare["variable"].tolist() == table.index.tolist()
    assert bare.query("section != 'mri'")["value"].eq("not recorded").all()


def test_a_variable_that_cannot_be_tested_is_not_called_normal(patients):
    table = clinical.table_one(patients.assign(age=30.0), pd.DataFrame({"grade": [1]})).set_index("variable")
    assert table.loc["age", "statistic"] == "median (Q1, Q3)"
    assert table.loc["age", "normality"] == "not tested (1 different values of 46)"


def test_bmi_vas_gives_the_interval_of_a_known_correlation():
    # Two orthogonal vectors mixed to r = 0.42 exactly, n = 46 as in the paper: P .0037, interval .15 to .63.
    rng = np.random.default_rng(0)
    a, b = np.linalg.qr(np.column_stack([np.ones(N), rng.normal(size=(N, 2))]))[0][:, 1:].T
    table = pd.DataFrame({"bmi": 23 + a, "vas": 4 + 0.42 * a + np.sqrt(1 - 0.42**2) * b})
    result = clinical.bmi_vas(pd.concat([table, pd.DataFrame({"bmi": [22.0, np.nan], "vas": [np.nan, 3.0]})]))
    assert (result.n, result.n_missing) == (46, 2)
    reach = norm.ppf(0.975) / np.sqrt(43)
    expected = [0.42, np.tanh(np.arctanh(0.42) - reach), np.tanh(np.arctanh(0.42) + reach)]
    assert_allclose([result.r, result.low, result.high], expected, rtol=1e-10)
    assert str(result) == "r = 0.42 (95 % interval 0.15 to 0.63), P = 0.004, n = 46"


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"bmi": [20.0, 21, 22, np.nan], "vas": [1.0, 2, 3, 4]}, "3 patients with both BMI and VAS, at least 4 needed"),
        ({"bmi": [20.0, 21, 22, 23]}, "0 patients with both"),
        ({"bmi": [20.0, 21, 22, 23], "vas": [3.0] * 4}, "vas the same in all 4 patients"),
    ],
)
def test_too_little_for_a_correlation_is_said(columns, problem):
    result = clinical.bmi_vas(pd.DataFrame(columns))
    assert result.r is None and result.p is None
    assert str(result).startswith(f"no correlation: {problem}")


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
