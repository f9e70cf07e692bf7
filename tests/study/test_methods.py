"""What a reader takes away: methods with their references, and tables as a spreadsheet and a document."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import docx
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from openpyxl import load_workbook
from typer.testing import CliRunner

from mflib.base.errors import RunError
from mflib.cli import app
from mflib.show import shown
from mflib.study import methods

SOURCES = [value for name, value in vars(methods).items() if name.isupper() and isinstance(value, str)]
TEXT = " ".join([*SOURCES, *methods.FOLDS.values()])


def test_every_form_cites_the_same_references() -> None:
    keys = methods.cited(TEXT)
    assert "yan2025" in keys and set(keys) <= set(methods.references())
    text, listed = methods.numbered(TEXT)
    assert {int(n) for found in re.findall(r"\[([\d, ]+)\]", text) for n in found.split(", ")} == set(
        range(1, len(keys) + 1)
    )
    assert "@" not in text and len(listed) == len(keys)
    found = methods.forms(TEXT)["taken"]
    assert set(re.findall(r"@\w+\{(\w+),", found["BibTeX"])) == set(keys)
    assert {k for group in re.findall(r"\\cite\{([\w,]+)\}", found["LaTeX"]) for k in group.split(",")} == set(keys)


def test_an_abbreviation_is_explained_once_and_only_in_text() -> None:
    known = methods.glossary()
    script = "<script>if (a < b) AUC();</script>"
    page = f"<h3>AUC</h3>{script}<p title='AUC'>An AUC of .8 (AUC) and an ICC.</p><table><td>ROI</td></table>"
    found = BeautifulSoup(methods.explained(page), "html.parser")
    assert {tag.get_text(): tag["title"] for tag in found.select("abbr")} == {n: known[n] for n in ("AUC", "ICC")}
    assert len(found.select("abbr")) == 2 and script in methods.explained(page)
    for tag in found.select("abbr"):
        tag.unwrap()
    assert str(found) == str(BeautifulSoup(page, "html.parser"))


def test_tables_leave_as_they_were_computed_and_as_they_were_shown(tmp_path: Path) -> None:
    areas = pd.DataFrame({"model": ["dcnn", "random_forest"], "auc": [1 / 3, None], "p": [0.00001, 0.2]})
    counts = pd.DataFrame({"level": ["L23"], "n_patients": [46]})
    said = {"areas": "Areas < 1 & more.", "a_name_that_is_longer_than_a_sheet_may": "Counts."}
    tables = dict(zip(said, (areas, counts), strict=True))
    shapes = [shown.table(table, tmp_path / "tables", name, caption=said[name]) for name, table in tables.items()]
    page = tmp_path / "report.html"
    page.write_text("".join(one.html for one in shapes))
    sheets, document = methods.export(page)
    book = load_workbook(sheets)
    assert book.sheetnames == ["areas", "a_name_that_is_longer_than_a_sh"]
    assert book["areas"]["A1"].value == said["areas"]
    rows = list(book["areas"].iter_rows(min_row=2, values_only=True))
    assert rows == [("model", "AUC", "P"), ("dcnn", 1 / 3, 0.00001), ("random_forest", None, 0.2)]
    text = docx.Document(str(document))
    assert [p.text for p in text.paragraphs if p.text] == list(said.values())
    cells = [[cell.text for cell in row.cells] for row in text.tables[0].rows]
    assert cells == [["model", "AUC", "P"], ["3D network", "0.33", "<0.001"], ["Random forest", "n/a", "0.200"]]
    assert [c.text for c in text.tables[1].rows[1].cells] == ["L2/3", "46"]


def test_a_report_without_tables_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<h1>Nothing yet</h1>")
    with pytest.raises(RunError, match="found no table in"):
        methods.export(tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_missing_package_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "docx" else find(name))
    done = CliRunner().invoke(app, ["report", "--export", "--cohort", "nowhere"])
    assert done.exit_code == 1 and "needs python-docx: pip install 'mflib[export]'" in done.stderr
