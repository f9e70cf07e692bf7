"""Read one volume from a DICOM file, or say why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from mflib.dicom import cartesian, enhanced, multiframe, opening, picture, pixels, regions, technical
from mflib.dicom.acquisition import Acquisition, Geometry
from mflib.dicom.elements import DicomError, count, groups, guarded, word

Spacing = tuple[float, float, float]

PLAUSIBLE_MM = (0.01, 5.0)
"""Voxel sizes of ultrasound; whatever lies outside is in another unit or something else."""

KINDS: dict[str, tuple[str, Callable[[Dataset, int, bool], Geometry]]] = {
    "1.2.840.10008.5.1.4.1.1.6.2": ("Enhanced US Volume", enhanced.geometry),
    "1.2.840.10008.5.1.4.1.1.3.1": ("Ultrasound Multi-frame Image", multiframe.geometry),
    "1.2.840.10008.5.1.4.1.1.3": ("Ultrasound Multi-frame Image (retired)", multiframe.geometry),
    "1.2.840.113543.6.6.1.3.10002": ("Philips Cartesian export", cartesian.geometry),
}
SINGLE = ("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.6")
RAW_BLOCKS = {0x7FE1: "GE", 0x200D: "Philips"}
"""Groups in which makers keep volumes that only their own software reads."""

DIRECTIONS = {"L": "left", "R": "right", "A": "front", "P": "back", "H": "head", "F": "feet"}


def read(path: Path, *, spacing_mm: Spacing | None = None) -> Acquisition:
    """Read the one volume of a DICOM file.

    Parameters
    ----------
    path : file; it is only ever opened for reading
    spacing_mm : voxel size along i (columns), j (rows), k (frames) in mm as a person states it; stands above the file's

    Returns
    -------
    Acquisition
        Voxels as stored, cut to the declared region of tissue and masked where text is burnt in.

    Raises
    ------
    DicomError
        Whatever keeps the file from being one 8-bit grey volume, with the reason.
    """
    ds = opening.header(path)
    name, geometry = _kind(path, ds)
    stored = pixels.layout(ds)
    place = geometry(ds, stored.frames, spacing_mm is not None)
    if place.frames < 2:
        _refuse_picture(path, stored)
    spacing, source, spacing_notices = _decide(place, spacing_mm)
    region = regions.tissue(ds, stored.rows, stored.columns)
    grey, taken_away = picture.clean(path, ds, stored, place, region)
    voxels = (grey if place.order is None else grey[list(place.order)]).T
    if min(voxels.shape) < 2:
        raise DicomError(f"found {' x '.join(map(str, voxels.shape))} voxels, expected at least 2 along each axis")
    return Acquisition(
        voxels,
        spacing,
        spacing[:2] if spacing else place.in_plane_mm,
        source,
        technical.fields(ds, f"DICOM, {name}, {stored.syntax.name}"),
        (*place.notices, *spacing_notices, *taken_away, *_other_notices(ds)),
    )


def _kind(path: Path, ds: Dataset) -> tuple[str, Callable[[Dataset, int, bool], Geometry]]:
    with guarded("the SOP class"):
        uid = UID(str(ds.get("SOPClassUID", "") or ds.file_meta.get("MediaStorageSOPClassUID", "")))
    if uid in KINDS:
        return KINDS[uid]
    # A UID that nobody registered could hold anything.
    registered = uid.name if uid.name != str(uid) else "an unknown kind of object" if uid else "no SOP class"
    if uid not in SINGLE:
        expected = ", ".join(name for name, _ in KINDS.values())
        raise DicomError(f"found {registered}, expected {expected}: export one of these, or NIfTI, NRRD or MHA")
    if (declared := count(ds, "NumberOfFrames") or 1) > 1:
        raise DicomError(
            f"found {declared} frames in a {registered}, a kind of object that holds one: "
            "export it as Ultrasound Multi-frame Image"
        )
    raw = [maker for group, maker in RAW_BLOCKS.items() if group in groups(opening.whole(path))]
    hint = (
        f". It may hold a volume that only {raw[0]}'s software reads: export it as Cartesian DICOM there" if raw else ""
    )
    raise DicomError(f"found one picture ({registered}), expected a volume{hint}")


def _refuse_picture(path: Path, stored: pixels.Layout) -> None:
    """Refuse what declares one picture, and say so where more lie in it."""
    size = stored.rows * stored.columns * (3 if stored.photometric in pixels.COLOUR else 1)
    held = 0 if stored.syntax.is_encapsulated else len(opening.whole(path).get("PixelData", b"")) // size
    if held > 1:
        raise DicomError(f"found pixels of {held} pictures and no Number of Frames, expected it: export the file again")
    raise DicomError(f"found one picture of {stored.columns} x {stored.rows} pixels, expected a volume")


def _decide(place: Geometry, stated: Spacing | None) -> tuple[Spacing | None, str, tuple[str, ...]]:
    """The spacing, its source, and what a person should know of it."""
    found = place.spacing_mm
    notices: tuple[str, ...] = ()
    if found == (1, 1, 1):
        found, notices = None, ("the file states a voxel size of 1, 1, 1 mm, which is how a missing one reads",)
    known = [*(place.in_plane_mm or ()), *([place.distance_mm] if place.distance_mm else [])]
    low, high = PLAUSIBLE_MM
    if stated is None:
        if not all(low <= step <= high for step in known):
            raise DicomError(f"states voxel sizes of {_mm(known)} ({place.source}), expected {low} to {high} mm")
        return found, place.source if found else "not stated", notices
    if not all(low <= step <= high for step in stated):
        raise DicomError(f"a voxel size of {_mm(stated)} is stated for it, expected {low} to {high} mm")
    if found and not np.allclose(found, stated, rtol=1e-3):
        notices += (f"the file says {_mm(found)} ({place.source}); the stated {_mm(stated)} stand above it",)
    elif not place.spacing_mm and place.in_plane_mm and not np.allclose(place.in_plane_mm, stated[:2], rtol=0.02):
        within = f"the file says {_mm(place.in_plane_mm)} within frames ({place.source})"
        notices += (f"{within}; the stated {_mm(stated)} stand above it",)
    return stated, "stated by the user", notices


def _other_notices(ds: Dataset) -> tuple[str, ...]:
    notices: tuple[str, ...] = ()
    if any(0x6000 <= group <= 0x60FF for group in groups(ds)):
        notices += ("overlay planes were left out; they are not burnt into the pictures",)
    columns = word(ds, "PatientOrientation").split("\\")[0]
    if columns and set(columns) <= DIRECTIONS.keys():
        towards = " and ".join(DIRECTIONS[letter] for letter in columns)
        notices += (f"columns run towards the patient's {towards}, as the file states; voxels stay as stored",)
    return notices


def _mm(steps: tuple[float, ...] | list[float]) -> str:
    return ", ".join(f"{step:.6g}" for step in steps) + " mm"
