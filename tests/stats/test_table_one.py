"""Table 1, whole and by grade, against the paper's counts and for incomplete clinics."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from mflib.stats import clinical

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


def test_each_patient_stands_once_under_the_worst_grade(patients):
    # Patient n has two segments, the worse of grade n % 3: nobody is severe.
    ids = patients["participant_id"].repeat(2)
    segments = pd.DataFrame({"participant_id": ids, "grade": [grade for n in range(N) for grade in (0, n % 3)]})
    alone = pd.DataFrame({"participant_id": ["sub-alone"], "sex": ["M"]})
    table = clinical.table_one_by(pd.concat([patients, alone]), segments).set_index("variable")
    assert table.loc["patients", ["all", "none", "mild", "moderate", "severe"]].tolist() == [
        "47",
        "16",
        "15",
        "15",
        "0",
    ]
    assert table.loc["patients", "missing"] == "all 1"  # no segment, so no column of its own
    assert table.loc["of them infiltrated", ["all", "none", "mild"]].tolist() == ["30", "0", "15"]
    assert (table["severe"].drop("patients") == "no patients").all()
    mild = patients.iloc[1::3]
    assert table.loc["age", "mild"] == f"{mild['age'].mean():.1f} ± {mild['age'].std():.1f}"
    assert table.loc["sedentary (>= 30 min/session)", "mild"] == f"{mild['sedentary'].sum()}/15 (60.0)"
    assert table.loc["weight", "missing"] == "all 3, none 1, mild 1"
    assert table.loc["bed rest due to pain", "moderate"] == "not recorded"
    # The whole cohort decides between mean and median, so that a row can be read across.
    assert table.loc["pain duration", "statistic"] == "median (Q1, Q3)"
    one = clinical.table_one_by(patients.head(5), segments).set_index("variable")
    assert one.loc["age", "moderate"] == f"{patients['age'][2]:.1f} (one value)"


def test_gaps_are_counted_where_something_was_expected(patients):
    grades = pd.DataFrame(
        {"grade_reader1": [0, 1, 2, None], "grade_reader2": [0, 2, 3, 1], "grade_final": [0, 2, 3, 1]}
    )
    grades["grade_adjudicator"] = [None, 2, None, None]
    table = clinical.missing(patients, grades).set_index("variable")
    assert table.loc["weight", ["of", "expected", "missing"]].tolist() == ["patients", N, 2]
    assert table.loc["weight", "missing_pct"] == pytest.approx(100 * 2 / N)
    assert table.loc["bed rest due to pain", "note"] == "not recorded"
    # Where the readers agree, or one did not read, no adjudicator is missing.
    assert table.loc["grade adjudicator", ["of", "expected", "missing"]].tolist() == ["segments", 2, 1]
    agreed = clinical.missing(patients, grades.head(1)).set_index("variable").loc["grade adjudicator"]
    assert np.isnan(agreed["missing_pct"]) and agreed["note"] == "none expected"
    bare = clinical.missing(patients[["participant_id"]], grades[["grade_final"]]).set_index("variable")
    assert (bare.loc[["age", "grade reader1"], "note"] == "not recorded").all()
