"""The region of a picture that the machine declares to hold tissue, and its calibration (PS3.3 C.8.5.5)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from mflib.dicom.elements import DicomError, count, items, number

TWO_D, TISSUE, CENTIMETRES = 1, 1, 3


@dataclass(frozen=True)
class Region:
    """A rectangle of the picture with its pixel size.

    Parameters
    ----------
    rows, columns : first and behind the last
    in_plane_mm : pixel size along columns and rows in mm; None where not calibrated in cm
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    in_plane_mm: tuple[float, float] | None

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns as slices."""
        return slice(*self.rows), slice(*self.columns)

    def __str__(self) -> str:
        return f"rows {self.rows[0]}-{self.rows[1] - 1}, columns {self.columns[0]}-{self.columns[1] - 1}"


def tissue(ds: Dataset, rows: int, columns: int) -> Region | None:
    """The one region of 2D tissue of a picture of ``rows`` x ``columns``; None where no region is declared.

    Raises
    ------
    DicomError
        Regions are declared and not exactly one holds 2D tissue, or it does not lie in the picture.
    """
    declared = items(ds, "SequenceOfUltrasoundRegions")
    if not declared:
        return None
    kinds = [(count(r, "RegionSpatialFormat"), count(r, "RegionDataType")) for r in declared]
    found = {_rectangle(r, rows, columns) for r, kind in zip(declared, kinds, strict=True) if kind == (TWO_D, TISSUE)}
    if len(found) != 1:
        raise DicomError(f"found {len(found)} regions of 2D tissue among {len(declared)} declared, expected one")
    return found.pop()


def _rectangle(region: Dataset, rows: int, columns: int) -> Region:
    corners = [count(region, f"RegionLocation{corner}") for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    if None in corners:
        raise DicomError("the tissue region does not say where in the picture it lies")
    left, top, right, bottom = (corner or 0 for corner in corners)
    # Some machines count the last row and column from 1.
    if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
        raise DicomError(
            f"the tissue region is declared at columns {left}-{right} and rows {top}-{bottom}, "
            f"expected it within {columns} columns and {rows} rows (was the picture scaled after the recording?)"
        )
    return Region((top, min(bottom + 1, rows)), (left, min(right + 1, columns)), in_plane(region))


def in_plane(ds: Dataset) -> tuple[float, float] | None:
    """Pixel size along columns and rows in mm from ``PhysicalDeltaX`` and ``PhysicalDeltaY`` in cm."""
    units = {number(ds, "PhysicalUnitsXDirection"), number(ds, "PhysicalUnitsYDirection")}
    dx, dy = number(ds, "PhysicalDeltaX"), number(ds, "PhysicalDeltaY")
    if units != {CENTIMETRES} or not dx or not dy:
        return None
    # Rounding keeps cm x 10 from reading 1.0000000000000002.
    return round(abs(dx) * 10, 12), round(abs(dy) * 10, 12)
