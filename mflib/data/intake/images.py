"""NIfTI, NRRD and MetaImage files of any make, as far as they hold one grey volume."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mflib.base.errors import FileError
from mflib.data import stored
from mflib.data.intake import burnt_in, pixels
from mflib.data.intake.dicom import PLAUSIBLE_MM, Spacing
from mflib.data.intake.geometry import Acquisition
from mflib.data.stored import META, NIFTI, NOT_FINITE, NRRD, Layout

MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}


def is_sweep(found: Mapping[str, str]) -> bool:
    """Whether frames of a tracked probe lie in the file, each with its own pose, and no volume."""
    return any(re.match(r"seq_frame\d+_|customframetransform", name) for name in found)


def invalid_frames(found: Mapping[str, str]) -> list[str]:
    """A notice where the recorder has marked frames of a sweep as invalid."""
    marked = {
        match[0] for name, value in found.items() if value == "INVALID" and (match := re.match(r"seq_frame\d+", name))
    }
    return [f"marked INVALID, and perhaps out of place: {len(marked)} of its frames"] if marked else []


def refuse_meaning(found: Mapping[str, str], sweep: bool) -> None:
    """Refuse what a header says its numbers are, where that is no grey volume in mm with depth along j."""
    if any(re.match(r"segment\d+_|segmentation_", name) for name in found):
        raise FileError("a segmentation, expected a picture")
    mode = found.get("ultrasoundimagetype", "BRIGHTNESS").upper()
    if mode not in ("BRIGHTNESS", "") and not mode.startswith("RGB"):
        raise FileError("radio-frequency data, expected grey levels: export the B-mode picture")
    if orientation(found)[1:2] not in ("", "F", "N"):
        raise FileError("columns that do not run along the beam, expected UltrasoundImageOrientation MF, UF, MN or UN")
    if not units(found) <= MILLIMETRES:
        raise FileError("lengths in another unit than mm, expected mm")
    # ITK takes a list for the parts of a pixel, and time for elevation.
    axes = zip(found.get("kinds", "").casefold().split(), found.get("sizes", "").split(), strict=False)
    if not sweep and (listed := [size for kind, size in axes if kind in ("list", "time") and size != "1"]):
        raise FileError(f"{listed[0]:.9} entries of a list or film, expected one volume: export a single one")


def orientation(found: Mapping[str, str]) -> str:
    """Where the axes of an ultrasound picture run, in PLUS's letters; empty where the header does not know."""
    letters = found.get("ultrasoundimageorientation", "").upper()
    return "" if letters.startswith("XX") else letters


def is_upside_down(found: Mapping[str, str]) -> bool:
    """Whether the header says that the rows run towards the probe (N for near) and not away from it (F for far)."""
    return orientation(found)[1:2] == "N"


def units(found: Mapping[str, str]) -> set[str]:
    """Units of length that a text header names, in small letters."""
    quoted = re.findall(r'"([^"]*)"', found.get("space units", "") + found.get("units", ""))
    return {unit.strip().casefold() for unit in [*quoted, found.get("distanceunits", "")]} - {"", "?"}


FEWEST = 8
"""Fewest distinct values of a picture; a mask has fewer."""


def from_channels(voxels: NDArray[Any]) -> NDArray[np.uint8]:
    """One channel (ni, nj, nk) of equal ones (ni, nj, nk, 3), as equal as DICOM's must be.

    Raises
    ------
    Refusal
        The channels differ, there are not three, or their numbers are no grey levels.
    """
    if voxels.shape[-1] != 3:
        raise FileError(f"{voxels.shape[-1]} values in each voxel, expected grey, or red, green and blue")
    grey, coloured = pixels.grey_of_colour(to_grey(voxels))
    if coloured is not None:
        planes = int(coloured.any((0, 1)).sum())
        raise FileError(
            f"true colour: {int(coloured.sum())} coloured voxels in {planes} of {voxels.shape[2]} planes, "
            "expected grey: export without colour and coloured marks"
        )
    return grey


def to_grey(voxels: NDArray[Any]) -> NDArray[np.uint8]:
    """The same numbers as uint8.

    Raises
    ------
    Refusal
        They are not whole numbers from 0 to 255, or as few as in a mask.
    """
    if np.iscomplexobj(voxels):
        raise FileError("complex numbers as radio-frequency data have, expected grey levels 0 to 255")
    if not np.isfinite(voxels).all():
        raise FileError(NOT_FINITE)
    low, high = voxels.min(), voxels.max()
    if low < 0 or high > 255:
        raise FileError(
            f"values from {low:g} to {high:g} ({voxels.dtype}), expected grey levels 0 to 255: "
            "export the B-mode picture with 8 bits"
        )
    grey = voxels.astype(np.uint8)
    if not np.array_equal(grey, voxels):
        raise FileError(f"fractions ({voxels.dtype}), expected whole grey levels 0 to 255: export with 8 bits")
    levels = int((np.bincount(grey.ravel(), minlength=256) > 0).sum())
    if levels < FEWEST:
        raise FileError(f"{levels} distinct values as in a mask, expected a picture")
    return grey


SWEEP = "frames of a tracked freehand sweep, each with its own pose"
RECONSTRUCT = (
    f"{SWEEP}, expected a volume: reconstruct it first (3D Slicer, PLUS); "
    "if its planes are parallel and equally spaced, state the spacing"
)
TURNED = "the file says that its rows run towards the probe: they were turned, so that depth grows downwards"
AXES = "the file does not name its axes: the first was taken as lateral, the second as depth, the third as elevation"


def read(path: Path, kind: str, stated: Spacing | None) -> Acquisition:
    """One volume as its file stores it; the direction matrix is not applied.

    Parameters
    ----------
    kind : as ``kinds.identify`` says
    stated : voxel size along i, j, k in mm that a person states; it stands above the file's

    Raises
    ------
    Refusal
        Damaged, cut short, too large, not one grey volume, with names that may be burnt in and cannot be found, or a
        tracked sweep without a stated spacing.
    """
    try:
        return _read(path, kind, stated)
    except FileError as error:
        raise FileError(str(error)) from error


def _read(path: Path, kind: str, stated: Spacing | None) -> Acquisition:
    layout = stored.examine(path, kind)
    found = layout.fields
    sweep = is_sweep(found)
    refuse_meaning(found, sweep)
    if sweep and stated is None:
        raise FileError(RECONSTRUCT)
    if layout.spacing_fault and not sweep and stated is None:
        raise FileError(f"{layout.spacing_fault}, expected one size along each axis: state it if the file is wrong")
    image = _image(path, kind, layout)
    voxels = to_grey(_three_axes(image, sweep))
    mask, masked = burnt_in.mask_text(voxels.T)
    voxels.T[:, mask] = 0
    turned = is_upside_down(found)
    voxels = voxels[:, ::-1] if turned else voxels
    own = None if sweep else _spacing(image)
    if stated is None and own is not None:
        _refuse_implausible(own)
    notices = [TURNED] if turned else [] if orientation(found) else [AXES]
    if sweep:
        notices.append(f"{SWEEP}: their poses were not used, the stated spacing was")
        notices += invalid_frames(found)
    if stated and own and not np.allclose(stated, own, rtol=0.01):
        notices.append(f"the file states {in_words(own)}; {in_words(stated)} was taken, as stated by the user")
    if not stated and not _names_unit(image, kind, found):
        notices.append("the file names no unit of length: mm was taken")
    source = "stated by the user" if stated else f"{kind} header"
    return Acquisition(voxels, stated or own, None, source, {"SourceFormat": kind}, (*notices, *masked))


def in_words(spacing: tuple[float, ...]) -> str:
    """A voxel size as people write it."""
    return " x ".join(f"{step:.4g}" for step in spacing) + " mm"


def _image(path: Path, kind: str, layout: Layout) -> sitk.Image:
    """The file as ITK reads it, once it is known to be whole and of a size that fits."""
    with tempfile.TemporaryDirectory() as folder:
        # ITK goes by the name's end, and repeats the name in what it prints.
        link = Path(folder) / f"volume{_suffix(kind, layout)}"
        link.symlink_to(path.resolve())
        reader = sitk.ImageFileReader()
        reader.SetFileName(os.fspath(link))
        reader.SetImageIO(stored.READERS[kind])
        try:
            reader.ReadImageInformation()
            stored.voxels(path, layout, layout.declared or _declared_bytes(reader))
            return reader.Execute()
        except RuntimeError as error:
            if "orthonormal" in str(error):
                raise FileError(
                    f"a {kind} file with a sheared orientation matrix, expected axes at right angles: "
                    "resample it to such axes (3D Slicer, Resample Image), or export it without a matrix"
                ) from error
            raise FileError(f"a {kind} file that cannot be read: damaged, cut short or unusual") from error


def _suffix(kind: str, layout: Layout) -> str:
    return {META: ".mha", NRRD: ".nrrd", NIFTI: ".nii.gz" if layout.packed else ".nii"}[kind]


def _declared_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of the voxels that the header declares, before any is unpacked."""
    size = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), 1)
    return math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * size.GetSizeOfPixelComponent()


def _three_axes(image: sitk.Image, sweep: bool) -> NDArray[Any]:
    """Voxels (ni, nj, nk) of an image with three axes, equal colour channels, or axes of one step behind."""
    size, parts = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    stored = sitk.GetArrayViewFromImage(image)
    voxels = stored.transpose(*reversed(range(len(size))), *range(len(size), stored.ndim))
    if sweep and parts > 1 and math.prod(size[2:]) == 1:
        # NRRD calls the frames of a sweep a list, and ITK takes a list for the parts of a pixel.
        return voxels.reshape(*size[:2], parts)
    extra = size[3:]
    if math.prod(extra) > 1:
        raise FileError(f"{math.prod(extra)} time points, expected one volume")
    if len(size) < 3 or min(size[:3]) < 2:
        raise FileError(f"{' x '.join(map(str, size))} voxels, expected three axes of at least 2")
    voxels = voxels.reshape(*size[:3], *([parts] if parts > 1 else []))
    return from_channels(voxels) if parts > 1 else voxels


def _spacing(image: sitk.Image) -> Spacing | None:
    """Voxel size in mm; None where the header leaves it at 1, 1, 1, as a missing one reads."""
    i, j, k = (float(round(step, 6)) for step in image.GetSpacing()[:3])
    return None if (i, j, k) == (1, 1, 1) else (i, j, k)


def _refuse_implausible(spacing: Spacing) -> None:
    low, high = PLAUSIBLE_MM
    if not all(low <= step <= high for step in spacing):
        raise FileError(f"spacing {in_words(spacing)}, expected {low:g} to {high:g} mm: state it if the file is wrong")


def _names_unit(image: sitk.Image, kind: str, found: Mapping[str, str]) -> bool:
    """Whether the unit of length is known; MetaImage is in mm by definition, the others say so or not."""
    if kind == NIFTI:
        return int(image.GetMetaData("xyzt_units")) & 7 != 0
    return kind == META or bool(units(found))
