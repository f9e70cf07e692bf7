"""The annotation tool in JupyterLab: what it shows of a session, and what it does when a hand or a key asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from mflib.base.errors import BusyError, FileError, InputError
from mflib.base.files import ASSETS
from mflib.data import preprocess
from mflib.data.annotation import marks
from mflib.data.annotation.marks import POINTS, REASONS, Marks, Roi
from mflib.data.annotation.opening import open_session
from mflib.data.annotation.session import Loaded, Reader, Session
from mflib.data.annotation.suggestion import ROI_MM, Millimetres, suggest_roi
from mflib.data.cohort import Cohort
from mflib.data.cohort_tables import Key
from mflib.data.volume import Index

SCRIPTS = ("planes.js", "annotate_hands.js", "annotate.js")
GAIN = preprocess.GainSettings()
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
    _css = ASSETS / "annotate.css"
    voxels = traitlets.Bytes().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    @traitlets.default("_esm")
    def _page(self) -> str:
        """One module: JupyterLab loads it from memory, where no file lies beside it."""
        return "".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._reader = Reader(suggesting=not session.second)
        self._loaded: Loaded | None = None
        self._spacings: dict[Key, tuple[float, float, float]] = {}
        self._does: dict[str, Callable[..., str | None]] = {
            "point": self._point, "roi": self._roi, "confirm": self._confirm, "exclude": self._exclude,
            "include": self._include, "undo": self._undo, "redo": self._redo,
            "step": lambda by: self._go(session.position + int(by)),
            "go": lambda to: self._go(int(to)), "open": self._open,
        }  # fmt: skip
        self._show_volume(" ".join(session.notices))
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        return f"annotation tool, shown in JupyterLab: {self.session.progress()}"

    @property
    def left(self) -> int:
        """How many volumes are not confirmed."""
        return sum(self.session.state_of(key) not in ("confirmed", "excluded") for key in self.session.keys)

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
            message, wrong = self._does[do](**what) or "", False
        except (InputError, BusyError, OSError) as error:
            message, wrong = str(error), True
        if self.session.position != before:
            self._show_volume(message, wrong)
        else:
            self._show(message, wrong)

    def _on_message(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        self.act(**content)

    def _point(self, name: str, at: list[int]) -> None:
        if self._loaded is None or name not in POINTS:
            return
        volume = self._loaded.volume
        i, j, k = (min(max(int(a), 0), n - 1) for a, n in zip(at, volume.voxels.shape, strict=True))
        now = self.session.marks
        placed = name == "bone" and (now.roi is None or "roi" in now.suggested)
        self.session.set_point(name, (i, j, k), self._suggested_roi((i, j, k)) if placed else None)

    def _roi(self, start: list[int], size: list[int]) -> None:
        if self._loaded is not None:
            roi = (_index(start), _index(size))
            self.session.set_roi(marks.fit(roi, self._loaded.volume.voxels.shape))

    def _confirm(self) -> str:
        session, marked = self.session, self.session.marks
        flags: tuple[str, ...] = ()
        if marked.annotation is not None and self._loaded is not None and not marked.excluded:
            try:
                flags = preprocess.region(self._loaded.volume, marked.annotation, GAIN).references.flags
            except InputError as error:
                raise InputError(f"not saved: {error}; correct the marks, or exclude the volume") from error
        session.confirm()
        said = "" if marked.confirmed else f"{' '.join(session.key)} saved {datetime.now():%H:%M:%S}"
        said += f", but {', '.join(flags)}: p goes back to it" if said and flags else ""
        if session.position == len(session.keys) - 1:
            return f"{said} (this was the last; u goes to what is left)"
        session.go(session.position + 1)
        return said

    def _exclude(self, reason: str) -> str:
        self.session.exclude(reason)
        return f"excluded ({self.session.marks.excluded}), saved {datetime.now():%H:%M:%S}"

    def _include(self) -> str:
        self.session.include()
        return "included again; Enter saves that"

    def _undo(self) -> str:
        self.session.undo()
        return "undone"

    def _redo(self) -> str:
        self.session.redo()
        return "done again"

    def _go(self, to: int) -> None:
        self.session.go(to)

    def _open(self) -> str:
        return "" if self.session.go_to_open() else "nothing left: every volume is confirmed"

    def _suggested_roi(self, bone: Index) -> Roi:
        assert self._loaded is not None
        return suggest_roi(self._loaded.volume, bone, self.session.key[2], self._usual_roi_mm())

    def _usual_roi_mm(self) -> Millimetres:
        """Median extent of the regions that the annotator has set by hand, once there are a few."""
        sizes = self.session.roi_sizes_by_hand()
        if len(sizes) < FEW_BY_HAND:
            return ROI_MM
        i, j, k = np.median([np.multiply(size, self._spacings[key]) for key, size in sizes.items()], axis=0).tolist()
        return i, j, k

    def _show_volume(self, message: str = "", wrong: bool = False) -> None:
        """Read and show the volume in hand, and read the next one ahead."""
        session = self.session
        path = session.root / session.paths[session.key]
        try:
            self._loaded = self._reader.read(path)
        except FileError as error:
            self._loaded = None
            message, wrong = f"{error}; exclude it, or mend the file. {message}", True
        else:
            self._spacings[session.key] = self._loaded.volume.spacing_mm
        if session.position + 1 < len(session.keys):
            self._reader.read_ahead(session.root / session.paths[session.keys[session.position + 1]])
        if self._loaded is not None and (found := self._loaded.suggestion):
            roi = self._suggested_roi(found.bone)
            session.offer(Marks(found.bone, found.shadow, roi, frozenset({*POINTS, "roi"})))
        # Both in one message, so that the page never draws marks on the voxels of another volume.
        with self.hold_sync():
            self.voxels = b"" if self._loaded is None else self._loaded.volume.voxels.tobytes(order="F")
            self._show(message, wrong)

    def _show(self, message: str, wrong: bool = False) -> None:
        """Send the page what it is to show."""
        session, now = self.session, self.session.marks
        volume = None if self._loaded is None else self._loaded.volume
        states = [session.state_of(key) for key in session.keys]
        self.state = {
            "name": " ".join(session.key), "position": session.position, "total": len(session.keys),
            "progress": session.progress(), "states": states, "second": session.second,
            "names": [" ".join(key) for key in session.keys], "annotator": session.annotator,
            "shape": None if volume is None else list(volume.voxels.shape),
            "spacing": None if volume is None else list(volume.spacing_mm),
            "bone": now.bone, "shadow": now.shadow, "roi": now.roi, "suggested": sorted(now.suggested),
            "excluded": now.excluded, "reasons": list(REASONS), "status": self._status(states[session.position]),
            "can_undo": session.can_undo, "can_redo": session.can_redo,
            "readout": self._readout(), "message": message, "wrong": wrong,
        }  # fmt: skip

    def _status(self, state: str) -> str:
        """What the marks in hand are, in words."""
        now = self.session.marks
        if state == "excluded":
            return f"excluded by {now.annotator}: {now.excluded}"
        if state == "confirmed":
            return f"confirmed by {now.annotator}" + (
                f", {now.annotated_at}" if now.annotated_at != marks.MISSING else ""
            )
        if state == "changed":
            return "changed since it was saved: Enter saves"
        if now.suggested:
            return f"suggestion, not confirmed: {', '.join(sorted(now.suggested)).replace('roi', 'ROI')}"
        return "not confirmed"

    def _readout(self) -> dict[str, Any]:
        """Grey levels at the marks, why they cannot be trusted, and the region's mean after gain normalisation."""
        annotation = self.session.marks.annotation
        if annotation is None or self._loaded is None:
            return {"lines": [], "flags": []}
        try:
            region = preprocess.region(self._loaded.volume, annotation, GAIN)
        except InputError as error:
            return {"lines": [], "flags": [str(error)]}
        levels = region.references
        lines = [
            f"bone {levels.bone:.0f}, shadow {levels.shadow:.0f}",
            f"ROI, normalised: mean {region.voxels.mean():.1f}",
        ]
        return {"lines": lines, "flags": list(levels.flags)}


def _index(values: list[int]) -> Index:
    i, j, k = (int(value) for value in values)
    return i, j, k
