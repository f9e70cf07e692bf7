"""What one person says of one volume: two points, a region of interest, and whether it can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mflib.cohort import tables
from mflib.cohort.tables import VOXELS
from mflib.volume import Annotation, Index

POINTS = ("bone", "shadow")
REASONS = ("bone not visible", "shadow not visible", "muscle cut off", "motion", "wrong level")
MISSING = "n/a"

Roi = tuple[Index, Index]


class AnnotationError(ValueError):
    """Marks, a table of them or a cohort that cannot be used; the message says what was found and what was expected."""


@dataclass(frozen=True)
class Marks:
    """The marks on one volume, in 0-based voxels (i, j, k).

    Parameters
    ----------
    bone, shadow : reference points
    roi : first voxel and extent of the region of interest
    suggested : which of ``bone``, ``shadow`` and ``roi`` are computed and not yet confirmed by anybody
    excluded : why the volume cannot be used; empty where it can
    annotator, annotated_at : who confirmed these marks, and when (UTC); ``n/a`` where a table does not say
    confirmed : whether somebody did
    """

    bone: Index | None = None
    shadow: Index | None = None
    roi: Roi | None = None
    suggested: frozenset[str] = frozenset()
    excluded: str = ""
    annotator: str = ""
    annotated_at: str = ""
    confirmed: bool = False

    @property
    def annotation(self) -> Annotation | None:
        """The marks as what the rest of the study takes, None where one is missing."""
        if self.bone is None or self.shadow is None or self.roi is None:
            return None
        return Annotation(self.bone, self.shadow, *self.roi)

    def edited(self, **changes: object) -> Marks:
        """Other marks, which nobody has confirmed yet; what is changed by hand is no suggestion any more."""
        kept = self.suggested - changes.keys()
        return replace(self, **{"suggested": kept, **changes}, annotator="", annotated_at="", confirmed=False)  # type: ignore[arg-type]

    def confirm(self, annotator: str, when: str) -> Marks:
        """The same marks, confirmed.

        Raises
        ------
        AnnotationError
            A usable volume lacks a point or the region.
        """
        missing = [name for name in (*POINTS, "roi") if getattr(self, name) is None]
        if missing and not self.excluded:
            raise AnnotationError(f"not marked yet: {', '.join(missing)}; mark it, or exclude the volume with a reason")
        return replace(self, suggested=frozenset(), annotator=annotator, annotated_at=when, confirmed=True)


def from_cells(cells: Mapping[str, str]) -> Marks | None:
    """The marks in a row of ``refpoints_roi.tsv``, None where it is neither complete nor an exclusion.

    Raises
    ------
    AnnotationError
        A cell is no voxel.
    """
    excluded = tables.excludes(cells.get("quality", MISSING))
    given = {name: cells.get(name, MISSING) for name in VOXELS}
    given = {name: cell for name, cell in given.items() if cell.lower() not in tables.MISSING}
    reason = cells.get("quality_reason", MISSING) if excluded else ""
    signed = Marks(
        excluded=reason,
        annotator=cells.get("annotator", MISSING),
        annotated_at=cells.get("annotated_at", MISSING),
        confirmed=True,
    )
    if len(given) < len(VOXELS):
        return signed if excluded else None
    wrong = [f"{name} {cell!r}" for name, cell in given.items() if not cell.isdecimal()]
    if wrong:
        raise AnnotationError(f"found {', '.join(wrong)}; expected whole numbers of voxels from 0")
    found = Annotation.from_row(given)
    return replace(signed, bone=found.bone, shadow=found.shadow, roi=(found.roi_start, found.roi_size))


def to_cells(marks: Marks) -> dict[str, str]:
    """The row of ``refpoints_roi.tsv``, without its key."""
    start, size = marks.roi or ((), ())
    cells = dict.fromkeys(VOXELS, MISSING)
    for prefix, place in (("bone_", marks.bone), ("shadow_", marks.shadow), ("roi_", start), ("roi_n", size)):
        cells |= {prefix + axis: str(at) for axis, at in zip("ijk", place or (), strict=False)}
    quality = {"quality": "exclude" if marks.excluded else "ok", "quality_reason": marks.excluded or MISSING}
    return {**cells, "annotator": marks.annotator, "annotated_at": marks.annotated_at, **quality}


def fit(roi: Roi, shape: tuple[int, ...]) -> Roi:
    """A region of interest moved and cut so that it lies inside a volume of this shape, at least 2 voxels wide."""
    size = [min(max(extent, 2), n) for extent, n in zip(roi[1], shape, strict=True)]
    start = [min(max(at, 0), n - extent) for at, extent, n in zip(roi[0], size, shape, strict=True)]
    return (start[0], start[1], start[2]), (size[0], size[1], size[2])


def check_inside(annotation: Annotation, shape: tuple[int, ...]) -> None:
    """Refuse points that no click can set: a table may come from elsewhere.

    Raises
    ------
    AnnotationError
        A point lies outside a volume of this shape.
    """
    for name, at in (("bone", annotation.bone), ("shadow", annotation.shadow)):
        if any(not 0 <= a < n for a, n in zip(at, shape, strict=True)):
            raise AnnotationError(f"{name} is {at}, expected inside a volume of {shape}")
