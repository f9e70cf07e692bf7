"""Where a pass over a cohort begins, and JupyterLab with the annotation notebook filled in for it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from mflib.base import files
from mflib.base.errors import InputError
from mflib.base.words import LEVELS
from mflib.data import cohort as cohorts
from mflib.data.annotation import marks
from mflib.data.annotation.session import Session
from mflib.data.cohort_tables import ANNOTATIONS, Key

SECOND = ANNOTATIONS.replace(".tsv", "_second.tsv")
INITIALS = re.compile(r"[A-Za-z]{2,8}", re.ASCII)


def open_session(root: Path, annotator: str, *, second: bool = False, seed: int = 0) -> Session:
    """Begin a pass, or go on with it.

    Parameters
    ----------
    root : cohort folder, finished or not: volumes are all it needs
    annotator : initials, 2 to 8 letters
    second : blinded second pass in shuffled order; of the first one only its annotators are read
    seed : of the shuffling

    Raises
    ------
    InputError
        No initials, or those of an annotator of the first pass; no volumes, a table that is none, or a disk that cannot
        be written.
    """
    if not INITIALS.fullmatch(annotator):
        raise InputError(f"annotator: found {annotator!r}, expected initials of 2 to 8 letters, not a name")
    folder = cohorts.read_folder(root)
    if not folder.volumes:
        faults = cohorts.find_volumes(root)[1] or folder.faults[:1]
        raise InputError(f"no volume to annotate: {'; '.join(map(str, faults))}")
    if second:
        _check_blinded(root / ANNOTATIONS, annotator.upper())
    notices = [str(fault) for fault in folder.faults if fault.file in _unusable(folder)]
    paths = {key: folder.volumes[key] for key in _order(folder, seed if second else None)}
    path = root / (SECOND if second else ANNOTATIONS)
    try:
        files.check_writable(path.parent)
    except OSError as error:
        raise InputError(f"annotations cannot be saved: {error}") from error
    return Session(root, path, annotator.upper(), second, paths, notices)


def _check_blinded(first: Path, annotator: str) -> None:
    """Nobody is blind to their own marks."""
    theirs = sum(cells.get("annotator", "").upper() == annotator for cells in marks.read_rows(first).rows.values())
    if theirs:
        raise InputError(
            f"annotator: found {annotator}, who has marked {theirs} volumes of the first pass; "
            "expected somebody else for the blinded second one"
        )


def _unusable(folder: cohorts.Folder) -> set[str]:
    """Files below ``sub-*/us`` that have a fault."""
    return {fault.file for fault in folder.faults if fault.file.startswith("sub-") and "no volume" not in fault.found}


def _order(folder: cohorts.Folder, seed: int | None) -> list[Key]:
    """Segments of all patients who are not excluded, by patient, level and side, or shuffled."""
    wanted = [key for key in folder.volumes if key[0] not in folder.excluded]
    keys = sorted(wanted, key=lambda key: (key[0], LEVELS.index(key[1]), key[2]))
    if not keys:
        raise InputError(f"no volume to annotate in {folder.root}: the patients of all of them are excluded")
    return keys if seed is None else [keys[n] for n in np.random.default_rng(seed).permutation(len(keys))]


NOTEBOOK = files.ROOT / "notebooks" / "annotate.ipynb"
SETTINGS = files.ASSETS / "annotate_lab"


def launch(cohort: Path, annotator: str, *, second: bool = False) -> None:
    """Start JupyterLab on a cohort's annotation notebook; this process becomes JupyterLab and ends with it.

    Parameters
    ----------
    cohort : its folder
    annotator : initials
    second : blinded second pass

    Raises
    ------
    InputError
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
    InputError
        What `annotate` would refuse.
    """
    root = cohort.expanduser().resolve()
    open_session(root, annotator, second=second)
    values = {"cohort_folder": str(root), "annotator": annotator.upper(), "second": second}
    filled = parameterize_notebook(load_notebook_node(str(NOTEBOOK)), values)
    out = (root / ANNOTATIONS).with_name(NOTEBOOK.name)
    files.write_text(out, nbformat.writes(filled))
    return out
