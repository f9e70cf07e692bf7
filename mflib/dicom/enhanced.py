"""Geometry of an Enhanced US Volume: planes with positions of their own (PS3.3 C.8.24)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mflib.dicom.acquisition import Geometry
from mflib.dicom.elements import DicomError, items, numbers, word

UNEVEN = 0.01
"""Largest difference of a plane distance from the median, as a share of it."""

FARTHEST_MM = 10_000

# Sequence and element, in the volume's own frame of reference, else in the patient's.
POSITION = (("PlanePositionVolumeSequence", "ImagePositionVolume"), ("PlanePositionSequence", "ImagePositionPatient"))
ORIENTATION = (
    ("PlaneOrientationVolumeSequence", "ImageOrientationVolume"),
    ("PlaneOrientationSequence", "ImageOrientationPatient"),
)

Groups = Sequence[Dataset]


def geometry(ds: Dataset, frames: int, stated: bool) -> Geometry:
    """Pixel size from the pixel measures, order and distance of frames from their positions along the normal.

    Raises
    ------
    DicomError
        Several time points or data types, or planes that are not parallel, equidistant and straight above each other.
    """
    shared, own = items(ds, "SharedFunctionalGroupsSequence"), items(ds, "PerFrameFunctionalGroupsSequence")
    if own and len(own) != frames:
        raise DicomError(f"found geometry of {len(own)} frames, expected that of {frames}")
    groups = [[group, *shared] for group in own]
    if any(_data_type(group) not in ("", "TISSUE_INTENSITY") for group in groups):
        raise DicomError("found frames of another data type (flow?), expected tissue intensity only")
    measures = [_macro(group, (("PixelMeasuresSequence", "PixelSpacing"),)) for group in groups]
    rows_columns = _shared_by_all(measures, "pixel sizes", 2)
    in_plane = (rows_columns[1], rows_columns[0]) if rows_columns else None
    positions = [_macro(group, POSITION) for group in groups]
    orientation = _shared_by_all([_macro(group, ORIENTATION) for group in groups], "plane orientations", 6)
    if orientation is None or not positions or {len(p) for p in positions} != {3}:
        notice = "the file does not give every frame a position: frames are taken in stored order"
        return Geometry(frames, in_plane, notices=(notice,))
    return _stacked(np.array(positions), np.array(orientation), in_plane)


def _stacked(
    positions: NDArray[np.float64], axes: NDArray[np.float64], in_plane: tuple[float, float] | None
) -> Geometry:
    if np.abs(axes).max() > 2 or np.abs(positions).max() > FARTHEST_MM:
        raise DicomError(f"a plane lies farther than {FARTHEST_MM} mm away, or its orientation is not two unit vectors")
    normal = np.cross(axes[:3], axes[3:])
    if not np.allclose([np.linalg.norm(axes[:3]), np.linalg.norm(axes[3:]), np.linalg.norm(normal)], 1, atol=1e-3):
        raise DicomError("the plane orientation is not two unit vectors at right angles")
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    distance = _distance(heights[order])
    sideways = np.ptp(positions - np.outer(heights, normal), axis=0)
    if in_plane and np.linalg.norm(sideways) > min(in_plane) / 2:
        raise DicomError(
            f"planes are shifted sideways by up to {np.linalg.norm(sideways):.3g} mm, "
            "expected them straight above each other"
        )
    moved = bool((order != np.arange(len(order))).any())
    notices = ("frames were put in the order of their positions",) if moved else ()
    place = tuple(order.tolist()) if moved else None
    return Geometry(len(order), in_plane, distance, "per-frame plane positions", place, notices=notices)


def _distance(heights: NDArray[np.float64]) -> float:
    """Distance in mm of neighbouring planes at ascending ``heights`` (n,)."""
    steps = np.diff(heights)
    places = 1 + int((steps > 1e-4).sum())
    if places < len(heights):
        raise DicomError(
            f"found {len(heights)} frames at {places} positions ({len(heights) / places:.3g} time points), "
            "expected one volume with one frame at each position"
        )
    median = float(np.median(steps))
    if np.abs(steps - median).max() > UNEVEN * median:
        raise DicomError(f"planes lie {steps.min():.4g} to {steps.max():.4g} mm apart, expected equal distances")
    return round(float(steps.mean()), 9)


def _macro(groups: Groups, names: Sequence[tuple[str, str]]) -> tuple[float, ...]:
    """Numbers of a functional group: the frame's own stand before the shared ones."""
    for sequence, element in names:
        for group in groups:
            for item in items(group, sequence):
                if found := numbers(item, element):
                    return found
    return ()


def _shared_by_all(values: list[tuple[float, ...]], what: str, length: int) -> tuple[float, ...] | None:
    found = [v for v in values if len(v) == length]
    if len(found) < len(values) or not found:
        return None
    if not np.allclose(found, found[0], rtol=1e-4, atol=1e-4):
        raise DicomError(f"frames have different {what}, expected parallel planes of one pixel size")
    return found[0]


def _data_type(groups: Groups) -> str:
    types = [word(item, "DataType") for group in groups for item in items(group, "ImageDataTypeSequence")]
    return types[0] if types else ""
