"""Where the planes of a DICOM file lie: Enhanced US Volumes, multi-frame images, Philips' Cartesian export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mflib.base.errors import FileError
from mflib.data.intake.elements import count, doubted, guarded, items, number, numbers, refuse_rescaled, word

Spacing = tuple[float, float, float]


def in_words(spacing: Sequence[float]) -> str:
    """A voxel size as people write it."""
    return " x ".join(f"{step:.4g}" for step in spacing) + " mm"


def stated_above(own: tuple[float, ...] | None, stated: Spacing, source: str) -> tuple[str, ...]:
    """A notice where a stated voxel size is another than the file's own, which may be known within frames only."""
    whole = own is not None and len(own) == len(stated)
    if own is None or np.allclose(own, stated[: len(own)], rtol=0.01 if whole else 0.02):
        return ()
    found = in_words(own) if whole else f"{in_words(own)} within frames"
    return (f"the file says {found} ({source}); the stated {in_words(stated)} stand above it",)


def unbelievable(doubt: tuple[str, str] | None) -> list[FileError]:
    """What is wrong with a file's own spacing, as found and expected, in the words for whoever may state another."""
    return [FileError(f"{doubt[0]}, expected {doubt[1]}; if you know better, state the spacing")] if doubt else []


@dataclass(frozen=True, eq=False)
class Acquisition:
    """One volume of a DICOM file, without anything that names a person.

    Parameters
    ----------
    voxels : (ni, nj, nk) uint8 grey levels; i lateral (columns), j depth (rows), k elevation (frames)
    spacing_mm : voxel size along i, j, k in mm; None where the file does not say all three
    in_plane_mm : voxel size along i and j in mm, where known
    spacing_source : where the spacing comes from, in words
    technical : allow-listed fields under the names of the cohort's sidecar
    notices : what a person should know of how the file was read
    doubts : why its spacing is not believed, unless a person states another
    """

    voxels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float] | None
    in_plane_mm: tuple[float, float] | None
    spacing_source: str
    technical: dict[str, Any]
    notices: tuple[str, ...]
    doubts: Sequence[FileError] = ()


@dataclass(frozen=True)
class Geometry:
    """Where the frames of a file lie.

    Parameters
    ----------
    frames : how many planes there are
    in_plane_mm : pixel size along columns and rows in mm, where known
    distance_mm : distance of neighbouring planes in mm, where known
    source : where these come from, in words
    order : stored frames in the order of their positions; None keeps the order
    notices : what a person should know
    """

    frames: int
    in_plane_mm: tuple[float, float] | None = None
    distance_mm: float | None = None
    source: str = "not stated"
    order: tuple[int, ...] | None = None
    notices: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Voxel size along i, j, k in mm; None where one is unknown."""
        if self.in_plane_mm is None or self.distance_mm is None:
            return None
        return (*self.in_plane_mm, self.distance_mm)


TWO_D, TISSUE, CENTIMETRES = 1, 1, 3


@dataclass(frozen=True)
class TissueRegion:
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


def tissue_region(ds: Dataset, rows: int, columns: int, doubts: list[FileError]) -> TissueRegion | None:
    """The one region of 2D tissue of a picture of ``rows`` x ``columns``; None where no region is declared.

    Raises
    ------
    FileError
        Regions are declared and not exactly one holds 2D tissue, or it does not lie in the picture.
    """
    if not (declared := items(ds, "SequenceOfUltrasoundRegions")):
        return None
    kinds = [(count(r, "RegionSpatialFormat"), count(r, "RegionDataType")) for r in declared]
    tissue = [region for region, kind in zip(declared, kinds, strict=True) if kind == (TWO_D, TISSUE)]
    found = {_rectangle(region, rows, columns, doubts) for region in tissue}
    if len(found) != 1:
        raise FileError(f"found {len(found)} regions of 2D tissue among {len(declared)} declared, expected one")
    return found.pop()


def _rectangle(region: Dataset, rows: int, columns: int, doubts: list[FileError]) -> TissueRegion:
    corners = [count(region, f"RegionLocation{corner}") for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    if None in corners:
        raise FileError("the tissue region does not say where in the picture it lies")
    left, top, right, bottom = (corner or 0 for corner in corners)
    # Some machines count the last row and column from 1.
    if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
        found = f"columns {left}-{right} and rows {top}-{bottom}"
        expected = f"within {columns} columns and {rows} rows (was the picture scaled after the recording?)"
        raise FileError(f"the tissue region is declared at {found}, expected it {expected}")
    in_plane = doubted(doubts, in_plane_spacing, region)
    return TissueRegion((top, min(bottom + 1, rows)), (left, min(right + 1, columns)), in_plane)


def in_plane_spacing(ds: Dataset) -> tuple[float, float] | None:
    """Pixel size along columns and rows in mm from ``PhysicalDeltaX`` and ``PhysicalDeltaY`` in cm."""
    units = {number(ds, "PhysicalUnitsXDirection"), number(ds, "PhysicalUnitsYDirection")}
    dx, dy = number(ds, "PhysicalDeltaX"), number(ds, "PhysicalDeltaY")
    if units != {CENTIMETRES} or not dx or not dy:
        return None
    # Rounding keeps cm x 10 from reading 1.0000000000000002.
    return round(abs(dx) * 10, 12), round(abs(dy) * 10, 12)


SLICES, SLICE_DISTANCE_CM = 0x30011001, 0x30011003
WHICH_END = "the export does not say which end of the rows is the probe's: look that depth runs downwards"


def cartesian(ds: Dataset, frames: int, doubts: list[FileError]) -> Geometry:
    """Pixel size from ``PhysicalDeltaX`` and ``PhysicalDeltaY``, slices and their distance from private elements.

    Raises
    ------
    FileError
        Without a number of slices, or with several volumes in time.
    """
    if not (slices := count(ds, SLICES)):
        raise FileError("the number of slices, private element (3001,1001), is missing from the Cartesian export")
    if frames != 1:
        raise FileError(f"found {frames} time frames of {slices} slices, expected one volume: export a single one")
    calibrated = [ds, *items(ds, "SequenceOfUltrasoundRegions")]
    in_plane = next(filter(None, (doubted(doubts, in_plane_spacing, holder) for holder in calibrated)), None)
    distance_cm = doubted(doubts, number, ds, SLICE_DISTANCE_CM)
    distance = round(abs(distance_cm) * 10, 12) if distance_cm else None
    return Geometry(slices, in_plane, distance, "private elements of the Cartesian export", notices=(WHICH_END,))


# Largest difference of a plane distance from the median, as a share of it.
UNEVEN = 0.01
FARTHEST_MM = 10_000
MEASURES = (("PixelMeasuresSequence", "PixelSpacing"),)
# Sequence and element, in the volume's own frame of reference, else in the patient's.
POSITION = (("PlanePositionVolumeSequence", "ImagePositionVolume"), ("PlanePositionSequence", "ImagePositionPatient"))
ORIENTATION = (
    ("PlaneOrientationVolumeSequence", "ImageOrientationVolume"),
    ("PlaneOrientationSequence", "ImageOrientationPatient"),
)
Groups = Sequence[Dataset]


def enhanced(ds: Dataset, frames: int, doubts: list[FileError]) -> Geometry:
    """Pixel size from the pixel measures, order and distance of frames from their positions along the normal.

    Raises
    ------
    FileError
        Several time points or data types, or planes that are not parallel, equidistant and straight above each other.
    """
    shared, own = items(ds, "SharedFunctionalGroupsSequence"), items(ds, "PerFrameFunctionalGroupsSequence")
    if own and len(own) != frames:
        raise FileError(f"found geometry of {len(own)} frames, expected that of {frames}")
    groups = [[group, *shared] for group in own]
    if any(_data_type(group) not in ("", "TISSUE_INTENSITY") for group in groups):
        raise FileError("found frames of another data type (flow?), expected tissue intensity only")
    for item in (item for group in [*shared, *own] for item in items(group, "PixelValueTransformationSequence")):
        refuse_rescaled(item)
    measures, positions, orientations = (
        [doubted(doubts, _macro, group, names) or () for group in groups] for names in (MEASURES, POSITION, ORIENTATION)
    )
    rows_columns = _shared_by_all(measures, "pixel sizes", 2)
    in_plane = (rows_columns[1], rows_columns[0]) if rows_columns else None
    orientation = _shared_by_all(orientations, "plane orientations", 6)
    if orientation is None or not positions or {len(p) for p in positions} != {3}:
        notice = "the file does not give every frame a position: frames are taken in stored order"
        return Geometry(frames, in_plane, notices=(notice,))
    return _stacked(np.array(positions), np.array(orientation), in_plane)


def _stacked(
    positions: NDArray[np.float64], axes: NDArray[np.float64], in_plane: tuple[float, float] | None
) -> Geometry:
    if np.abs(axes).max() > 2 or np.abs(positions).max() > FARTHEST_MM:
        raise FileError(f"a plane lies farther than {FARTHEST_MM} mm away, or its orientation is not two unit vectors")
    normal = np.cross(axes[:3], axes[3:])
    if not np.allclose([np.linalg.norm(axes[:3]), np.linalg.norm(axes[3:]), np.linalg.norm(normal)], 1, atol=1e-3):
        raise FileError("the plane orientation is not two unit vectors at right angles")
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    distance = _distance(heights[order])
    sideways = np.linalg.norm(np.ptp(positions - np.outer(heights, normal), axis=0))
    if in_plane and sideways > min(in_plane) / 2:
        raise FileError(f"planes are shifted sideways by up to {sideways:.3g} mm, expected straight above each other")
    place = None if (np.diff(order) > 0).all() else tuple(order.tolist())
    notices = ("frames were put in the order of their positions",) if place else ()
    return Geometry(len(order), in_plane, distance, "per-frame plane positions", place, notices)


def _distance(heights: NDArray[np.float64]) -> float:
    """Distance in mm of neighbouring planes at ascending ``heights`` (n,)."""
    steps, n = np.diff(heights), len(heights)
    places = 1 + int((steps > 1e-4).sum())
    if places < n:
        raise FileError(f"found {n} frames at {places} positions ({n / places:.3g} time points), expected one at each")
    median = float(np.median(steps))
    if np.abs(steps - median).max() > UNEVEN * median:
        raise FileError(f"planes lie {steps.min():.4g} to {steps.max():.4g} mm apart, expected equal distances")
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
        raise FileError(f"frames have different {what}, expected parallel planes of one pixel size")
    return found[0]


def _data_type(groups: Groups) -> str:
    types = [word(item, "DataType") for group in groups for item in items(group, "ImageDataTypeSequence")]
    return types[0] if types else ""


PHILIPS = (0x200D, "Philips US Imaging DD 036")
VOXELS, SPACING = 0x01, 0x03
# Frame Time and Frame Time Vector: who points to them, or has them and no pointer, has steps of time for frames.
TIMES = (0x00181063, 0x00181065)
TAKEN_AS_PLANES = "frames are steps of time in the file; they are taken as planes because a spacing was stated"


def multiframe(ds: Dataset, frames: int, doubts: list[FileError]) -> Geometry:
    """Spacing of a multi-frame image.

    The private element holds the voxel size along columns, rows and frames in mm. Sources: SlicerHeart's reader of
    Affiniti files sets it as the spacing of the image; GDCM's iU22 example quotes a file of 416 x 412 x 256 voxels of
    0.156 x 0.122 x 0.328.

    Raises
    ------
    FileError
        The private element speaks of another volume. That frames are steps of time is only a doubt.
    """
    if private := doubted(doubts, _voxel_size, ds):
        return _philips(ds, frames, private)
    film = _is_film(ds)
    if film:
        found = f"its {frames} frames follow each other in time (Frame Increment Pointer or Frame Time): found a film"
        expected = "a stack of planes. If the probe was swept evenly while it ran, state the spacing"
        doubts.append(FileError(f"{found}, expected {expected}"))
    region = tissue_region(ds, count(ds, "Rows") or 0, count(ds, "Columns") or 0, doubts)
    calibrated = region.in_plane_mm if region else None
    spaced = doubted([] if calibrated else doubts, _pixel_spacing, ds)
    in_plane = calibrated or (None if region else spaced)
    source = "region calibration" if calibrated else "pixel spacing of the picture" if in_plane else "not stated"
    notices: tuple[str, ...] = (TAKEN_AS_PLANES,) if film else ()
    if calibrated and spaced and not np.allclose(calibrated, spaced, rtol=0.01):
        notices += (f"its Pixel Spacing, {spaced[0]:.4g} x {spaced[1]:.4g} mm, contradicts the region calibration",)
    distance = None if film else doubted(doubts, number, ds, "SpacingBetweenSlices")
    return Geometry(frames, in_plane, abs(distance) if distance else None, source, notices=notices)


def _voxel_size(ds: Dataset) -> tuple[float, ...]:
    """The voxel size in the private element, empty where the file does not have it."""
    spacing = _private(ds, SPACING)
    if len(spacing) not in (0, 3):
        raise FileError(f"the vendor's private element holds {len(spacing)} voxel sizes, expected three")
    return spacing


def _philips(ds: Dataset, frames: int, spacing: tuple[float, ...]) -> Geometry:
    voxels = _private(ds, VOXELS)
    held = (count(ds, "Columns"), count(ds, "Rows"), frames)
    if voxels and voxels != held:
        found = f"{_product(voxels)} voxels, the pictures hold {_product(held)}"
        where = "the volume itself is in private elements that only the vendor's software reads; export Cartesian DICOM"
        raise FileError(f"the vendor's private element speaks of {found}: {where}")
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
