"""The exercises that a lecturer hands out, and the solutions to keep: both from the study's own notebooks."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from mflib.base.errors import InputError
from mflib.cli import app
from mflib.study.page import write_exercises
from mflib.study.pipeline import NOTEBOOKS, STEPS

QUESTION = re.compile(r"^\*\*\d\.\*\* .+?\?$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teaching") / "course"
    done = CliRunner().invoke(app, ["exercises", str(folder)])
    assert done.exit_code == 0
    assert sorted(done.output.split()) == sorted(map(str, folder.iterdir()))
    return folder


def test_each_notebook_is_there_for_students_and_for_the_lecturer(course: Path) -> None:
    assert sorted(path.stem for path in course.iterdir()) == sorted([*STEPS, *(f"{step}_solutions" for step in STEPS)])


@pytest.mark.parametrize("step", STEPS)
def test_students_get_every_question_and_no_answer(course: Path, step: str) -> None:
    source, kept, given = (
        nbformat.read(path, as_version=4)
        for path in (NOTEBOOKS / f"{step}.ipynb", course / f"{step}_solutions.ipynb", course / f"{step}.ipynb")
    )
    assert (course / f"{step}_solutions.ipynb").read_bytes() == (NOTEBOOKS / f"{step}.ipynb").read_bytes()
    assert kept == source and given.metadata == source.metadata
    asked = {cell.id: cell for cell in source.cells if "solution" not in cell.metadata.get("tags", [])}
    assert [cell.id for cell in given.cells] == list(asked)
    # All else is as it stands, to the byte.
    assert [cell for cell in given.cells if cell.id != "checks"] == [c for c in asked.values() if c.id != "checks"]
    (bare,) = (cell.source for cell in given.cells if cell.id == "checks")
    full = asked["checks"].source
    assert QUESTION.findall(bare) == QUESTION.findall(full) and len(QUESTION.findall(bare)) == 3
    assert bare == "\n\n".join(["## Check yourself", *QUESTION.findall(full)])
    assert not [word for cell in given.cells for word in ("<details", "Answer", "**Solution") if word in cell.source]


def test_every_exercise_of_the_pitfalls_has_its_solution() -> None:
    cells = nbformat.read(NOTEBOOKS / "07_pitfalls.ipynb", as_version=4).cells
    asked = [n for cell in cells if "### Exercises" in cell.source for n in re.findall(r"^(\d)\. ", cell.source, re.M)]
    solved = [cell.source.partition(".")[0] for cell in cells if cell.source.startswith("**Solution")]
    assert solved == [f"**Solution {n}" for n in asked] and len(asked) == 9


def test_what_somebody_worked_in_is_not_written_over(course: Path) -> None:
    worked = course / "03_random_forest.ipynb"
    worked.write_text("a student's")
    again = CliRunner().invoke(app, ["exercises", str(course)])
    assert again.exit_code == 1 and "01_cohort.ipynb" in again.output and "--force" in again.output
    assert worked.read_text() == "a student's"
    assert CliRunner().invoke(app, ["exercises", str(course), "--force"]).exit_code == 0
    assert nbformat.read(worked, as_version=4).cells
    with pytest.raises(InputError, match="where the solutions come from"):
        write_exercises(NOTEBOOKS, force=True)
