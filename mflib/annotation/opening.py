"""Where a pass over a cohort begins: which volumes, in which order, and whether what is confirmed can be saved."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mflib import atomic
from mflib import cohort as cohorts
from mflib.annotation import rows
from mflib.annotation.marks import AnnotationError
from mflib.annotation.session import Session
from mflib.cohort.files import Key
from mflib.cohort.tables import ANNOTATIONS
from mflib.volume import LEVELS

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
    AnnotationError
        No initials, or those of an annotator of the first pass; no volumes, a table that is none, or a disk that cannot
        be written.
    """
    if not INITIALS.fullmatch(annotator):
        raise AnnotationError(f"annotator: found {annotator!r}, expected initials of 2 to 8 letters, not a name")
    folder = cohorts.read_folder(root)
    if not folder.volumes:
        faults = cohorts.files.find_volumes(root)[1] or folder.faults[:1]
        raise AnnotationError(f"no volume to annotate: {'; '.join(map(str, faults))}")
    if second:
        _check_blinded(root / ANNOTATIONS, annotator.upper())
    notices = [str(fault) for fault in folder.faults if fault.file in _unusable(folder)]
    paths = {key: folder.volumes[key] for key in _order(folder, seed if second else None)}
    path = root / (SECOND if second else ANNOTATIONS)
    try:
        atomic.check_writable(path.parent)
    except OSError as error:
        raise AnnotationError(f"annotations cannot be saved: {error}") from error
    return Session(root, path, annotator.upper(), second, paths, notices)


def _check_blinded(first: Path, annotator: str) -> None:
    """Nobody is blind to their own marks."""
    theirs = sum(cells.get("annotator", "").upper() == annotator for cells in rows.read(first).rows.values())
    if theirs:
        raise AnnotationError(
            f"annotator: found {annotator}, who has marked {theirs} volumes of the first pass; "
            "expected somebody else for the blinded second one"
        )


def _unusable(folder: cohorts.Folder) -> set[str]:
    """Files below ``sub-*/us`` that have a fault."""
    return {fault.file for fault in folder.faults if fault.file.startswith("sub-") and "no volume" not in fault.found}


def _order(folder: cohorts.Folder, seed: int | None) -> list[Key]:
    """Segments of all patients who are not excluded, by patient, level and side, or shuffled."""
    out = cohorts.exclusions(folder.tables)
    keys = sorted(
        (key for key in folder.volumes if key[0] not in out), key=lambda key: (key[0], LEVELS.index(key[1]), key[2])
    )
    if not keys:
        raise AnnotationError(f"no volume to annotate in {folder.root}: the patients of all of them are excluded")
    return keys if seed is None else [keys[n] for n in np.random.default_rng(seed).permutation(len(keys))]
