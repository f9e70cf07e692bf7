"""JupyterLab with the annotation notebook, filled in for one cohort and one annotator."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from mflib import atomic
from mflib.annotation.opening import open_session
from mflib.cohort.tables import ANNOTATIONS

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "annotate.ipynb"
SETTINGS = Path(__file__).parents[1] / "_assets" / "annotate_lab"


def launch(cohort: Path, annotator: str, *, second: bool = False) -> None:
    """Start JupyterLab on a cohort's annotation notebook; this process becomes JupyterLab and ends with it.

    Parameters
    ----------
    cohort : its folder
    annotator : initials
    second : blinded second pass

    Raises
    ------
    AnnotationError
        What `annotate` would refuse: better said here than in the notebook.
    """
    notebook = prepare(cohort, annotator, second=second)
    print(
        f"{notebook}: in JupyterLab choose Run > Run All Cells. Ctrl-C here ends it; what is confirmed is saved.",
        flush=True,
    )
    # Without the question about Jupyter's news, which would lie over the tool, and without asking the internet for it.
    places = [str(SETTINGS), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    environment = os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(places)}
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", str(notebook)], environment)


def prepare(cohort: Path, annotator: str, *, second: bool = False) -> Path:
    """The annotation notebook with its parameters filled in, beside the cohort's annotations.

    Raises
    ------
    AnnotationError
        What `annotate` would refuse.
    """
    root = cohort.expanduser().resolve()
    open_session(root, annotator, second=second)
    values = {"cohort_folder": str(root), "annotator": annotator.upper(), "second": second}
    filled = parameterize_notebook(load_notebook_node(str(NOTEBOOK)), values)
    out = (root / ANNOTATIONS).with_name(NOTEBOOK.name)
    atomic.write_text(out, nbformat.writes(filled))
    return out
