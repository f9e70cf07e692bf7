"""The annotation tool in JupyterLab: what it shows of a session, and what it does when a hand or a key asks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import anywidget
import nbformat
import numpy as np
import traitlets
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from mflib.base import files, spoken
from mflib.base.errors import BusyError, FileError, InputError
from mflib.base.language import language, say, tell
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.data.annotation.marks import GAIN, MISSING, POINTS, REASONS, Marks, Roi, fit
from mflib.data.annotation.session import Session, open_session
from mflib.data.annotation.suggestion import suggest, suggest_roi
from mflib.data.cohort import Cohort
from mflib.data.cohort_tables import ANNOTATIONS, Key
from mflib.data.volume import Index, Volume

SCRIPTS = ("planes.js", "annotate_hands.js", "annotate.js")
DONE = {"undo": "undone", "redo": "done again", "include": "included again; Enter saves that"}
FEW_BY_HAND = 3  # regions that say what this annotator wants; before that it is their first tries


def annotate(cohort: Cohort | Path | str, annotator: str, *, second: bool = False) -> Tool:
    """Annotate a cohort in JupyterLab: reference points, region of interest, quality.

    Whatever is confirmed is on disk at once, in ``derivatives/annotations/refpoints_roi.tsv``, or for the second pass
    in ``refpoints_roi_second.tsv``. Calling again goes on at the first volume that is not confirmed.

    Parameters
    ----------
    cohort : its folder, finished or not
    annotator : initials, 2 to 8 letters
    second : blinded second pass in shuffled order: neither the first annotator's marks nor suggestions are shown

    Returns
    -------
    Tool
        What JupyterLab displays.

    Raises
    ------
    InputError
        No initials, or those of an annotator of the first pass; no volumes, a table that is none, or a disk that cannot
        be written.
    """
    root = cohort.root if isinstance(cohort, Cohort) else Path(cohort).expanduser()
    return Tool(open_session(root, annotator, second=second))


class Tool(anywidget.AnyWidget):
    """Three linked planes to mark a volume in; `annotate` makes one.

    Parameters
    ----------
    session : the pass over the cohort
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = files.ASSETS / "annotate.css"
    voxels = traitlets.Bytes().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    @traitlets.default("_esm")
    def _page(self) -> str:
        """One module: JupyterLab loads it from memory, where no file lies beside it."""
        return spoken.script("".join((files.ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS), say)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._pool = ThreadPoolExecutor(2, "reading ahead")
        self._read: dict[Path, Future[tuple[Volume, tuple[Index, Index] | None]]] = {}
        self._volume: Volume | None = None
        self._spacings: dict[Key, tuple[float, float, float]] = {}
        self._does: dict[str, Callable[..., str | None]] = {
            "point": self._point, "roi": self._roi, "confirm": self._confirm, "exclude": self._exclude,
            "include": session.include, "undo": session.undo, "redo": session.redo, "open": self._open,
            "step": lambda by: session.go(session.position + int(by)), "go": lambda to: session.go(int(to)),
        }  # fmt: skip
        self._show_volume(" ".join(session.notices))
        self.on_msg(lambda _widget, content, _buffers: self.act(**content))

    def __repr__(self) -> str:
        return f"annotation tool, shown in JupyterLab: {self.session.progress()}"

    @property
    def left(self) -> int:
        """How many volumes are not confirmed."""
        return len(self.session.left)

    def act(self, do: str, shown: int | None = None, **what: Any) -> None:
        """Do what the page asks for, and show what came of it; what could not be done is said and changes nothing.

        Parameters
        ----------
        do, what : name of what is to be done, and its arguments
        shown : place of the volume on the screen; what was meant for a volume that is gone from there is not done
        """
        before = self.session.position
        if shown not in (None, before):
            return
        try:
            message, wrong = self._does[do](**what) or DONE.get(do, ""), False
        except (InputError, BusyError, OSError) as error:
            message, wrong = str(error), True
        show = self._show if self.session.position == before else self._show_volume
        show(message, wrong)

    def _point(self, name: str, at: list[int]) -> None:
        if self._volume is None or name not in POINTS:
            return
        i, j, k = (min(max(int(a), 0), n - 1) for a, n in zip(at, self._volume.voxels.shape, strict=True))
        now = self.session.marks
        placed = name == "bone" and (now.roi is None or "roi" in now.suggested)
        self.session.set_point(name, (i, j, k), self._suggested_roi(self._volume, (i, j, k)) if placed else None)

    def _roi(self, start: list[int], size: list[int]) -> None:
        if self._volume is not None:
            self.session.set_roi(fit(start, size, self._volume.voxels.shape))

    def _confirm(self) -> str:
        session, marked = self.session, self.session.marks
        try:
            region = None if marked.excluded else self._region()
        except InputError as error:
            raise InputError(f"not saved: {error}; correct the marks, or exclude the volume") from error
        flags = ", ".join(region.references.flags if region else ())
        session.confirm()
        key, now = " ".join(session.key), f"{datetime.now():%H:%M:%S}"
        said = f"{key} saved {now}, but {flags}: p goes back to it" if flags else f"{key} saved {now}"
        said = "" if marked.confirmed else said
        if session.position == len(session.keys) - 1:
            return f"{said} (this was the last; u goes to what is left)"
        session.go(session.position + 1)
        return said

    def _exclude(self, reason: str) -> str:
        self.session.exclude(reason)
        return f"excluded ({self.session.marks.excluded}), saved {datetime.now():%H:%M:%S}"

    def _open(self) -> str:
        return "" if self.session.go_to_open() else "nothing left: every volume is confirmed"

    def _suggested_roi(self, volume: Volume, bone: Index) -> Roi:
        """A region of the median extent in mm of those that the annotator has set by hand, once there are a few."""
        by_hand = [np.multiply(size, self._spacings[key]) for key, size in self.session.roi_sizes_by_hand().items()]
        i, j, k = np.median(by_hand, axis=0).tolist() if len(by_hand) >= FEW_BY_HAND else preprocess.ROI_MM
        return suggest_roi(volume, bone, *self.session.key[1:], (i, j, k))

    def _show_volume(self, message: str = "", wrong: bool = False) -> None:
        """Read and show the volume in hand, and read the next one ahead."""
        session = self.session
        paths = [session.root / session.paths[key] for key in session.keys[session.position :][:2]]
        self._read = {path: self._read.get(path) or self._pool.submit(self._load, path) for path in paths}
        try:
            self._volume, found = self._read[paths[0]].result()
            self._spacings[session.key] = self._volume.spacing_mm
            if found:
                roi = self._suggested_roi(self._volume, found[0])
                session.offer(Marks(*found, roi, frozenset({*POINTS, "roi"})))
        except FileError as error:
            self._volume = None
            message, wrong = f"{error}; exclude it, or mend the file. {message}", True
        # Both in one message, so that the page never draws marks on the voxels of another volume.
        with self.hold_sync():
            self.voxels = b"" if self._volume is None else self._volume.voxels.tobytes(order="F")
            self._show(message, wrong)

    def _load(self, path: Path) -> tuple[Volume, tuple[Index, Index] | None]:
        volume = volumes.read(path)
        return volume, None if self.session.second else suggest(volume)

    def _show(self, message: str, wrong: bool = False) -> None:
        """Send the page what it is to show."""
        session, now, volume = self.session, self.session.marks, self._volume
        states = [session.state_of(key) for key in session.keys]
        self.state = {
            "name": " ".join(session.key), "position": session.position, "total": len(session.keys),
            "progress": say(session.progress()), "states": states, "second": session.second,
            "names": [" ".join(key) for key in session.keys], "annotator": session.annotator,
            "shape": None if volume is None else list(volume.voxels.shape),
            "spacing": None if volume is None else list(volume.spacing_mm),
            "bone": now.bone, "shadow": now.shadow, "roi": now.roi, "suggested": sorted(now.suggested),
            "excluded": now.excluded, "reasons": list(REASONS),
            "told": [*map(say, REASONS)], "status": say(self._status(states[session.position])),
            "can_undo": session.can_undo, "can_redo": session.can_redo,
            "readout": {name: [*map(say, lines)] for name, lines in self._readout().items()},
            "message": say(message), "wrong": wrong,
        }  # fmt: skip

    def _status(self, state: str) -> str:
        """What the marks in hand are, in words."""
        now = self.session.marks
        if state == "excluded":
            return f"excluded by {now.annotator}: {now.excluded}"
        if state == "confirmed":
            return f"confirmed by {now.annotator}, {now.annotated_at}".removesuffix(f", {MISSING}")
        if state == "changed":
            return "changed since it was saved: Enter saves"
        if now.suggested:
            return f"suggestion, not confirmed: {', '.join(sorted(now.suggested)).replace('roi', 'ROI')}"
        return "not confirmed"

    def _region(self) -> preprocess.Region | None:
        """The region in hand after gain normalisation; None where the volume or a mark is missing."""
        annotation = self.session.marks.annotation
        return preprocess.region(self._volume, annotation, GAIN) if annotation and self._volume else None

    def _readout(self) -> dict[str, Any]:
        """Grey levels at the marks, why they cannot be trusted, and the region's mean after gain normalisation."""
        try:
            region = self._region()
        except InputError as error:
            return {"lines": [], "flags": [str(error)]}
        if region is None:
            return {"lines": [], "flags": []}
        levels, mean = region.references, region.voxels.mean()
        lines = [f"bone {levels.bone:.0f}, shadow {levels.shadow:.0f}", f"ROI, normalised: mean {mean:.1f}"]
        return {"lines": lines, "flags": list(levels.flags)}


NOTEBOOK = files.ROOT / "notebooks" / "annotate.ipynb"
SETTINGS = files.ASSETS / "lab"
RUN_ALL = "in JupyterLab choose Run > Run All Cells. Ctrl-C here ends it; what is confirmed is saved."


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
    tell(f"{notebook}: {RUN_ALL}")
    become_jupyterlab(str(notebook))


def become_jupyterlab(opened: str, **environment: str) -> NoReturn:
    """Let JupyterLab take the place of this process.

    Without its question about Jupyter's news, which would lie over a page, and without asking the internet for it.
    """
    places = [str(SETTINGS), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    environment = os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(places)} | environment
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", opened], environment)


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
    for cell in filled.cells:
        cell.source = spoken.cell(NOTEBOOK.stem, cell, language())
    out = (root / ANNOTATIONS).with_name(NOTEBOOK.name)
    files.write_text(out, nbformat.writes(filled))
    return out
