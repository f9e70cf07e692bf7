"""``mflib compare`` on foreign predictions and on broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from mflib import performance
from mflib.cli import app
from tests.performance.toy import predictions, probabilities


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def saved(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return saved(pd.concat([probabilities("theirs", 1), predictions("yours", 2)]), tmp_path / "theirs.csv")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return saved(probabilities("dcnn", 3).sample(frac=1, random_state=0), tmp_path / "ours.csv")


def test_everything_as_json(ours: Path, theirs: Path) -> None:
    done = run(theirs, ours, "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    assert content["models"] == ["dcnn", "theirs", "yours"]
    joined = pd.concat([pd.read_csv(path) for path in (theirs, ours)])
    for name in ("summary", "fold_mean_auc", "operating_points", "mistakes", "several"):
        expected = getattr(performance, name)(joined)
        pd.testing.assert_frame_equal(pd.DataFrame(content["tables"][name]), expected, check_dtype=False)
    pairs = [(row["model_a"], row["model_b"]) for row in content["tables"]["comparison"]]
    assert list(dict.fromkeys(pairs)) == [("dcnn", "theirs"), ("dcnn", "yours"), ("theirs", "yours")]
    unread = [row for row in content["tables"]["calibration"] if row["model"] == "yours"]
    assert all(row["value"] is None and "probabilities" in row["note"] for row in unread)


def test_everything_as_files(ours: Path, theirs: Path, tmp_path: Path) -> None:
    done = run(theirs, ours, "--out", tmp_path / "new" / "folder")
    assert done.exit_code == 0, done.output
    written = [Path(line) for line in done.stdout.splitlines()]
    assert all(path.stat().st_size for path in written)
    names = {path.name for path in written if path.parent.name == "figures"}
    assert names == {
        f"{n}_patient_0{s}" for n in ("roc", "subgroups", "calibration", "decision") for s in (".svg", ".png")
    }
    tables = {path.stem: path for path in written if path.parent.name == "tables"}
    assert {"summary", "comparison", "several", "calibration_curve", "decision_curve", "subgroups"} <= set(tables)
    assert len(pd.read_csv(tables["comparison"])) == 6


def test_a_summary_to_read(ours: Path, theirs: Path) -> None:
    text = run(theirs, ours).stdout
    auc = performance.summary(pd.read_csv(ours)).set_index("metric").loc["auc"]
    assert f"{auc['pooled']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]" in text
    for said in ("clustered", "naive DeLong", "naive McNemar", "test that all AUCs are equal", "3 pairs are tested"):
        assert said in text
    assert "yours: scores from" in text


def test_one_model_and_several_splits(tmp_path: Path) -> None:
    by_patient, by_segment = predictions("dcnn"), predictions("dcnn", 1).assign(split="segment")
    path = saved(pd.concat([by_patient, by_segment, predictions("[b]theirs", 2)]), tmp_path / "mixed.csv")
    text = run(path).stdout
    assert "│ [b]theirs" in text  # a name is no markup
    assert "split by segment, repeat 0: found one model, so there are no differences" in text
    assert "split by segment, repeat 0: folds by segment: patients train and test" in text
    pretended = saved(by_patient.assign(fold=np.arange(160) % 5), tmp_path / "pretended.csv")
    assert "dcnn has 20 patients in several folds, so it was not split by patient" in run(pretended).stdout
    apart = [by_patient.assign(score=by_patient["y_true"]), by_patient.assign(model="b", score=-by_patient["y_true"])]
    assert "repeat 0: no joint test of the AUCs" in run(saved(pd.concat(apart), tmp_path / "apart.csv")).stdout
    few = saved(predictions("theirs", n_patients=1), tmp_path / "few.csv")
    done = run(few)
    assert done.exit_code == 0 and "n/a" in done.stdout and "found 1 patients" in done.stdout


def broken(name: str, folder: Path) -> list[Path]:
    """Files with one thing wrong."""
    sound = predictions("theirs")
    path = folder / f"{name}.csv"
    if name == "absent":
        return [path]
    if name in ("empty", "folder", "latin", "ragged", "blank"):
        text = sound.astype({"score": object}).to_csv(index=False).splitlines()
        if name == "folder":
            path.mkdir()
        else:
            content = {
                "empty": "",
                "latin": "\n".join(text).replace("theirs", "modèle"),
                "ragged": "\n".join([text[0], *(line + ",1" for line in text[1:])]),
                "blank": "\n".join([text[0], "", "", *text[1:3], text[3].replace("theirs", "").rstrip(), *text[4:]]),
            }[name]
            path.write_bytes(content.encode("latin-1"))
        return [path]
    if name == "twice":
        return [saved(sound, path), saved(sound.head(20), folder / "again.csv")]
    other = predictions("ours", 1)
    tables = {
        "columns": sound.drop(columns=["threshold", "fold"]),
        "header": sound.head(0),
        "infinite": sound.assign(score=[np.inf, *sound["score"][1:]]),
        "words": sound.assign(y_true=["yes", *sound["y_true"][1:]]),
        "class": sound.assign(y_true=1),
        "unmatched": pd.concat([sound, other.iloc[3:]]),
        "labels": pd.concat([sound, other.assign(y_true=[1 - other["y_true"][0], *other["y_true"][1:]])]),
    }
    return [saved(tables[name], path)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "absent.csv: found no such file"),
        ("folder", "folder.csv: not readable as CSV"),
        ("empty", "empty.csv: found an empty file"),
        ("latin", "latin.csv: not readable as CSV in UTF-8"),
        ("ragged", "ragged.csv: found rows with more fields than the header line"),
        ("header", "header.csv: found a header and no rows"),
        ("columns", "columns.csv, line 1: found the columns ['participant_id', 'level', 'lat', 'model', 'split'"),
        ("columns", "without ['fold', 'threshold']"),
        ("infinite", "infinite.csv, line 2, score: found inf, expected a finite number"),
        ("words", "words.csv, line 2, y_true: found yes, expected one of (0, 1)"),
        ("blank", "blank.csv, line 6, model: found nan, expected a name"),
        ("class", "found the label 1 only in 160 rows of {'model': 'theirs', 'split': 'patient', 'repeat': 0}"),
        ("twice", "again.csv: found {'model': 'theirs', 'split': 'patient', 'repeat': 0}, which"),
        (
            "unmatched",
            "found 3 segments not scored by every model, the first sub-000 L23 L (not by ours); sub-000 L23 R",
        ),
        ("labels", "found 1 segments with different labels, the first sub-000 L23 L (labels 0 and 1)"),
    ],
)
def test_broken_files_are_refused_in_words(name: str, said: str, tmp_path: Path) -> None:
    done = run(*broken(name, tmp_path), "--json")
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert said in done.stderr


def test_a_folder_that_cannot_be_written(ours: Path) -> None:
    done = run(ours, "--out", "/proc/compared")
    assert done.exit_code == 1 and "/proc/compared" in done.stderr
