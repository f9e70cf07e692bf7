"""What readers read: no machine's name is left, names stay apart, numbers follow one rule."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from mflib.base import words
from mflib.models.texture import bank, glcm
from mflib.show import shown


def test_every_feature_has_a_name_of_its_own_without_a_machines_marks() -> None:
    names = [*glcm.names((180, 180, 70)), *bank.NAKAGAMI, *bank.EXAMPLES]
    names = list(dict.fromkeys(names))
    labels = [words.label(name) for name in names]
    assert len(names) == 7020 + 2 + 2  # of the examples two are first-order, the others are among the rest
    assert len(set(labels)) == len(names)
    assert not any(re.search(r"_|\d\.\d", label) for label in labels)
    assert words.label("glcm_64_1_1.0.0_contrast") == "GLCM contrast, 64 levels, step 1, lateral"
    assert words.label("glcm_8_2_1.-1.0_ASM") == "GLCM ASM, 8 levels, step 2, lateral \u2212 depth"
    assert words.label("somebodys_model") == "somebodys_model"


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("p", [0.0342, 2.6e-7, 1.0], ["0.034", "<0.001", "1.000"]),
        ("naive_p", [0.0001], ["<0.001"]),
        ("P, pooled", [0.25], ["0.250"]),
        ("missing_pct", [12.55, -0.3], ["12.6", "\u22120.3"]),
        ("segments", [3.0, None, 128.0], ["3", "n/a", "128"]),
        ("coverage", [0.0, 1.0], ["0.00", "1.00"]),
        ("icc", [-0.0216, 0.554], ["\u22120.02", "0.55"]),
        ("learning_rate", [0.0005], ["0.0005"]),
        ("lat", ["L", "R"], ["left", "right"]),
        ("level", ["L5S1", "all"], ["L5/S1", "all"]),
        (
            "difference",
            ["-0.09 [-0.37, 0.2]", "sub-001", "0.71-0.81"],
            ["\u22120.09 [\u22120.37, 0.2]", "sub-001", "0.71-0.81"],
        ),
        ("yes", [True, False], ["yes", "no"]),
    ],
)
def test_cells_follow_one_rule(column: str, values: list[object], expected: list[str]) -> None:
    assert words.cells(column, values) == expected


def test_a_table_shows_names_and_keeps_its_numbers() -> None:
    frame = pd.DataFrame({"model": ["dcnn"], "n_patients": [46], "auc": [0.756], "p": [float("nan")]})
    html = shown.table_html(frame, "areas", "Areas.")
    cells = BeautifulSoup(html, "html.parser").find_all(["th", "td"])
    assert [cell.get_text() for cell in cells] == ["model", "patients", "AUC", "P", "3D network", "46", "0.76", "n/a"]
