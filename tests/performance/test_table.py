"""What a predictions table may hold, and what is said of one that does not."""

import numpy as np
import pandas as pd
import pytest

from mflib import performance
from tests.performance.toy import predictions


def test_every_fault_of_a_table_is_named_with_its_row():
    table = predictions("dcnn").astype({"y_true": object, "score": object})
    table.loc[3, "y_true"] = 2
    table.loc[4, "score"] = "high"
    table.loc[5, "threshold"] = np.inf
    table.loc[6, "level"] = "L1"
    table.loc[9, performance.KEY] = table.loc[8, performance.KEY]
    with pytest.raises(performance.PredictionsError) as error:
        performance.validate(table)
    lines = str(error.value).splitlines()
    assert lines[0] == "5 faults in the predictions table:"
    assert "row 3, y_true: found 2, expected one of (0, 1)" in lines
    assert "row 4, score: found high, expected a finite number" in lines
    assert "row 5, threshold: found inf, expected a finite number" in lines
    assert "row 6, level: found L1, expected one of ('L23', 'L34', 'L45', 'L5S1')" in lines
    assert lines[-1].startswith("row 9, key: found ['sub-001', 'L23', 'L'] again")
    with pytest.raises(performance.PredictionsError, match=r"without the columns \['threshold'\]"):
        performance.validate(table.drop(columns="threshold"))


def test_a_table_survives_its_csv(tmp_path):
    table = predictions("dcnn")
    table.to_csv(tmp_path / "predictions.csv", index=False)
    back = performance.validate(pd.read_csv(tmp_path / "predictions.csv"))
    pd.testing.assert_frame_equal(back, performance.validate(table), check_dtype=False)
