"""Geometry of Philips' Cartesian export, which keeps slices and their distance in private elements, in cm.

Facts from SlicerHeart's Philips4dUsDicomPatcher: (3001,1001) is the number of slices, (3001,1003) their distance in cm,
and the standard's NumberOfFrames counts volumes in time. The export comes without several identifiers and often
without preamble and file meta.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from mflib.dicom import regions
from mflib.dicom.acquisition import Geometry
from mflib.dicom.elements import DicomError, count, items, number

SLICES, SLICE_DISTANCE_CM = 0x30011001, 0x30011003


def geometry(ds: Dataset, frames: int, stated: bool) -> Geometry:
    """Pixel size from ``PhysicalDeltaX`` and ``PhysicalDeltaY``, slices and their distance from private elements.

    Raises
    ------
    DicomError
        Without a number of slices, or with several volumes in time.
    """
    slices = count(ds, SLICES)
    if not slices:
        raise DicomError("the number of slices, private element (3001,1001), is missing from the Cartesian export")
    if frames != 1:
        raise DicomError(f"found {frames} time frames of {slices} slices, expected one volume: export a single one")
    calibrated = [ds, *items(ds, "SequenceOfUltrasoundRegions")]
    in_plane = next(filter(None, map(regions.in_plane, calibrated)), None)
    distance = number(ds, SLICE_DISTANCE_CM)
    return Geometry(
        slices,
        in_plane,
        round(abs(distance) * 10, 12) if distance else None,
        "private elements of the Cartesian export",
        notices=("the export does not say which end of the rows is the probe's: look that depth runs downwards",),
    )
