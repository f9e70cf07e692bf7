"""The tables in the paper's form."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mflib.base.errors import InputError
from mflib.stats import performance
from tests.stats.toy import predictions

PUBLISHED = Path(__file__).parents[3] / "shared/published"


def test_paper_tables_have_the_published_form_and_one_run():
    both = pd.concat([predictions("random_forest", seed=1), predictions("dcnn", seed=2)])
    table = performance.paper_table(both, "random_forest")
    assert table["fold"].tolist() == [1, 2, 3, 4, 5]
    first = performance.metrics_per_fold(both).query("model == 'random_forest' and fold == 1").iloc[0]
    assert_allclose(table.loc[0, "ppv_pct"], 100 * first["ppv"])
    assert table.loc[0, "auc"] == first["auc"]
    compared = performance.comparison_table(both, "random_forest", "dcnn").set_index("metric")
    assert_allclose(compared.loc["accuracy_pct", "random_forest_sd"], np.std(table["accuracy_pct"]))
    with pytest.raises(InputError, match="expected one split and repeat"):
        performance.paper_table(pd.concat([both, predictions("dcnn", repeat=1)]), "dcnn")


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published tables are not beside this checkout")
def test_columns_are_those_of_the_published_tables():
    table = performance.paper_table(predictions("dcnn"), "dcnn")
    assert table.columns.tolist() == pd.read_csv(PUBLISHED / "table2_random_forest.csv").columns.tolist()
    metrics = performance.comparison_table(predictions("dcnn"), "dcnn", "dcnn")["metric"]
    assert metrics.tolist() == pd.read_csv(PUBLISHED / "table4_comparison.csv")["metric"].tolist()
