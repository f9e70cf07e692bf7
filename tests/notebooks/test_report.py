"""The real notebooks through papermill on small cohorts, killed, failed and run again; the report in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import axe_playwright_python
import nbformat
import numpy as np
import pandas as pd
import pytest
import vl_convert
import yaml
from bs4 import BeautifulSoup

from mflib.base import spoken
from mflib.base.files import locked
from mflib.base.language import say
from mflib.data import phantom
from mflib.models.dcnn import saliency
from mflib.models.dcnn.fold import load_network
from mflib.show import style
from mflib.show.shown import LIVE
from mflib.stats import performance
from mflib.stats.performance.predictions import COLUMNS, PROBABILITY
from mflib.study import page
from mflib.study.pipeline import NOTEBOOKS, TEMPORARY, chosen, read_record
from mflib.study.run import Study
from mflib.study.survey import look
from tests import processes
from tests.cluster import running
from tests.notebooks.runs import SMALL, command, mflib, refused, write_profile

pytestmark = pytest.mark.notebooks
STEPS = list(chosen(external=False))
BEFORE_THE_NETWORK = [step for step in STEPS if step < "04_dcnn"]


def records(run: Path) -> dict[str, dict[str, Any]]:
    return {step: json.loads((run / "notebooks" / f"{step}.json").read_text()) for step in STEPS}


@pytest.fixture(scope="module")
def small_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantom"
    phantom.write_cohort(folder, profile="quick", patients=8, seed=3)
    return folder


@pytest.fixture(scope="module")
def finished(small_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its fifth notebook and started again."""
    folder = tmp_path_factory.mktemp("runs")
    profile, run = write_profile(folder, {}), folder / "run"
    arguments = ["report", "--cohort", small_phantom, "--profile", profile, "--run", run]
    with processes.watched(command(*arguments), folder / "temporary") as report:
        assert any("04_dcnn: running" in line for line in report.process.stdout)
        while not list(run.glob("artifacts/dcnn/*/fold-*")):
            report.wait_for("mflib.base.parallel")
        os.killpg(report.process.pid, signal.SIGKILL)
        assert report.left() == []
    begun = [step for step in STEPS if (run / "notebooks" / f"{step}.json").exists()]
    ended = [step for step in begun if json.loads((run / "notebooks" / f"{step}.json").read_text())["status"] == "done"]
    assert {"01_cohort", "02_texture"} <= set(ended) and "04_dcnn" in begun and "05_comparison" not in begun
    # What has ended stands in a report already, which says what is missing.
    assert "Both models have to be computed first" in (run / "report.html").read_text()
    before = {step: (run / "notebooks" / f"{step}.ipynb").stat().st_mtime_ns for step in ended}
    done = mflib(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == str(run / "report.html")
    assert done.stdout.count("up to date") == len(ended)
    for step, written in before.items():
        assert (run / "notebooks" / f"{step}.ipynb").stat().st_mtime_ns == written
    assert not (run / TEMPORARY).exists() and not list(run.rglob("partial-*"))
    return run


# Where the heavy work is.
WORK = ("02_texture", "03_random_forest", "04_dcnn", "07_pitfalls")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "how"), [("group", signal.SIGKILL), ("command", signal.SIGTERM), ("command", signal.SIGHUP)]
)
def test_a_killed_report_leaves_nothing_wherever_it_is(
    victim: str, how: signal.Signals, small_phantom: Path, tmp_path: Path
) -> None:
    profile = write_profile(tmp_path, {"network": SMALL["network"] | {"epochs": 200}})
    run = tmp_path / "run"
    arguments = ["report", "--cohort", small_phantom, "--profile", profile, "--run", run, "--only"]
    for step in WORK:
        with processes.watched(command(*arguments, step), tmp_path / "temporary") as report:
            report.wait_for("mflib.base.parallel")
            time.sleep(1)
            (os.killpg if victim == "group" else os.kill)(report.process.pid, how)
            assert report.left() == [], step
        if step == "02_texture":
            assert mflib(*arguments, step).returncode == 0


@pytest.mark.slow
def test_a_killed_kernel_leaves_nothing_and_the_report_says_so(small_phantom: Path, tmp_path: Path) -> None:
    run, profile = tmp_path / "run", write_profile(tmp_path, {})
    arguments = ["report", "--cohort", small_phantom, "--profile", profile, "--run", run, "--only", "02"]
    with processes.watched(command(*arguments), tmp_path / "temporary") as report:
        workers, kernel = report.wait_for("mflib.base.parallel", 2), report.wait_for("kernels.serve")
        os.kill(kernel[0], signal.SIGKILL)
        assert report.left([*workers, *kernel]) == []
        said = report.process.stdout.read()
    assert "02_texture: failed: the kernel died" in said and not (run / TEMPORARY).exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP])
def test_a_killed_command_leaves_nothing(how: signal.Signals, small_phantom: Path, tmp_path: Path) -> None:
    arguments = ["texture", small_phantom, "--profile", write_profile(tmp_path, {}), "--run", tmp_path / "run"]
    with processes.watched(command(*arguments), tmp_path / "temporary") as texture:
        texture.wait_for("mflib.base.parallel", 2)
        os.killpg(texture.process.pid, how)
        assert texture.left() == []


def test_every_notebook_left_what_it_promises(finished: Path) -> None:
    assert {record["status"] for record in records(finished).values()} == {"done"}
    predictions = [pd.read_csv(path) for path in (finished / "artifacts").glob("predictions_*.csv")]
    sizes = pd.concat(predictions).groupby("model").size()
    # The forest's second repeat stays in its own table; the comparison takes what all models share.
    assert sizes.to_dict() == {"random_forest": 128, "dcnn": 64, "echo_intensity": 64, "clinical": 64}
    metrics = pd.read_csv(finished / "artifacts" / "metrics.csv")
    assert metrics.groupby("model").size().to_dict() == dict.fromkeys(sizes.index, 6)
    assert (metrics["low"] < metrics["high"]).mean() > 0.9
    texture = pd.read_parquet(finished / "artifacts" / "texture.parquet")
    assert len(texture) == 64 and texture["grey_levels"].between(2, 256).all()
    assert len(pd.read_parquet(finished / "artifacts" / "perturbed.parquet")) == 8 * 7
    choices = pd.read_csv(finished / "artifacts" / "forest_choices.csv")
    assert len(choices) == 4 and (choices["offered"] == 52).all()
    for table in predictions:
        assert list(table.columns) == [*COLUMNS, PROBABILITY]
        assert table["score"].notna().all()
    splits = pd.read_csv(finished / "artifacts" / "splits.csv")
    for _, fold in splits.groupby(["repeat", "fold"]):
        patients = fold.groupby("part")["participant_id"].agg(set)
        assert not patients["train"] & patients["test"]
        assert not patients["train"] & patients["validation"]
        assert not patients["validation"] & patients["test"]
    compared = pd.read_csv(finished / "tables" / "network_comparisons.csv")
    assert compared["network"].tolist()[:2] == ["as in the study", "strided instead of dilated"]
    page = (finished / "report.html").read_text()
    assert "The network started from random weights." in page
    assert "no weights were ever released for this depth and width" in page
    assert "multifidus" in page.split('id="figure-saliency_depth"')[1].split("</figure>")[0]
    for name in ("table1", "table2", "table3", "table4", "delong", "both_ways", "key_results", "pooled_metrics"):
        assert (finished / "tables" / f"{name}.csv").stat().st_size > 50
    provenance = json.loads((finished / "provenance.json").read_text())
    assert provenance["packages"]["torch"].startswith("2.13.0")
    assert str(finished.parent) not in (finished / "provenance.json").read_text()


@pytest.mark.slow
def test_the_forest_does_not_depend_on_who_asks(finished: Path, small_phantom: Path, tmp_path: Path) -> None:
    # papermill alone, without our command, on a cluster, gives the same predictions.
    profile = str(finished.parent / "small.yaml")
    values = {"profile": profile, "cohort": str(small_phantom), "run": str(tmp_path / "run")}
    notebook = NOTEBOOKS / "03_random_forest.ipynb"
    papermill = [sys.executable, "-m", "papermill", "--no-progress-bar", notebook, tmp_path / "out.ipynb"]
    with running(tmp_path) as cluster:
        (tmp_path / "p.yaml").write_text(yaml.safe_dump(values | {"changes": {"scheduler": cluster.address}}))
        done = processes.run([*papermill, "-f", tmp_path / "p.yaml"], cwd=NOTEBOOKS.parent, timeout=300)
    assert done.returncode == 0, done.stderr
    ours = (finished / "artifacts" / "predictions_random_forest.csv").read_bytes()
    assert (tmp_path / "run" / "artifacts" / "predictions_random_forest.csv").read_bytes() == ours


def test_the_same_run_again_does_nothing(finished: Path, small_phantom: Path) -> None:
    before = (finished / "report.html").read_bytes()
    again = mflib("report", "--cohort", small_phantom, "--profile", finished.parent / "small.yaml", "--run", finished)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("up to date") == len(STEPS)
    assert (finished / "report.html").read_bytes() == before


def test_only_what_changed_runs_again(finished: Path, small_phantom: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", copy_function=shutil.copy2))
    arguments = ["report", "--cohort", small_phantom, "--profile", finished.parent / "small.yaml", "--run", run]
    (run / "tables" / "table4.csv").write_text("edited by hand")
    again = mflib(*arguments)
    assert again.stdout.count("up to date") == len(STEPS) - 1
    assert "05_comparison: done" in again.stdout
    assert "edited" not in (run / "tables" / "table4.csv").read_text()
    # Anybody's predictions join the comparison, and only that runs again.
    own = pd.read_csv(run / "artifacts" / "predictions_dcnn.csv").assign(model="coin", score=0.5)
    own.to_csv(run / "artifacts" / "predictions_coin.csv", index=False)
    joined = mflib(*arguments)
    assert joined.stdout.count("up to date") == len(STEPS) - 1
    assert "coin" in pd.read_csv(run / "tables" / "against.csv")["model"].tolist()


@pytest.mark.slow
def test_another_cohort_is_only_predicted(finished: Path, small_phantom: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", copy_function=shutil.copy2))
    other = tmp_path / "other"
    phantom.write_cohort(other, profile="quick", patients=4, seed=11)
    arguments = ["report", "--cohort", small_phantom, "--profile", finished.parent / "small.yaml", "--run", run]
    twin = Path(shutil.copytree(small_phantom, tmp_path / "twin"))
    for same in (twin, small_phantom):
        assert "the models never saw" in refused(*arguments, "--external", same)
    done = mflib(*arguments, "--external", other)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("up to date") == len(STEPS) and "06_external: done" in done.stdout
    # What learns has seen nothing of it: models and the study's own predictions are those of the run without it.
    for path in sorted((finished / "artifacts").glob("*.*")):
        if path.suffix != ".json" or path.name.startswith("model"):
            assert (run / "artifacts" / path.name).read_bytes() == path.read_bytes(), path.name
    predictions = pd.read_csv(run / "artifacts" / "external_predictions.csv")
    assert predictions.groupby("model").size().to_dict() == {"random_forest": 32, "dcnn": 32}
    page = (run / "report.html").read_text()
    assert "tested on" in page and 'id="06_external"' in page
    assert 'id="06_external"' not in (finished / "report.html").read_text()


@pytest.mark.slow
def test_what_is_left_behind_is_called_stale(finished: Path, small_phantom: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", copy_function=shutil.copy2))
    profile = write_profile(tmp_path, {"seed": 21})
    done = mflib("report", "--cohort", small_phantom, "--profile", profile, "--run", run, "--only", "01")
    assert done.returncode == 0
    assert done.stdout.count("left as it is") == len(STEPS) - 1
    page = (run / "report.html").read_text()
    assert page.count("Stale:") == len(STEPS) - 1
    # What other notebooks left is not touched: their splits go with their predictions.
    for name in ("splits.csv", "predictions_random_forest.csv"):
        assert (run / "artifacts" / name).read_bytes() == (finished / "artifacts" / name).read_bytes()
    assert "Both models have to be computed first" in page


@pytest.mark.slow
def test_a_failed_notebook_still_gives_a_report(finished: Path, small_phantom: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", copy_function=shutil.copy2))
    network = SMALL["network"] | {"learning_rate": 1e6}
    profile = write_profile(tmp_path, {"network": network})
    done = mflib("report", "--cohort", small_phantom, "--profile", profile, "--run", run, "--from", "dcnn")
    assert done.returncode == 1
    assert done.stdout.count("left as it is") == len(BEFORE_THE_NETWORK)
    assert "04_dcnn: failed" in done.stdout
    assert "05_comparison: not run: needs 04_dcnn" in done.stdout
    page = (run / "report.html").read_text()
    assert "try a learning rate below 1e+06" in page
    assert "Table 2" in page
    assert "Both models have to be computed first" in page


def test_too_few_patients_is_said_before_any_work(small_phantom: Path, tmp_path: Path) -> None:
    profile = write_profile(tmp_path, {"n_folds": 8})
    assert "patients" in refused("report", "--cohort", small_phantom, "--profile", profile, "--run", tmp_path / "run")
    assert not (tmp_path / "run" / "notebooks").exists()


def test_missing_weights_are_said_before_any_work(small_phantom: Path, tmp_path: Path) -> None:
    network = {"depth": 50, "pretrained": "required", "weights": "no/such/file.pth", "frozen": True}
    profile = write_profile(tmp_path, {"network": network})
    said = refused("report", "--cohort", small_phantom, "--profile", profile, "--run", tmp_path / "run")
    assert "no/such/file.pth, expected a MedicalNet file there" in said
    assert not (tmp_path / "run" / "notebooks").exists()


def test_the_survey_looks_at_every_segment_with_the_network_that_had_not_seen_it(
    finished: Path, small_phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFLIB_REPORT", str(finished))
    study = Study.open(str(finished.parent / "small.yaml"), str(small_phantom), str(finished))
    result = study.network(lambda history: pytest.fail("a finished fold was trained again"))
    survey = look(study, result)
    segments, size = study.cohort.segments, study.profile.network.size
    for fold, folder in zip(study.folds, result.folders, strict=True):
        model = load_network(folder, study.profile.network)
        for position in fold.test[::9]:
            call = survey.calls.iloc[position]
            assert call["fold"] == fold.number and call["y_true"] == segments["label"].iloc[position]
            expected = saliency.grad_cam(model, result.inputs[int(position)], int(call["score"] >= call["threshold"]))
            np.testing.assert_allclose(survey.maps[position], expected, rtol=1e-3, atol=1e-5)
    shares = survey.tissues()
    assert shares["region"].sum() == pytest.approx(100, abs=1) and shares["saliency"].sum() == pytest.approx(100, abs=1)
    profile, depth_mm, _ = survey.by_depth()
    assert profile.sum() == pytest.approx(1) and len(profile) == size[1] and 15 < depth_mm < 36
    for case in survey.gallery():
        assert case.map.shape == case.voxels.shape and min(case.map.shape) >= 24
        assert (", right (" in case.label) != (", WRONG (" in case.label)
    checks = survey.checks()
    assert checks.weights["randomised"].unique().tolist() == ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"]
    assert set(checks.likeness) == {"other folds' networks", "network of shuffled labels", "occlusion"}


def test_a_wrong_scheduler_is_said_before_any_work(small_phantom: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = refused("report", "--cohort", small_phantom, "--run", run, "--scheduler", "tcp://127.0.0.1:x")
    assert "found no Dask scheduler at tcp://127.0.0.1:x" in said
    assert not (run / "notebooks").exists()


def test_two_runs_do_not_share_a_folder(small_phantom: Path, finished: Path) -> None:
    profile = finished.parent / "small.yaml"
    with locked(finished):
        said = refused("report", "--cohort", small_phantom, "--profile", profile, "--run", finished)
    assert "another mflib is writing" in said


@pytest.fixture(scope="module")
def open_page(chromium: Any) -> Callable[..., Any]:
    """Opens a file in Chromium without a network, and tells what it asked for or complained of."""

    def open_file(path: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
        size = {"width": width, "height": 900}
        # The page forbids scripts of others; what looks for barriers is one.
        context = chromium.new_context(viewport=size, color_scheme=scheme, offline=True, bypass_csp=True)
        page = context.new_page()
        seen: list[str] = []
        page.on("request", lambda request: seen.append(request.url))
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.goto(path.as_uri())
        return page, [line for line in seen if not line.startswith("data:") and line != path.as_uri()]

    return open_file


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_report_opens_offline(open_page: Callable[..., Any], finished: Path, width: int, scheme: str) -> None:
    page, seen = open_page(finished / "report.html", width, scheme)
    assert seen == []
    assert "SYNTHETIC" in page.inner_text(".banner")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Wide tables scroll; what they are stands in full above them.
    cut = "[...document.querySelectorAll('.table')].filter(t => t.querySelector('caption').offsetWidth > t.clientWidth)"
    assert page.evaluate(f"{cut}.length") == 0
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth && i.alt.length > 20)")
    assert page.locator("figure figcaption").count() == page.locator("img").count() >= 12
    assert page.locator("main section").first.get_attribute("id") == "answer"
    broken = "[...document.querySelectorAll('nav a')].filter(a => !document.getElementById(a.hash.slice(1))).length"
    assert page.evaluate(broken) == 0
    assert (
        page.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size")
        == page.locator("[id]").count()
    )
    assert page.locator("details.solution").count() == 4  # after each group of experiments
    assert page.evaluate("[...document.querySelectorAll('details.solution')].every(d => !d.open)")
    page.click("#toggle-code")
    assert page.evaluate("[...document.querySelectorAll('details.code')].every(d => d.open)")
    # With everything unfolded, axe finds no barrier, and the text of figures is large enough.
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []
    smallest = "Math.min(...[...document.querySelectorAll('figure[id] > img')].map(i => i.width / i.naturalWidth))"
    assert page.evaluate(smallest) * style.SMALLEST * 4 / 3 >= 9
    # A jump, also into a fold, lands below the banner.
    for place in ("07_pitfalls-gain", "03_random_forest-folds"):
        page.evaluate(f"document.querySelectorAll('details').forEach(d => d.open = false); location.hash = '{place}'")
        page.wait_for_timeout(300)
        target = page.locator(f"[id='{place}']")
        fold = target.locator("xpath=ancestor::details[1]")
        shown, below = (target if target.is_visible() else fold).bounding_box(), page.locator(".banner").bounding_box()
        assert below["y"] + below["height"] - 1 <= shown["y"] < 300 and fold.get_attribute("open") is not None


def test_a_chart_answers_the_keyboard_with_the_tables_numbers(open_page: Callable[..., Any], finished: Path) -> None:
    page, seen = open_page(finished / "report.html", 1280, "light")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    figure = page.locator("#figure-threshold")
    figure.scroll_into_view_if_needed()
    slider = figure.locator("input[type=range]")
    slider.focus()
    before = int(slider.input_value())
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    cut = int(slider.input_value())
    assert cut == before + 6
    tables = [pd.read_csv(finished / "artifacts" / f"predictions_{name}.csv") for name in ("random_forest", "dcnn")]
    for table, name in zip(tables, ("Random forest", "3D network"), strict=True):
        table = table[table["repeat"] == 0]
        called, fat = table["probability"].fillna(table["score"]) >= cut / 100, table["y_true"] == 1
        expected = (
            f"{(called & fat).sum()} of {fat.sum()} segments with fat and {(called & ~fat).sum()} of {(~fat).sum()}"
        )
        page.wait_for_function(f"document.querySelector('#figure-threshold output').textContent.includes({name!r})")
        assert f"{name} at {cut} %: {expected} without" in figure.locator("output").text_content()
    page.locator("#figure-segments").scroll_into_view_if_needed()
    picked = page.locator("#figure-segments select").first
    picked.select_option(index=2)
    who = picked.input_value()
    page.wait_for_function(f"document.querySelector('#figure-segments svg').textContent.includes('{who}: grade')")
    assert page.locator("#figure-segments svg image").count() == 8
    assert seen == []


MACHINES = re.compile(
    r"\b[A-Za-z0-9]+(?:_[A-Za-z0-9.]+)+\b|\b(?:L23|L34|L45|L5S1|dcnn|auc|ppv|npv|icc|lat|ddof)\b|(?<![\w.–-])-\d"
)


def test_a_reader_meets_no_machines_names(finished: Path) -> None:
    soup = BeautifulSoup((finished / "report.html").read_text(), "html.parser")
    # Code, files and settings are called what they are called; notices name the files to look at.
    for tag in soup.select("script, style, code, pre, #provenance, #notices"):
        tag.decompose()
    assert MACHINES.findall(soup.get_text(" ")) == []


def test_the_answer_stands_first_and_once(finished: Path) -> None:
    soup = BeautifulSoup((finished / "report.html").read_text(), "html.parser")
    first = soup.select_one("#answer")
    assert first is not None
    tables = [pd.read_csv(path) for path in (finished / "artifacts").glob("predictions_*.csv")]
    kept = pd.concat(tables).query("repeat == 0")
    areas = performance.metrics_per_fold(kept).groupby("model")["auc"].mean()
    shown = [tag.get_text() for tag in first.select(".areas strong")]
    assert shown == [f"{areas[model]:.2f}" for model in ("random_forest", "dcnn", "echo_intensity")]
    test = pd.read_csv(finished / "tables" / "delong.csv").set_index("method").loc["mean of folds"]
    found = first.select_one(".found").get_text()
    assert f"{abs(test['difference']):.2f}" in found
    able = (performance.fold_mean_auc(kept).set_index("model").loc[["random_forest", "dcnn"], "low"] > 0.5).sum()
    assert found.startswith(("It is not shown", "The ", "Both models")[able])
    assert len(first.select(".checks li")) >= 5
    for name in ("figure-roc_curves", "table-key_results"):
        (only,) = soup.select(f"#{name}")
        assert only in first.find_all(True)
    assert [fold["id"] for fold in soup.select("details.appendix")] == ["07_pitfalls", "08_published_figures"]
    assert "-what-we-saw" in soup.select_one("[id='03_random_forest'] h3")["id"]


def test_notebooks_in_the_run_folder_hold_no_widgets(finished: Path) -> None:
    for step in STEPS:
        notebook = nbformat.read(finished / "notebooks" / f"{step}.ipynb", as_version=4)
        assert "widgets" not in notebook.metadata
        kinds = {mime for c in notebook.cells for o in c.get("outputs", []) for mime in o.get("data", {})}
        assert kinds <= {"text/html", "text/markdown", "text/plain", "image/png", LIVE}


# What a Chinese report leaves in Latin letters: abbreviations, names of methods, units, and what somebody else wrote.
LATIN = {
    "kappa", "logit", "logistic", "doi", "maxpool", "float32", "torch", "cpu", "mflib", "scans", "tsv", "phantom",
    "sub", "small",
}  # fmt: skip
TITLES = {
    "Diagnosis of chronic lumbar multifidus muscle injury based on a three-dimensional ultrasound deep learning model"
}
ENGLISH = re.compile(r"(?<![\w./@\-])[a-z]{3,}(?![\w/@])")


def chapters(run: Path, to: str) -> dict[str, BeautifulSoup]:
    """Every chapter of a run in a language, without code, formulas and what only a script reads."""
    found = {}
    for step in STEPS:
        chapter = BeautifulSoup(page.section(run, step, read_record(run, step), to).html, "html.parser")
        for unread in chapter.select("script, style, pre, code, math, kbd"):
            unread.decompose()
        found[step] = chapter
    return found


def told(chapter: BeautifulSoup) -> list[str]:
    """What a reader reads and hears of it."""
    texts = [" ".join(text.split()) for text in chapter.find_all(string=True)]
    heard = [
        str(tag[name]) for tag in chapter.find_all(True) for name in ("alt", "aria-label", "title") if tag.get(name)
    ]
    return [text for text in texts + heard if text]


def test_every_chapter_can_be_read_in_chinese(finished: Path) -> None:
    english, chinese = chapters(finished, "en"), chapters(finished, "zh")
    left = []
    for step, chapter in chinese.items():
        assert [tag["id"] for tag in chapter.select("[id]")] == [tag["id"] for tag in english[step].select("[id]")]
        left += [
            f"{step}: {text}" for text in told(chapter)
            if "doi:" not in text and text not in TITLES and set(ENGLISH.findall(text.replace("'", " "))) - LATIN
        ]  # fmt: skip
        # Numbers are those of the English report, to the last digit.
        numbers = [
            sorted(re.findall(r"\d+\.\d+", " ".join(told(text)))) for text in (english[step], chapter)
        ]  # fmt: skip
        assert numbers[0] == numbers[1]
        wrong = re.findall(
            r".{6}[\u4e00-\u9fff][,;:?!].{6}|.{6}[\u4e00-\u9fff][A-Za-z0-9].{6}", " ".join(told(chapter))
        )
        assert wrong == []
        assert "**" not in chapter.get_text() and "{" not in chapter.get_text()
    assert left == []


def test_charts_draw_the_same_marks_in_chinese(finished: Path) -> None:
    drawn = 0
    for step in STEPS:
        for cell in nbformat.read(finished / "notebooks" / f"{step}.ipynb", as_version=4).cells:
            for output in cell.get("outputs", []):
                if LIVE not in (data := output.get("data", {})):
                    continue
                said = spoken.bundle(data, partial(say, to="zh"))[LIVE]
                svg = [vl_convert.vegalite_to_svg(json.dumps(chart)) for chart in (data[LIVE], said)]
                marks = [re.findall(r'aria-roledescription="([\w ]+)"', text) for text in svg]
                assert marks[0] == marks[1] and len(marks[0]) > 3, data[LIVE]["name"]
                words = re.findall(r"<text[^>]*>([^<]+)</text>", svg[1])
                assert not [text for text in words if set(ENGLISH.findall(text)) - LATIN], data[LIVE]["name"]
                drawn += 1
    assert drawn == 10


@pytest.mark.slow
@pytest.mark.browser
def test_a_report_in_two_languages_computes_nothing_again_and_keeps_the_readers_place(
    finished: Path, small_phantom: Path, tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", copy_function=shutil.copy2))
    arguments = ["report", "--cohort", small_phantom, "--profile", finished.parent / "small.yaml", "--run", run]
    done = mflib(*arguments, "--language", "both")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "up to date" not in done.stdout and "epochs 1/" not in done.stdout
    for part in ("tables", "artifacts", "figures"):
        for path in (path for path in (finished / part).rglob("*") if path.is_file()):
            same = run / part / path.relative_to(finished / part)
            assert same.read_bytes() == path.read_bytes(), path.name
    for figure in (finished / "figures").glob("*.svg"):
        assert (run / "figures" / "zh" / figure.name).exists(), figure.name
    # It is all there, in whichever language it is asked for now; the English page is the one that stood.
    for language in ("zh", "en"):
        again = mflib(*arguments, "--language", language)
        assert again.stdout.count("\u662f\u6700\u65b0" if language == "zh" else "up to date") == len(STEPS), (
            again.stdout
        )
    assert "<template" not in (run / "report.html").read_text()
    assert mflib(*arguments, "--language", "both").returncode == 0
    for width, scheme in ((1280, "light"), (390, "dark")):
        opened, complaints = open_page(run / "report.html", width, scheme)
        for place in ("04_dcnn-training", "07_pitfalls-labels-that-mean-nothing", "glossary"):
            opened.evaluate("place => { location.hash = place }", place)
            opened.wait_for_timeout(500)
            before = opened.locator(f'[id="{place}"]').bounding_box()
            for language in ("zh-Hans", "en"):
                opened.locator(f'.controls [lang="{language}"]').evaluate("button => button.click()")
                assert opened.evaluate("document.documentElement.lang") == language
                after = opened.locator(f'[id="{place}"]').bounding_box()
                # What stays is whatever is nearest to the upper third; what stands above it is shorter in Chinese.
                assert abs(after["y"] - before["y"]) < 150
        opened.locator('.controls [lang="zh-Hans"]').evaluate("button => button.click()")
        assert opened.locator("#page .take").count() > 20 and opened.locator("h1").inner_text() == opened.title()
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert complaints == []
