"""The laboratory as two notebooks for teaching: exercises, and the same with their solutions."""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from mflib import atomic
from mflib.report.pipeline import NOTEBOOKS

SOURCE = NOTEBOOKS / "06_pitfalls.ipynb"
SOLUTION = "solution"


class ExercisesError(ValueError):
    """A folder that holds notebooks already; the message names them."""


def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """The notebook without the cells that are tagged as solutions; everything else stays, parameters too."""
    kept = copy.deepcopy(notebook)
    kept.cells = [cell for cell in kept.cells if SOLUTION not in cell.metadata.get("tags", [])]
    return kept


def write(folder: Path, *, force: bool = False) -> list[Path]:
    """Write ``06_pitfalls.ipynb`` without its solutions, and ``06_pitfalls_solutions.ipynb`` with them.

    Parameters
    ----------
    folder : made where there is none
    force : replace notebooks that are there

    Returns
    -------
    list of Path
        The two notebooks.

    Raises
    ------
    ExercisesError
        One of them is there already, and ``force`` is not set: a student may have worked in it. Or the folder is the
        one that the notebook comes from.
    """
    if folder.resolve() == NOTEBOOKS.resolve():
        raise ExercisesError(f"found {folder.name}, where the solutions come from; expected another folder")
    paths = [folder / SOURCE.name, folder / f"{SOURCE.stem}_solutions.ipynb"]
    there = [path.name for path in paths if path.exists()]
    if there and not force:
        raise ExercisesError(
            f"found {' and '.join(there)} in {folder.name}, where somebody may have worked; expected a folder without, "
            "or --force"
        )
    whole = nbformat.read(SOURCE, as_version=4)
    folder.mkdir(parents=True, exist_ok=True)
    for path, notebook in zip(paths, (without_solutions(whole), whole), strict=True):
        atomic.write_text(path, nbformat.writes(notebook) + "\n")
    return paths
