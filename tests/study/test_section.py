"""A notebook as a section of the report: headings one level down with anchors, solutions behind one summary."""

from __future__ import annotations

from pathlib import Path

import nbformat
from bs4 import BeautifulSoup

from mflib.study.page import Heading, section
from mflib.study.pipeline import Record


def test_headings_anchors_and_solutions(tmp_path: Path) -> None:
    new = nbformat.v4
    solution = {"tags": ["solution"]}
    cells = [
        new.new_markdown_cell("# 6 Pitfalls: *a* laboratory"),
        new.new_code_cell("secret = 1", metadata={"tags": ["parameters"]}),
        new.new_markdown_cell("## Bone & $x^2$\n\n### Deeper"),
        new.new_code_cell("guess()", metadata=solution),
        new.new_markdown_cell("Because.", metadata=solution),
        new.new_markdown_cell("## What we saw"),
        new.new_markdown_cell("Again.", metadata=solution),
    ]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new.new_notebook(cells=cells), tmp_path / "notebooks" / "06.ipynb")
    found = section(tmp_path, "06", Record("", "done"))
    soup = BeautifulSoup(found.html, "html.parser")
    assert found.title == "6 Pitfalls: a laboratory"
    assert found.headings[-1] == Heading("06-what-we-saw", "What we saw")
    assert found.headings[0].text.startswith("Bone & ") and len(found.headings) == 2
    assert [(tag.name, tag["id"]) for tag in soup.find_all(id=True)] == [
        ("h2", "06-6-pitfalls-a-laboratory"),
        ("h3", found.headings[0].id),
        ("h4", "06-deeper"),
        ("h3", "06-what-we-saw"),
    ]
    folds = soup.select("details.solution")
    assert [len(fold.select("div.cell")) for fold in folds] == [2, 1]
    assert [fold.summary.get_text() for fold in folds] == ["Solution", "Solution"]
    assert "secret" not in soup.get_text() and soup.select_one("h3 math") is not None


def test_what_most_pass_by_is_folded_behind_its_heading(tmp_path: Path) -> None:
    new = nbformat.v4
    cells = [
        new.new_markdown_cell("# 1 A\n\n**Question.** Why?\n\n**Before.** Notebook 0.", id="title"),
        new.new_markdown_cell("## Shown\n\nWords."),
        new.new_markdown_cell("## Subgroups\n\nExploratory.", metadata={"tags": ["aside"]}),
        new.new_markdown_cell("| | ours |\n|---|---|\n| a | 1 |"),
        new.new_markdown_cell("## What we saw\n\nThe answer.", id="seen-do"),
        new.new_markdown_cell("## Check yourself\n\n**1.** Sure?", id="checks"),
        new.new_markdown_cell("**To try.** More.", id="try"),
    ]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new.new_notebook(cells=cells), tmp_path / "notebooks" / "01.ipynb")
    found = section(tmp_path, "01", Record("", "done"))
    soup = BeautifulSoup(found.html, "html.parser")
    assert [heading.text for heading in found.headings] == ["What we saw", "Shown", "Subgroups"]
    (fold,) = soup.select("details.aside")
    assert fold.summary.get_text() == "Subgroups" and fold.select_one("h3")["id"] == "01-subgroups"
    assert "Exploratory." in fold.get_text() and "Words." not in fold.get_text()
    assert [cell.get_text() for cell in fold.select("thead tr > *")] == ["", "ours"]
    assert not fold.select("th:empty") and "Why?" in soup.get_text()
    # What only its user needs stays in the notebook.
    assert not [said for said in ("Before", "Check yourself", "Sure?", "To try") if said in soup.get_text()]
