"""The start page of JupyterLab: what it says of the notebooks, of the run and of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from mflib.base.errors import RunError
from mflib.study import profile as profiles
from mflib.study import start
from mflib.study.pipeline import NOTEBOOKS, STEPS, Record
from mflib.study.profile import LAB_COHORT, MARK, WRITER
from mflib.study.run import Study


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(profiles, "REPORTS", tmp_path)
    monkeypatch.delenv(WRITER, raising=False)
    return tmp_path


def test_every_notebook_stands_with_its_question_and_how_it_ended(reports: Path) -> None:
    folder = reports / "phantom-quick" / "notebooks"
    folder.mkdir(parents=True)
    for step, status in {"01_cohort": "done", "02_texture": "failed"}.items():
        record = Record("key", status, 150.0, "2026-11-27T01:02:03+00:00", error="no disk")
        (folder / f"{step}.json").write_text(json.dumps(asdict(record)))
    rows = start.notebooks().data.splitlines()[2:]
    assert re.findall(r"\]\((\w+)\.ipynb\)", "\n".join(rows)) == list(STEPS)
    assert all((NOTEBOOKS / f"{step}.ipynb").is_file() for step in STEPS)
    assert all(row.count("?") == 1 for row in rows), "one question each"
    assert rows[0].endswith("| 2.5 | done, 2026-11-27 |")
    assert rows[1].endswith("| failed, 2026-11-27 |") and "2.5" not in rows[1]
    assert all(row.endswith("| not yet |") for row in rows[2:])
    # What its first cell says stands in until it has run here; how long another cohort takes, nobody knows before.
    stated = [row.split("|")[3].strip() for row in rows[2:]]
    assert stated.index("") == list(STEPS).index("06_external") - 2 and stated.count("") == 1


def test_what_is_missing_comes_with_the_command_that_makes_it(reports: Path) -> None:
    cohort = reports / "clinic"
    assert "No cohort" in start.run("quick", str(cohort)).data
    cohort.mkdir()
    assert f"mflib report --profile quick --cohort {cohort}" in start.run("quick", str(cohort)).data
    page = reports / "clinic-quick" / "report.html"
    page.parent.mkdir()
    page.touch()
    assert str(page) in start.run("quick", str(cohort)).data


def test_a_package_that_is_not_as_pinned_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = metadata.version("numpy")
    (tmp_path / "lock").write_text(f"numpy=={here}\nscipy==0.1\nnobody-has-this==1.0\n")
    monkeypatch.setattr(start, "LOCK", tmp_path / "lock")
    said = start.environment().data
    assert (
        f"2 of 3 differ from the pins: scipy {metadata.version('scipy')} (pinned 0.1), nobody-has-this missing" in said
    )


def test_lab_is_started_for_a_cohort(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAB_COHORT, "data/clinic")
    assert Study.open().profile.cohort_folder.name == "clinic"
    assert Study.open(cohort="data/other").profile.cohort_folder.name == "other"
    (reports / MARK).touch()
    monkeypatch.setenv(WRITER, str(reports))
    assert Study.open(run=str(reports)).profile.cohort_folder.name == "phantom-quick"


def test_lessons_last_45_minutes_and_lead_to_sections_that_are_there() -> None:
    texts = {
        path.name: "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
        for path in NOTEBOOKS.glob("*.ipynb")
    }
    _, *lessons = texts["start.ipynb"].partition("## Three lessons")[2].partition("\n## ")[0].split("\n### ")
    assert [sum(map(int, re.findall(r"^\| (\d+) \|", lesson, re.MULTILINE))) for lesson in lessons] == [45] * 3
    links = re.findall(r"\]\((\w+\.ipynb)(?:#([^)]+))?\)", texts["start.ipynb"])
    # JupyterLab's anchors are headings with hyphens.
    headings = {name: re.sub(" ", "-", "\n".join(re.findall(r"^#+ .+", text, re.M))) for name, text in texts.items()}
    assert [link for link in links if link[1] and f"-{link[1]}\n" not in headings[link[0]] + "\n"] == []
    assert {name for name, _ in links} == set(texts) - {"start.ipynb"}


def test_the_page_itself_runs() -> None:
    page = nbformat.read(NOTEBOOKS / "start.ipynb", as_version=4)
    NotebookClient(page, timeout=120, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    said = [output["data"]["text/markdown"] for cell in page.cells for output in cell.get("outputs", [])]
    assert len(said) == 3 and all(said)


def test_jupyterlab_opens_the_start_page_in_the_language(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    shutil.copy2(start.NOTEBOOKS / "start.ipynb", tmp_path / "notebooks")
    for name in ("NOTEBOOKS", "ROOT"):
        monkeypatch.setattr(start, name, tmp_path / "notebooks" if name == "NOTEBOOKS" else tmp_path)
    became: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda program, arguments, environment: became.append((arguments, environment)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "theirs")
    for language, folder in {"en": "notebooks", "zh": "notebooks-zh"}.items():
        monkeypatch.setenv("MFLIB_LANGUAGE", language)
        start.launch("some/cohort")
        arguments, environment = became.pop()
        assert arguments[-1] == f"--LabApp.default_url=/lab/tree/{folder}/start.ipynb"
        assert (tmp_path / folder / "start.ipynb").exists() and environment["MFLIB_COHORT"] == "some/cohort"
        assert environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)[1:] == ["theirs"]
    (tmp_path / "notebooks" / "start.ipynb").unlink()
    monkeypatch.setenv("MFLIB_LANGUAGE", "en")
    with pytest.raises(RunError, match="expected the repository"):
        start.launch()
