"""What a notebook's study adds: settings tried beside each other, and what takes long said beforehand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from mflib.base.errors import InputError
from mflib.study import profile as profiles
from mflib.study.lab import Study
from mflib.study.profile import WRITER
from tests.notebooks.runs import SMALL

TRIED = {"forest": {"trees": [7, 9]}}


def _files(folder: Path) -> dict[Path, int]:
    return {path.relative_to(folder): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def own(study: Study, tmp_path: Path) -> Study:
    """The study in a folder of its own, with the predictions and the texture that it has."""
    made = replace(study, folder=tmp_path / "run" / "own")
    profiles.borrow(study.artifacts, made.artifacts)
    made.keep_predictions(study.predictions("random_forest").query("model == 'random_forest'"), "random_forest")
    return made


def test_a_setting_that_is_tried_is_the_study_opened_with_it(
    own: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    varied = own.vary(TRIED)
    assert list(varied.table["variant"]) == ["as it is", "forest.trees 7", "forest.trees 9"]
    assert capsys.readouterr().out.startswith("3 settings of the Random forest, 1 of them computed before.")
    kept = [_files(folder / "cache") for folder in own.folder.parent.glob("*/artifacts")]
    assert kept[0] and kept == [kept[0]] * 3, "the texture is there already"
    changes = json.loads(json.dumps(SMALL | {"network": {**SMALL["network"], "workers": 1, "extent_mm": [8.0] * 3}}))
    changes["forest"] = {**changes["forest"], "trees": 9}
    alone = Study.open("quick", own.profile.cohort, str(own.folder.parents[1] / "alone"), changes)
    profiles.borrow(own.artifacts, alone.artifacts)
    other, mine = alone.forest.predictions.query("repeat == 0"), varied.predictions.query("model == 'forest.trees 9'")
    pd.testing.assert_series_equal(
        mine["score"].reset_index(drop=True), other["score"].reset_index(drop=True), check_exact=True
    )
    # Nothing is computed a second time, and nothing lies among the study's own results.
    again = own.vary(TRIED)
    assert "3 of them computed before" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again.table, varied.table)
    assert len(list(own.folder.parent.glob("*/artifacts/predictions_random_forest.csv"))) == 3
    assert own.predictions("random_forest")["score"].tolist() == varied.predictions["score"].tolist()[: len(mine)]


def test_a_difference_is_that_of_the_means_of_folds(own: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    varied = own.vary({"forest": {"trees": [7]}, "split": ["patient", "segment"]})
    means = {}
    for model, rows in varied.predictions.groupby("model", sort=False):
        pairs = [(fold["score"].to_numpy()[:, None], fold["y_true"].to_numpy()) for _, fold in rows.groupby("fold")]
        won = [((s[y == 1] > s[y == 0].T) + 0.5 * (s[y == 1] == s[y == 0].T)).mean() for s, y in pairs]
        means[model] = sum(won) / len(won)
    table = varied.table.set_index("variant")
    assert table["mean"].to_dict() == pytest.approx(means)
    row = table.loc["forest.trees 7, split patient"]
    assert row["difference"] == pytest.approx(means[row.name] - means["as it is"])
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    # Other folds test other patients in another way: there is no difference to be had.
    assert table.loc["forest.trees 7, split segment", ["difference", "p"]].isna().all()


def test_what_cannot_be_tried_is_said_before_anything_is_computed(
    own: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, said in (
        ({"forest": {"trees": [5], "tress": [1, 2]}}, "the nearest is forest.trees"),
        ({"forest": {"trees": 5}}, r"found forest.trees 5, expected a list"),
        ({"forest": {"trees": []}}, "expected a list"),
        ({"forest": {"trees": [5, -1]}}, "forest.trees: found -1"),
    ):
        with pytest.raises(InputError, match=said):
            own.vary(wrong)
    for wrong, model in (({}, ""), (["trees"], ""), (TRIED, "forest")):
        with pytest.raises(InputError, match="expected settings by name, and random_forest or dcnn or no model"):
            own.vary(wrong, model)
    assert capsys.readouterr().out == ""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """What a kernel hands its cells to, as JupyterLab names them."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    made = InteractiveShell.instance()
    yield made
    made.history_manager.end_session()
    InteractiveShell.clear_instance()


def test_a_cell_that_takes_long_says_so_before_it_starts(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profiles, "REPORTS", tmp_path)
    monkeypatch.delenv(WRITER, raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", "03_random_forest.ipynb")

    def said(cell: str) -> str:
        Study.open()
        shell.run_cell("print('begun')", cell_id=cell)
        return capsys.readouterr().out

    # Nothing has been measured here: the notebook's own first cell says how long it takes.
    assert re.fullmatch(
        r"This cell computes for a while. Minutes of the whole notebook: \d+ on .*\.\nbegun\n", said("forest")
    )
    assert said("table2") == "begun\n"
    made = tmp_path / "phantom-quick" / "notebooks" / "03_random_forest.ipynb"
    made.parent.mkdir(parents=True)
    cells = [nbformat.v4.new_code_cell("", id=name) for name in ("forest", "table2")]
    for cell, seconds in zip(cells, (3.0, 71.2), strict=True):
        cell.metadata["papermill"] = {"duration": seconds}
    nbformat.write(nbformat.v4.new_notebook(cells=cells), made)
    assert said("forest") == "begun\n"
    assert said("table2").startswith("This cell took 71 s when the report was made.")
    # A report has nobody who waits for it.
    monkeypatch.setenv(WRITER, str(profiles.playground(tmp_path / "phantom-quick")))
    shell.events.unregister("pre_run_cell", shell.events.callbacks["pre_run_cell"][-1])
    assert said("table2") == "begun\n"
