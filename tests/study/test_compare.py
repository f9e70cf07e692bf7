"""``mflib compare`` on foreign predictions and on broken ones."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from typer.testing import CliRunner, Result

from mflib.base.errors import InputError
from mflib.cli import app
from mflib.show import style
from mflib.stats import performance
from mflib.study import profile as profiles
from mflib.study.run import Study
from tests.stats.toy import predictions, probabilities


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
    assert len(pd.read_csv(tables["comparison"])) == 9


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
    text = run(saved(pd.concat(apart), tmp_path / "apart.csv")).stdout
    assert "repeat 0: no joint test of the AUCs" in text
    assert (
        "dcnn and b: P undefined: their AUCs differ, the difference has no variance (mean of folds, pooled, clus"
        in text
    )
    spread = saved(predictions("theirs", n_patients=40).assign(fold=np.arange(320) // 32), tmp_path / "spread.csv")
    assert "found 40 patients in 10 folds, 40 of them with both labels; below 5 a fold" in run(spread).stdout
    few = saved(predictions("theirs", n_patients=1), tmp_path / "few.csv")
    done = run(few)
    assert done.exit_code == 0 and "n/a" in done.stdout and "found 1 patients" in done.stdout


def test_names_and_files_are_what_they_are(tmp_path: Path) -> None:
    names = ["NA", "None", "nan", "null"]
    tables = [predictions(name, seed).replace({"participant_id": {"sub-000": "NA"}}) for seed, name in enumerate(names)]
    path = tmp_path / "plain.xz"  # a name says nothing of what a file holds
    path.write_text(pd.concat(tables).to_csv(index=False).replace(",", " , ") + "\n,,,,,,,,,\n")
    content = json.loads(run(path, "--json").stdout)
    assert content["models"] == names
    assert len(content["tables"]["metrics_per_fold"]) == 20


@pytest.mark.parametrize(("separator", "encoding"), [("\t", "utf-8"), (";", "cp1252"), (",", "utf-16"), ("", "")])
def test_a_table_is_read_however_a_spreadsheet_saves_it(tmp_path: Path, separator: str, encoding: str) -> None:
    path, table, sound = tmp_path / "saved.csv", predictions("Gegenüber").round(6), tmp_path / "sound.csv"
    table.to_csv(sound, index=False)
    written = table.rename(columns={"level": "Etage", "lat": "Seite"}).replace({"Seite": {"L": "links", "R": "rechts"}})
    if separator:
        text = written.to_csv(sep=separator, index=False, decimal="," if separator == ";" else ".")
        path.write_bytes(f"# exported by hand, in a hurry\n{text}".encode(encoding))
    else:
        written.to_excel(path.with_suffix(".xlsx"), index=False)
        path = path.with_suffix(".xlsx")
    shown, expected = (json.loads(run(one, "--json").stdout) for one in (path, sound))
    assert shown["models"] == ["Gegenüber"]
    assert shown["tables"] == expected["tables"]


@pytest.fixture
def chinese_font(tmp_path: Path) -> Iterator[None]:
    """A font of the name SimHei with a few Chinese signs, beside those of matplotlib, until the test ends."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    box = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "box"])
    builder.setupCharacterMap(dict.fromkeys(map(ord, "\u6a21" + style._GLYPHS), "box"))
    builder.setupGlyf({".notdef": box, "box": box})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "box": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "SimHei", "styleName": "Regular", "psName": "SimHei"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "SimHei.ttf")
    fonts = font_manager.fontManager
    before = list(fonts.ttflist)
    fonts.ttflist[:] = [font for font in before if font.name.startswith("DejaVu")]
    fonts.addfont(tmp_path / "SimHei.ttf")
    for known in (style.chinese, style._is_drawn):
        known.cache_clear()
    yield
    fonts.ttflist[:] = before
    for known in (style.chinese, style._is_drawn):
        known.cache_clear()


@pytest.mark.usefixtures("chinese_font")
def test_figures_show_every_name_as_it_is_written(tmp_path: Path) -> None:
    names = [r"$\frac{x$", "_$a_1$", "\u6a21\U0001f9ff"]
    path = saved(pd.concat([predictions(name, seed) for seed, name in enumerate(names)]), tmp_path / "names.csv")
    done = run(path, "--out", tmp_path)
    assert done.exit_code == 0, done.output  # a sign without a glyph is a warning, which is an error here
    for figure in ("roc", "subgroups"):
        drawn = (tmp_path / "figures" / f"{figure}_patient_0.svg").read_text()
        for text in (r"<!-- $\frac{x$", "<!--  _$a_1$", "<!-- \u6a21" + r"\U0001f9ff"):
            assert text in drawn
        assert "Oblique" not in drawn  # the face of formulas
        assert "SimHei" in drawn


def broken(name: str, folder: Path) -> list[Path]:
    """Files with one thing wrong."""
    sound = predictions("theirs")
    path = folder / f"{name}.csv"
    if name == "absent":
        return [path]
    text = sound.to_csv(index=False)
    lines = text.splitlines()
    contents = {
        "empty": "",
        "ragged": text.replace("0.25\n", "0.25,1\n"),
        "short": "\n".join([*lines[:4], lines[4].rsplit(",", 1)[0], *lines[5:]]),
        "quote": "\n".join([*lines[:4], '"' + lines[4], *lines[5:]]),
        "blank": "\n".join([lines[0], "", "", *lines[1:3], lines[3].replace("theirs", " "), *lines[4:]]),
    }
    if name in contents:
        path.write_bytes(contents[name].encode("latin-1"))
        return [path]
    if name == "folder":
        path.mkdir()
        return [path]
    if name == "zip":
        path = folder / "packed.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("theirs.csv", text)
        return [path]
    if name == "twice":
        return [saved(sound, path), saved(sound.head(20), folder / "again.csv")]
    other = predictions("ours", 1)
    if name == "files":
        return [saved(sound, path), saved(other.iloc[3:], folder / "other.csv")]
    tables = {
        "columns": sound.drop(columns=["threshold", "fold"]),
        "doubled": pd.concat([sound, *[sound["score"].rename("probability")] * 2], axis=1),
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
        ("folder", "folder.csv: found a file that cannot be read (Is a directory)"),
        ("empty", "empty.csv: found an empty file"),
        ("zip", "packed.zip: found an archive that is no sound workbook"),
        ("ragged", "ragged.csv: found 11 cells in row 2; expected 10, as in the header"),
        ("short", "short.csv: found 9 cells in row 5; expected 10, as in the header"),
        ("quote", "quote.csv, line 5: found '\"sub-000', expected quotes in pairs"),
        ("header", "header.csv: found a header and no rows"),
        ("columns", "columns.csv: found columns participant_id, level, lat, model, split"),
        ("columns", "in row 1; expected fold, threshold once"),
        ("doubled", "in row 1; expected probability once"),
        ("infinite", "infinite.csv, line 2, score: found inf, expected a finite number"),
        ("words", "words.csv, line 2, y_true: found yes, expected one of (0, 1)"),
        ("blank", "blank.csv, line 6, model: found nothing, expected a name"),
        ("class", "found the label 1 only in 160 rows of {'model': 'theirs', 'split': 'patient', 'repeat': 0}"),
        ("twice", "again.csv: found {'model': 'theirs', 'split': 'patient', 'repeat': 0}, which"),
        (
            "unmatched",
            "found 3 segments not scored by every model, the first sub-000 L23 L (not by ours); sub-000 L23 R",
        ),
        ("files", "/files.csv; ours from /"),
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


def test_a_table_in_a_runs_artifacts_is_validated_where_it_enters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "REPORTS", tmp_path)  # no report of this checkout has a say
    theirs = predictions("theirs", 1)
    study, place = Study.open(run=str(tmp_path)), tmp_path / "artifacts" / "predictions_theirs.csv"
    place.parent.mkdir()
    saved(theirs, place)
    assert study.predictions("theirs")["model"].eq("theirs").all()
    saved(theirs.assign(score="high"), place)
    with pytest.raises(InputError, match="line 2, score: found high, expected a finite number"):
        study.predictions("theirs")
