"""Settings: what is understood, what is refused in two lines, and where what they give goes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
import yaml
from nbclient import NotebookClient

from mflib.base.errors import InputError, RunError
from mflib.base.settings import flat, merged
from mflib.study import profile as profiles
from mflib.study.lab import Study
from mflib.study.pipeline import NOTEBOOKS, STEPS
from mflib.study.profile import choose, read
from tests.conftest import write_cohort
from tests.notebooks.runs import SMALL


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forest": {"tress": 3}}, "forest.tress is no setting; the nearest is forest.trees"),
        ({"trees": 3}, "trees is no setting; the nearest is forest.trees"),
        ({"forrest": {"trees": 3}}, "forrest is no setting; the nearest is forest"),
        ({"n_folds": 1}, "n_folds: found 1, expected at least 2"),
        ({"n_folds": True}, "n_folds: found True, expected a whole number"),
        ({"seed": 2.5}, "seed: found 2.5, expected a whole number"),
        ({"split": "patients"}, "split: found 'patients', expected 'patient' or 'segment'"),
        ({"network": 5}, "network: found 5, expected a group of settings"),
        ({"network": {"size": [48]}}, "network.size.1: found [48], expected an entry here; network.size.2"),
        ({"network": {"size": [48, 48, 24, 24]}}, "network.size: found [48, 48, 24, 24], expected at most 3 items"),
        ({"network": {"learning_rate": 1e30}}, "network.learning_rate: found 1e+30, expected at most 1000000"),
        ({"external": "a\0b"}, r"external: found 'a\x00b', expected a text without '\x00'"),
        ({"\udc80": 5}, r"\udc80: found 5, expected a text without '\udc80'"),
        ({"network": {"size": [48, 48, 4]}}, "network.size.2: found 4, expected at least 8"),
        ({"network": {"learning_rate": "0.001"}}, "network.learning_rate: found '0.001', expected a number"),
        ({"texture": {"symmetric": "no"}}, "texture.symmetric: found 'no', expected true or false"),
        ({"texture": {"symmetric": 1}}, "texture.symmetric: found 1, expected true or false"),
        ({"network": {"frozen": "false"}}, "network.frozen: found 'false', expected true or false"),
        ({"texture": {"levels": []}}, "texture.levels: found [], expected at least 1 item"),
        ({"texture": {"levels": [8, 8]}}, "texture.levels: found [8, 8], expected each once"),
        ({"texture": {"levels": 16}}, "texture.levels: found 16, expected a list"),
        ({"forest": {"trees": -5}}, "forest.trees: found -5, expected at least 1"),
        ({"forest.trees": 10**12}, "forest.trees: found 1000000000000, expected at most 1000000"),
        ({"forest": {"minimum_icc": 1}}, "forest.minimum_icc: found 1, expected below 1"),
        ({"seed": 2**40}, "seed: found 1099511627776, expected below 4294967296"),
        ({"network": {"weight_decay": float("inf")}}, "network.weight_decay: found inf, expected a finite number"),
        ({"network": {"frozen": True}}, "network.frozen: found true with pretrained 'none'"),
        ({"preprocessing": {"dark": 220}}, "preprocessing.dark: found 220, expected below bright, which is 220"),
        ({"forest": None}, "forest: found None, expected a group of settings"),
        ({(1, 2): 3}, "(1, 2) is no setting"),
        ({"network": {"learning_rate": float("nan")}}, "network.learning_rate: found nan"),
        ({"network": {"pretrained": "required"}}, "which was never released"),
        ({"network": {"seed": 1}}, "network.seed: found one of its own, expected the one seed of the study"),
        ({"comparisons": ["seed", "sead"]}, "comparisons.1: found 'sead', expected 'seed', 'pretraining'"),
        ({"texture": {"steps": [0]}}, "texture.steps.0: found 0, expected at least 1"),
        ({"texture": {"voxel_mm": "one"}}, "texture.voxel_mm: found 'one', expected 'as-recorded' or 'coarsest'"),
        ({"texture": {"voxel_mm": [0.4, 0.4, 0]}}, "texture.voxel_mm.2: found 0, expected at least 0.01"),
        ({"n_folds": 1, "forest": {"trees": 0}}, "n_folds: found 1, expected at least 2; forest.trees: found 0"),
    ],
)
def test_wrong_settings_are_named_in_two_lines(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        choose("quick", changes=changes)
    first, second = str(caught.value).splitlines()
    assert first == "The settings of the profile quick cannot be used:"
    assert said in second


def test_a_profile_of_anybody_names_what_it_has_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 3\nforest: {trees: 7}\n")
    chosen = choose(str(path), "data/clinic", {"forest": {"repeats": 2}})
    assert (chosen.seed, chosen.forest.seed, chosen.network.seed) == (3, 3, 3)
    assert (chosen.forest.trees, chosen.forest.repeats, chosen.forest.permutations) == (7, 2, 10)
    assert chosen.cohort_folder.name == "clinic"
    with pytest.raises(InputError, match="no profile 'quik'; expected one of full, paper, quick, transfer"):
        choose("quik")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1, 2]", "found a list, expected a mapping"),
        (b"# nothing yet\n", "found nothing, expected a mapping"),
        (b"seed: 3\a", "found control characters or no UTF-8, expected"),
        (b"seed: 3\nforest: {trees: 3}\nseed: 4\n", r"not valid YAML in line 3, column 1 \(seed a second time\)"),
        (b"forest: {trees: 3, trees: 4}", r"line 1, column 20 \(trees a second time\)"),
        (b"a: b: c", "not valid YAML in line 1, column 5"),
        (b"forest: &all {trees: *all}", "an alias, expected the values themselves"),
        (b"seed: !!python/name:os.system", "not valid YAML in line 1"),
        (b"seed: " + b"9" * 5000, "not valid YAML"),
        (b"[" * 3000, "not valid YAML"),
        ("cohort: 数据".encode("gb18030"), "expected YAML saved in UTF-8"),
        (b"PK\x03\x04\x00\xff", "expected YAML saved in UTF-8"),
    ],
)
def test_what_is_no_profile_is_said_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(InputError, match=rf"^mine\.yaml: .*{said}") as caught:
        choose(str(tmp_path / "mine.yaml"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_numbers_count_in_either_notation(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("cohort: 数据\nseed: 010\nnetwork: {weight_decay: 1e-4}\nforest: {trees: 2.0e+2}\n", encoding)
    chosen = choose(str(path), changes={"n_folds": 4.0, "network.learning_rate": "1E-2", "forest": {"repeats": "2e0"}})
    assert chosen.cohort_folder.name == "数据"
    assert (chosen.seed, chosen.n_folds, chosen.forest.trees, chosen.forest.repeats) == (10, 4, 200, 2)
    assert (chosen.network.weight_decay, chosen.network.learning_rate) == (1e-4, 1e-2)
    for text in ("1:30", "0x10", "1_000", "2024-01-01", "'7'"):
        path.write_text(f"seed: {text}")
        with pytest.raises(InputError, match=r"seed: found '.*', expected a whole number"):
            choose(str(path))
    path.write_text('seed: "\\ud800"')
    with pytest.raises(InputError, match=r"seed: found '\\ud800', expected a text without"):
        choose(str(path))


ENDLESS: dict[str, Any] = {}
ENDLESS["forest"] = ENDLESS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"changes": ["seed"]}, "changes: found a list, expected settings by name"),
        ({"changes": ENDLESS}, "changes: found groups in groups without end"),
        ({"changes": {"a." * 5000 + "a": 1}}, "changes: found groups in groups without end"),
        ({"profile": None}, "no profile 'None'; expected one of"),
        ({"profile": 5}, "no profile '5'; expected one of"),
        ({"profile": "a" * 300}, "no profile 'aaa"),
        ({"profile": "\0"}, "no profile"),
    ],
)
def test_what_a_notebook_cannot_mean_is_said(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Study.open(**arguments)


def test_merging_and_flattening_undo_each_other() -> None:
    values, changes = {"a": 1, "g": {"x": 1, "y": 2}}, {"g": {"y": 3}, "b": [1]}
    assert merged(values, changes) == {"a": 1, "g": {"x": 1, "y": 3}, "b": [1]}
    assert values == {"a": 1, "g": {"x": 1, "y": 2}}
    assert flat(merged(values, changes)) == {"a": 1, "g.x": 1, "g.y": 3, "b": [1]}
    by_segment, by_patient = (profiles.variant(Path("run"), {"split": split}) for split in ("segment", "patient"))
    assert by_segment != by_patient and by_segment.parent == by_patient.parent == Path("run")
    assert profiles.variant(Path("run"), {"scheduler": "tcp://a:1", "external": "b"}) == Path("run")


def test_a_run_is_called_after_cohort_and_profile() -> None:
    assert profiles.report_folder("quick", choose("quick")).name == "phantom-quick"
    assert profiles.report_folder("quick", choose("quick", "data/clinic")).name == "clinic-quick"
    assert Study.open().folder.name == "phantom-quick-playground"
    otherwise = Study.open(changes={"split": "segment", "forest": {"trees": 9}}).folder
    assert otherwise.parent.name == "phantom-quick-playground"
    assert otherwise.name.startswith("forest.trees-9_split-segment_")


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of seconds, a cohort, and a folder of reports in which the report's run is finished."""
    write_cohort(tmp_path / "clinic", 8, ".nii.gz", 8)
    monkeypatch.setattr(profiles, "REPORTS", tmp_path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(read("quick") | SMALL | {"n_folds": 2}))
    run = tmp_path / "clinic-small"
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    with monkeypatch.context() as patch:
        patch.setenv(profiles.WRITER, "")
        profiles.claim(run)
        official = opened(tmp_path, run=str(run))
        official.keep_predictions(official.forest.predictions, "random_forest")
    os.environ.pop(profiles.WRITER, None)
    return tmp_path


def opened(reports: Path, **parameters: Any) -> Study:
    return Study.open(str(reports / "small.yaml"), str(reports / "clinic"), **parameters)


def everything(folder: Path) -> dict[Path, tuple[int, int]]:
    stats = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


def test_playing_leaves_the_report_as_it_is(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = reports / "clinic-small"
    before, content = everything(run), {path: path.read_bytes() for path in everything(run)}
    with pytest.raises(InputError, match="is the run of a report, and only mflib report writes into it") as caught:
        opened(reports, run=str(run))
    assert len(str(caught.value).splitlines()) == 2
    # What the run has computed is at hand, so that nothing is measured again.
    monkeypatch.setattr("mflib.models.texture.bank._measure", lambda shared, job: 1 / 0)
    play = opened(reports)
    pd.testing.assert_frame_equal(play.predictions("random_forest"), play.predictions())
    assert len(play.texture) == 64
    varied = opened(reports, changes={"forest": {"trees": 20}})
    varied.keep_predictions(varied.forest.predictions, "random_forest")
    assert varied.folder.parent == play.folder
    assert not varied.predictions("random_forest")["score"].equals(play.predictions("random_forest")["score"])
    assert everything(run) == before and {path: path.read_bytes() for path in before} == content


def test_a_notebook_takes_what_fits_its_settings_and_says_what_does_not(reports: Path) -> None:
    # The network's settings change nothing about the forest.
    of_network = opened(reports, changes={"network": {"epochs": 3}})
    assert len(of_network.predictions("random_forest")) == 64
    by_segment = opened(reports, changes={"split": "segment"})
    with pytest.raises(RunError) as caught:
        by_segment.predictions("random_forest", "dcnn")
    first, second = str(caught.value).splitlines()
    assert "Random forest and 3D network" in first
    assert "clinic-small has them with split patient, not segment" in first and "nobody has computed them" in first
    assert '--set split="segment"' in second
    participants = reports / "clinic" / "participants.tsv"
    participants.write_text(participants.read_text().replace("\tA\n", "\tB\n"))
    with pytest.raises(RunError, match="of another cohort"):
        opened(reports).predictions("random_forest")


def test_what_does_not_fit_is_left_out_and_said(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = reports / "clinic-small" / "artifacts"
    for kind in ("csv", "json"):
        (run / f"predictions_baselines.{kind}").write_bytes((run / f"predictions_random_forest.{kind}").read_bytes())
    record = run / "predictions_baselines.json"
    record.write_text(record.read_text().replace('"cohort_sha256": "', '"cohort_sha256": "0'))
    assert len(opened(reports).predictions("random_forest")) == 64
    assert capsys.readouterr().out == "predictions_baselines is left out: clinic-small has them of another cohort\n"


def test_anybodys_predictions_join(reports: Path) -> None:
    run = reports / "clinic-small" / "artifacts"
    theirs = pd.read_csv(run / "predictions_random_forest.csv").assign(model="theirs")
    theirs.to_csv(run / "predictions_theirs.csv", index=False)
    assert set(opened(reports).predictions("random_forest")["model"]) == {"random_forest", "theirs"}


def test_a_wrong_setting_is_two_lines_in_a_notebook() -> None:
    code = ["from mflib import Study\nStudy.open(changes={'forest': {'tress': 1}})", "%tb"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in code])
    NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()
    first, again = (cell.outputs[-1] for cell in notebook.cells)
    assert len("\n".join(first.traceback).splitlines()) == 2
    assert "the nearest is forest.trees" in first.traceback[-1]
    # Who asks where it arose is told.
    whole = "".join(again.traceback)
    assert "Traceback" in whole and "in build" in whole and "the nearest is forest.trees" in whole


def test_a_study_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    study = Study.open(changes={"forest": {"trees": 9}})
    assert str(study) in study._repr_html_().replace("&#x27;", "'")
    assert "forest.trees</th><td>9 (changed)</td>" in study._repr_html_()


def test_a_study_shows_the_settings_that_its_notebook_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    study = Study.open()
    assert "forest.trees" in study._repr_html_() and "pitfalls.trees" in study._repr_html_()
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/07_pitfalls.ipynb")
    assert "pitfalls.trees" in study._repr_html_() and "forest.trees" not in study._repr_html_()
    monkeypatch.setenv("JPY_SESSION_NAME", "08_published_figures.ipynb")
    assert "preprocessing.bright" not in study._repr_html_() and '<th scope="row">seed</th>' in study._repr_html_()


# What a notebook asks its study for, and the settings that this follows from.
ASKED = {
    r"study\.(region|quality|pictures)\b": {"preprocessing"},
    r"study\.texture\b": {"preprocessing", "texture"},
    r"study\.perturbed\b": {"robustness"},
    r"study\.(keep_)?forest\b": {"forest"},
    r"study\.(keep_)?network\b": {"network"},
    r"study\.(network_comparisons|chance)\b": {"comparisons"},
    r"study\.predictions\b|predict\.load\b": {"preprocessing", "texture", "robustness", "forest", "network"},
}


@pytest.mark.parametrize("step", STEPS)
def test_the_groups_of_a_notebook_are_those_that_it_asks_for(step: str) -> None:
    cells = nbformat.read(NOTEBOOKS / f"{step}.ipynb", as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    named = set(re.findall(r"study\.profile\.(\w+)", code)) - {"seed", "split", "n_folds", "scheduler"}
    asked = named.union(*(groups for pattern, groups in ASKED.items() if re.search(pattern, code)))
    if "forest" in asked:
        asked.add("robustness")  # features that do not repeat may be left out of a forest
    assert asked == set(profiles.GROUPS[step])
