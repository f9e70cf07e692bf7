"""Parts of the cohort: what is shown is that of the part alone, what is small is withheld, nobody is lost."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mflib.base.errors import InputError
from mflib.stats import performance
from tests.stats.toy import predictions

PATIENTS = pd.DataFrame({"participant_id": [f"sub-{p:03}" for p in range(20)]}).assign(
    sex=["F"] * 9 + ["M"] * 9 + [None] * 2, bmi=[*np.arange(18, 37), np.nan]
)


def test_a_part_is_read_by_itself():
    table = predictions("dcnn")
    found = performance.subgroups(table, PATIENTS).set_index(["variable", "group"])
    assert found.groupby("variable")["n"].sum().eq(len(table)).all()
    left = performance.summary(table[table["lat"] == "L"]).set_index("metric")
    row = found.loc[("side", "L")]
    assert_allclose(row[["auc", "low", "high"]].astype(float), left.loc["auc", ["pooled", "low", "high"]].astype(float))
    for metric in ("accuracy", "sensitivity", "specificity"):
        assert_allclose(row[metric], left.loc[metric, "pooled"])
    women = table[table["participant_id"].isin(PATIENTS.loc[PATIENTS["sex"] == "F", "participant_id"])]
    assert_allclose(found.loc[("sex", "F"), "auc"], performance.summary(women).set_index("metric").loc["auc", "pooled"])
    assert found.loc["BMI"]["n_patients"].to_dict() == {
        "1st third, up to 24.0": 7, "2nd third, up to 30.0": 6, "3rd third, above 30.0": 6, "not recorded": 1
    }  # fmt: skip


def test_small_cells_keep_their_counts_only():
    found = performance.subgroups(predictions("dcnn"), PATIENTS).set_index(["variable", "group"])
    row = found.loc[("sex", "not recorded")]
    assert (row["n"], row["n_patients"]) == (16, 2)
    assert row[["auc", "low", "high", "accuracy", "sensitivity", "specificity"]].isna().all()
    assert row["note"] == "withheld: 2 patients with positives and 2 with negatives, at least 5 needed"


def test_patients_must_be_known():
    with pytest.raises(InputError, match=r"found 1 patients without a row .* \['sub-019'\]"):
        performance.subgroups(predictions("dcnn"), PATIENTS.iloc[:19])
