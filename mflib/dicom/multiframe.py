"""Geometry of an ultrasound multi-frame image: a vendor's private element, or a calibrated region and a distance."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from mflib.dicom import regions
from mflib.dicom.acquisition import Geometry
from mflib.dicom.elements import DicomError, count, guarded, number, numbers, readable

PHILIPS = (0x200D, "Philips US Imaging DD 036")
VOXELS, SPACING = 0x01, 0x03
TIMES = (0x00181063, 0x00181065)
"""Frame Time and Frame Time Vector: who points to them, or has them and no pointer, has steps of time for frames."""
TAKEN_AS_PLANES = "frames are steps of time in the file; they are taken as planes because a spacing was stated"


def geometry(ds: Dataset, frames: int, stated: bool) -> Geometry:
    """Spacing of a multi-frame image.

    The private element holds the voxel size along columns, rows and frames in mm. Sources: SlicerHeart's reader of
    Affiniti files sets it as the spacing of the image; GDCM's iU22 example quotes a file of 416 x 412 x 256 voxels of
    0.156 x 0.122 x 0.328.

    Raises
    ------
    DicomError
        Frames are steps of time and no spacing was ``stated``, or the private element speaks of another volume.
    """
    if private := _private(ds, SPACING):
        return _philips(ds, frames, private)
    film = _is_film(ds)
    if film and not stated:
        _refuse_film(ds, frames)
    region = regions.tissue(ds, count(ds, "Rows") or 0, count(ds, "Columns") or 0)
    calibrated, spaced = region.in_plane_mm if region else None, _pixel_spacing(ds)
    in_plane = calibrated or (None if region else spaced)
    source = "region calibration" if calibrated else "pixel spacing of the picture"
    notices: tuple[str, ...] = (TAKEN_AS_PLANES,) if film else ()
    if calibrated and spaced and not np.allclose(calibrated, spaced, rtol=0.01):
        notices += (f"its Pixel Spacing, {spaced[0]:.4g} x {spaced[1]:.4g} mm, contradicts the region calibration",)
    distance = None if film else (readable if stated else number)(ds, "SpacingBetweenSlices")
    return Geometry(
        frames,
        in_plane,
        abs(distance) if distance else None,
        source if in_plane else "not stated",
        notices=notices,
    )


def _refuse_film(ds: Dataset, frames: int) -> None:
    """Refuse a film, and say what else keeps it from being taken as planes."""
    problem = (
        f"its {frames} frames follow each other in time (Frame Increment Pointer or Frame Time): found a film, "
        "expected a stack of planes. If the probe was swept evenly while it ran, state the spacing"
    )
    try:
        regions.tissue(ds, count(ds, "Rows") or 0, count(ds, "Columns") or 0)
    except DicomError as error:
        raise DicomError(f"{problem}. Besides, {error}") from None
    raise DicomError(problem)


def _philips(ds: Dataset, frames: int, spacing: tuple[float, ...]) -> Geometry:
    if len(spacing) != 3:
        raise DicomError(f"the vendor's private element holds {len(spacing)} voxel sizes, expected three")
    voxels = _private(ds, VOXELS)
    held = (count(ds, "Columns"), count(ds, "Rows"), frames)
    if voxels and voxels != held:
        raise DicomError(
            f"the vendor's private element speaks of {_product(voxels)} voxels, the pictures hold {_product(held)}: "
            "the volume itself is in private elements that only the vendor's software reads; export Cartesian DICOM"
        )
    return Geometry(frames, (spacing[0], spacing[1]), spacing[2], "private element of the vendor")


def _private(ds: Dataset, element: int) -> tuple[float, ...]:
    """An element of Philips' private block, wherever in the group the file puts the block."""
    group, creator = PHILIPS
    with guarded("a private block"):
        if creator not in ds.private_creators(group):
            return ()
        tag = ds.private_block(group, creator).get_tag(element)
    return numbers(ds, tag)


def _pixel_spacing(ds: Dataset) -> tuple[float, float] | None:
    rows_columns = numbers(ds, "PixelSpacing")
    return (rows_columns[1], rows_columns[0]) if len(rows_columns) == 2 else None


def _is_film(ds: Dataset) -> bool:
    if pointers := numbers(ds, "FrameIncrementPointer"):
        return any(pointer in TIMES for pointer in pointers)
    return any(time in ds for time in TIMES) and "SpacingBetweenSlices" not in ds


def _product(shape: tuple[float | None, ...]) -> str:
    return " x ".join(f"{n or 0:g}" for n in shape)
