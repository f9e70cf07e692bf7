"""What a predictions table may hold, and what is said of one that does not."""

import numpy as np
import pandas as pd
import pytest

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.stats import performance
from tests.stats.toy import predictions


def test_every_fault_of_a_table_is_named_with_its_row():
    table = predictions("dcnn").astype({"y_true": object, "score": object, "fold": object})
    table.loc[3, "y_true"] = 2
    table.loc[4, "score"] = "high"
    table.loc[5, "threshold"] = np.inf
    table.loc[6, "level"] = "L1"
    table.loc[7, "fold"] = 10**19
    table.loc[8, "model"] = ""
    table.loc[11, KEY] = table.loc[10, KEY]
    with pytest.raises(InputError) as error:
        performance.validate(table)
    lines = str(error.value).splitlines()
    assert lines[0] == "7 faults in the predictions table:"
    assert "row 3, y_true: found 2, expected one of (0, 1)" in lines
    assert "row 4, score: found high, expected a finite number" in lines
    assert "row 5, threshold: found inf, expected a finite number" in lines
    assert "row 6, level: found L1, expected one of ('L23', 'L34', 'L45', 'L5S1')" in lines
    assert "row 7, fold: found 10000000000000000000, expected a whole number below 2^53" in lines
    assert "row 8, model: found nothing, expected a name" in lines
    assert lines[-1].startswith("row 11, key: found ['sub-001', 'L34', 'L'] again")
    with pytest.raises(InputError, match=r"without the columns \['threshold'\]"):
        performance.validate(table.drop(columns="threshold"))


def test_probabilities_are_a_model_s_or_nobodys():
    whole, without = predictions("dcnn").assign(probability=0.5), predictions("theirs", 1)
    valid = performance.validate(pd.concat([whole, without]))
    assert (performance.calibrated(valid)["score"].to_numpy()[:160] == 0.5).all()
    assert performance.calibrated(valid)["score"].to_numpy()[160:].tolist() == without["score"].tolist()
    whole.loc[3, "probability"] = 1.5
    with pytest.raises(
        InputError, match=r"row 3, probability: found 1\.5, expected a number from 0 to 1 in every row of"
    ):
        performance.validate(whole)
    whole.loc[3, "probability"] = np.nan
    with pytest.raises(InputError, match="160 faults"):
        performance.validate(whole)


def test_names_are_text():
    table = predictions("dcnn").assign(participant_id=lambda t: t["participant_id"].str[-3:].astype(int), model=7)
    valid = performance.validate(table)
    assert set(valid["model"]) == {"7"} and set(valid["participant_id"]) == {str(n) for n in range(20)}
    twice = pd.concat([table, table.head(1).astype({"participant_id": str})])
    with pytest.raises(InputError, match=r"row 160, key: found .'0', 'L23', 'L'. again"):
        performance.validate(twice)


def test_a_table_survives_its_csv(tmp_path):
    table = predictions("dcnn")
    table.to_csv(tmp_path / "predictions.csv", index=False)
    back = performance.validate(pd.read_csv(tmp_path / "predictions.csv"))
    pd.testing.assert_frame_equal(back, performance.validate(table), check_dtype=False)
