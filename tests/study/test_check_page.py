"""The page of ``mflib check --report``: whole where the cohort is broken, offline, harmless whatever stands in it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from mflib.base import files
from mflib.data import check, cohort, phantom, quality
from mflib.data import volume as volumes
from mflib.study import page as pages

MakeCohort = Callable[..., Path]
POINTS = "derivatives/annotations/refpoints_roi.tsv"
HOSTILE = "<script>document.title='taken'</script>"
NAME = "sub-001/us/sub-001_level-{}_bmode.nii.gz"


def spoil(root: Path) -> None:
    """A grade out of range, a volume cut short, a segment without points, and one excluded for a hostile reason."""
    grades = pd.read_csv(root / "phenotype" / "mri_grades.tsv", sep="\t", dtype=str, keep_default_na=False)
    grades.loc[2, "grade_reader1"] = "7"
    grades.to_csv(root / "phenotype" / "mri_grades.tsv", sep="\t", index=False)
    points = pd.read_csv(root / POINTS, sep="\t", dtype=str, keep_default_na=False)
    points = points.drop(index=3).assign(quality="ok", quality_reason="n/a")
    points.loc[4, ["quality", "quality_reason"]] = ["exclude", HOSTILE]
    points.to_csv(root / POINTS, sep="\t", index=False)
    cut = root / NAME.format("L23_lat-L")
    cut.write_bytes(cut.read_bytes()[:2000])


def write(root: Path, path: Path) -> Path:
    pages.write_check(check.inspect(root, progress=False), path)
    return path


def test_a_broken_cohort_has_its_faults_and_all_its_pictures(make_cohort: MakeCohort, tmp_path: Path) -> None:
    root = make_cohort(patients=2)
    spoil(root)
    page = BeautifulSoup(write(root, tmp_path / "new" / "page.html").read_text(), "html.parser")
    rows = [[cell.get_text() for cell in row.select("td")] for row in page.select("#table-faults tbody tr")]
    assert rows == [
        [str(part if part is not None else "") for part in vars(fault).values()]
        for fault in check.inspect(root, progress=False).faults
    ]
    assert ["phenotype/mri_grades.tsv", "4", "grade_reader1", "7", "0, 1, 2 or 3"] in rows
    assert len(page.select("figure.volume")) == 16
    assert len(page.select("figure.volume img[alt]")) == 15
    states = {state.get_text() for state in page.select(".state")}
    assert states == {"unreadable", "not annotated", f"excluded: {HOSTILE}"}
    assert [title.get_text() for title in page.select("script")] == [(files.ASSETS / "quality.js").read_text()]


def test_a_sound_cohort_and_no_cohort_have_a_page_too(make_cohort: MakeCohort, tmp_path: Path) -> None:
    root = make_cohort(patients=3)
    text = write(root, tmp_path / "sound.html").read_text()
    assert "<strong>None.</strong>" in text and "figure-flow" in text and "SYNTHETIC" not in text
    assert str(tmp_path) not in text
    assert write(root, tmp_path / "again.html").read_text() == text
    nothing = write(tmp_path / "nowhere", tmp_path / "nothing.html").read_text()
    assert "no such folder" in nothing and "There is no volume." in nothing


def test_368_pictures_of_speckle_take_less_than_a_megabyte(make_cohort: MakeCohort, tmp_path: Path) -> None:
    root = make_cohort(patients=1)
    volumes.write(phantom.simulate(phantom.Parameters(0.5), seed=7)[0], root / NAME.format("L23_lat-L"))
    first = re.search(r"data:image/jpeg;base64,[^\"]+", write(root, tmp_path / "page.html").read_text())
    assert first and 1000 < len(first[0]) < 1_000_000 / 368


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_in_a_browser(chromium: Any, make_cohort: MakeCohort, tmp_path: Path, width: int, scheme: str) -> None:
    root = make_cohort(patients=2)
    spoil(root)
    path = write(root, tmp_path / "page.html")
    with chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, accept_downloads=True
    ) as context:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
        page.goto(path.as_uri())
        assert page.title() == "Quality of Test clinic"
        assert page.evaluate("document.documentElement.scrollWidth") == width
        _filter(page, root)
        _sort(page)
        with page.expect_download() as download:
            page.click("a[download]")
        rows = list(csv.reader(Path(download.value.path()).read_text().splitlines()))
        assert rows[0] == quality.COLUMNS and len(rows) == 17
        assert said == [path.as_uri()]


def _filter(page: Any, root: Path) -> None:
    measured = quality.measure(cohort.read_folder(root), progress=False)
    assert page.locator("figure.volume:visible").count() == 16
    page.check("#only-flagged")
    assert page.locator("figure.volume:visible").count() == len(measured.flagged)
    page.uncheck("#only-flagged")
    marks = page.locator(".picture i.roi:visible").count()
    page.check("#no-marks")
    assert (marks, page.locator(".picture i:visible").count()) == (14, 0)


def _sort(page: Any) -> None:
    column = "[...document.querySelectorAll('#table-quality tbody tr')].map(row => row.cells[5].textContent)"
    for direction in (1, -1):
        page.click("#table-quality th:nth-child(6) button")
        texts = page.evaluate(column)
        assert texts[-2:] == ["n/a", "n/a"]
        numbers = [direction * float(text) for text in texts[:-2]]
        assert numbers == sorted(numbers) and len(set(numbers)) > 3
