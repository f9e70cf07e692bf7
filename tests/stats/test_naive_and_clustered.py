"""The naive and the clustered analysis side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mflib.base.errors import InputError
from mflib.base.words import KEY, LEVELS, SIDES
from mflib.stats import performance


def predictions(patients: int, places: list[tuple[str, str]], seed: int) -> pd.DataFrame:
    """Two models whose scores and labels are alike within a patient."""
    rng = np.random.default_rng(seed)
    keys = [(f"sub-{n:03}", level, lat) for n in range(patients) for level, lat in places]
    table = pd.DataFrame(keys, columns=KEY)
    patient = pd.factorize(table["participant_id"])[0]
    alike = rng.normal(size=(patients, 3))[patient]
    table = table.assign(split="patient", repeat=0, fold=patient % 5 + 1, threshold=0.0)
    table["y_true"] = (alike[:, 0] + 0.5 * rng.normal(size=len(table)) > 0).astype(int)
    scores = {
        m: table["y_true"] + alike[:, k] + 0.5 * rng.normal(size=len(table)) - 0.5 for k, m in ((1, "a"), (2, "b"))
    }
    return pd.concat([table.assign(model=model, score=score) for model, score in scores.items()], ignore_index=True)


def test_one_segment_per_patient_leaves_nothing_to_cluster() -> None:
    both = performance.both_ways(predictions(60, [("L45", "L")], 0), "a", "b").set_index("quantity")
    areas = both[both.index.str.contains("AUC")]
    assert len(areas) == 4
    np.testing.assert_allclose(areas["width"].dropna(), 1, atol=1e-12)
    assert both.loc["a minus b: AUC, pooled", "p"] == pytest.approx(
        both.loc["a minus b: AUC, pooled", "naive_p"], abs=1e-12
    )
    assert both.loc["a minus b: accuracy", "p"] == pytest.approx(both.loc["a minus b: accuracy", "naive_p"], rel=0.1)


def test_it_holds_what_its_parts_say_and_the_words_count_the_turned_tests() -> None:
    table = predictions(40, [(level, lat) for level in LEVELS for lat in SIDES], 4)
    both = performance.both_ways(table, "a", "b").set_index("quantity")
    areas = performance.comparison(table, "a", "b").set_index("method")
    assert (
        both.loc["a minus b: AUC, pooled", ["low", "high", "p"]].tolist()
        == areas.loc["pooled, clustered", ["low", "high", "p"]].tolist()
    )
    assert both.loc["a minus b: AUC, pooled", "naive_p"] == areas.loc["pooled, naive DeLong", "p"]
    assert both.loc["a minus b: AUC, mean of folds", "p"] == areas.loc["mean of folds", "p"]
    assert (both.loc[["a: AUC, pooled", "b: AUC, pooled"], "width"] > 1.2).all()
    turned = ((both["naive_p"] < 0.05) != (both["p"] < 0.05)) & both[["naive_p", "p"]].notna().all(axis=1)
    words = performance.in_words(both.reset_index())
    assert turned.sum() > 0 and words.count("with patients as units") == turned.sum()
    assert f"{turned.sum()} of 6 tests" in words
    assert f"{both['width'].max():.1f} times as wide" in words
    sides = performance.side_by_side(both.reset_index())
    quantity = both.index[turned][0]
    row = sides.set_index("quantity").loc[quantity]
    assert row["patients as units"].endswith(f"P = {both.loc[quantity, 'p']:.3f}")


def test_several_splits_are_refused() -> None:
    table = predictions(10, [("L45", "L")], 0)
    with pytest.raises(InputError, match="one split and repeat"):
        performance.both_ways(pd.concat([table, table.assign(repeat=1)]), "a", "b")


def test_a_row_per_model_with_its_notes() -> None:
    table = pd.DataFrame(
        {
            "model": ["b", "b", "dcnn", "dcnn"],
            "quantity": ["slope", "brier"] * 2,
            "value": [1.234, np.nan, 0.5, 0.25],
            "low": [1.0, np.nan, np.nan, 0.1],
            "high": [1.5, np.nan, np.nan, 0.4],
            "note": ["", "not a probability", "", ""],
        }
    )
    wide = performance.by_model(table, columns="quantity")
    assert wide.to_dict("list") == {
        "model": ["3D network", "b"],
        "slope": ["0.50", "1.23 [1.00, 1.50]"],
        "brier": ["0.25 [0.10, 0.40]", "n/a"],
        "note": ["", "not a probability"],
    }
