"""Any file of a source as an acquisition: DICOM, or NIfTI, NRRD and MetaImage as far as they hold one grey volume."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mflib.base.errors import FileError
from mflib.data import stored
from mflib.data.intake import burnt_in, dicom, elements
from mflib.data.intake.geometry import Acquisition, Spacing, in_words, refuse_implausible, stated_above
from mflib.data.stored import GZIP, META, NIFTI, NOT_FINITE, NRRD, Layout

DICOM = "DICOM"
ARCHIVE = "an archive, expected volumes: unpack it first"
PICTURE = "a picture, expected a volume"
FILM = "a film, expected a volume"
OTHERS = [
    (0, GZIP, ARCHIVE), (0, b"PK\x03\x04", ARCHIVE), (0, b"PK\x05\x06", ARCHIVE), (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"Rar!", ARCHIVE), (0, b"BZh", ARCHIVE), (0, b"\xfd7zXZ", ARCHIVE), (0, b"\x28\xb5\x2f\xfd", ARCHIVE),
    (257, b"ustar", ARCHIVE), (0, b"\xff\xd8\xff", PICTURE), (0, b"\x89PNG", PICTURE), (0, b"GIF8", PICTURE),
    (0, b"BM", PICTURE), (0, b"II*\0", PICTURE), (0, b"MM\0*", PICTURE), (4, b"ftyp", FILM), (8, b"AVI ", FILM),
    (0, b"KRETZFILE", "a volume that only GE's software reads, expected Cartesian DICOM: export it as that"),
    (0, b"%PDF", "a document, expected a volume"),
]  # fmt: skip
META_FIELD = re.compile(rb"^\s*(ObjectType|NDims)\s*[=:]", re.MULTILINE)


def identify(path: Path) -> str:
    """The kind of a file that can hold a volume: ``DICOM``, or ``NIFTI``, ``NRRD`` or ``META`` of ``stored``.

    Raises
    ------
    FileError
        The file is something else, says what.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise FileError("an empty file")
    if stored.is_nifti(path):
        return NIFTI
    if start.startswith(b"NRRD0"):
        return NRRD
    if elements.is_dicom(path):
        return DICOM
    for offset, mark, words in OTHERS:
        if start[offset : offset + len(mark)] == mark:
            raise FileError(words)
    if META_FIELD.search(start):
        return META
    raise FileError("no kind of file that can be imported: expected DICOM, NIfTI, NRRD or MetaImage")


STATE = "state it in the map's spacing columns, or with --spacing where it holds for every file that lacks it"


def acquire(path: Path, *, stated: Spacing | None = None, otherwise: Spacing | None = None) -> Acquisition:
    """Read one file; an acquisition without a spacing is for whoever asks what is missing.

    Parameters
    ----------
    stated : voxel size along i, j, k in mm that stands above the file's
    otherwise : voxel size for a file that states none

    Raises
    ------
    FileError
        The file cannot be imported; says why.
    """
    try:
        kind = identify(path)
        read = dicom.read if kind == DICOM else partial(_image, kind)
        try:
            found = read(path, stated)
        except FileError:
            if stated or not otherwise:
                raise
            return read(path, otherwise)
        return found if found.spacing_mm or not otherwise else read(path, otherwise)
    except OSError as error:
        raise FileError(f"a file that cannot be read ({error.strerror})") from error
    except MemoryError as error:
        raise FileError("more voxels than fit into this machine's memory, expected fewer") from error


def spaced(acquisition: Acquisition) -> Spacing:
    """The voxel size in mm.

    Raises
    ------
    FileError
        The file states none; says which part is missing.
    """
    if acquisition.spacing_mm:
        return acquisition.spacing_mm
    if acquisition.in_plane_mm:
        raise FileError(f"no distance between frames, only {in_words(acquisition.in_plane_mm)} within them: {STATE}")
    raise FileError(f"no spacing (1, 1, 1 is how a missing one reads): {STATE}")


MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}


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
    """Where the axes of an ultrasound picture run, in PLUS's letters; empty where the header does not know.

    The second is that of the rows: F where they run away from the probe (far), N where towards it (near).
    """
    letters = found.get("ultrasoundimageorientation", "").upper()
    return "" if letters.startswith("XX") else letters


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
    FileError
        The channels differ, there are not three, or their numbers are no grey levels.
    """
    if voxels.shape[-1] != 3:
        raise FileError(f"{voxels.shape[-1]} values in each voxel, expected grey, or red, green and blue")
    grey, coloured = elements.grey_of_colour(to_grey(voxels))
    if coloured is not None:
        elements.refuse_colour(list(coloured.T), grey.size)
    return grey


def to_grey(voxels: NDArray[Any]) -> NDArray[np.uint8]:
    """The same numbers as uint8.

    Raises
    ------
    FileError
        They are not whole numbers from 0 to 255, or as few as in a mask.
    """
    if np.iscomplexobj(voxels):
        raise FileError("complex numbers as radio-frequency data have, expected grey levels 0 to 255")
    if not np.isfinite(voxels).all():
        raise FileError(NOT_FINITE)
    low, high = voxels.min(), voxels.max()
    if low < 0 or high > 255:
        found = f"values from {low:g} to {high:g} ({voxels.dtype})"
        raise FileError(f"{found}, expected grey levels 0 to 255: export the B-mode picture with 8 bits")
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
SHEARED = "with a sheared orientation matrix, expected axes at right angles: resample it (3D Slicer, Resample Image)"
UNREADABLE = "that cannot be read: damaged, cut short or unusual"
TURNED = "the file says that its rows run towards the probe: they were turned, so that depth grows downwards"
AXES = "the file does not name its axes: the first was taken as lateral, the second as depth, the third as elevation"


def _image(kind: str, path: Path, stated: Spacing | None) -> Acquisition:
    """One volume as its file stores it; the direction matrix is not applied."""
    layout = stored.examine(path, kind)
    found = layout.fields
    # Frames of a tracked probe, each with its own pose, and no volume.
    sweep = any(re.match(r"seq_frame\d+_|customframetransform", name) for name in found)
    refuse_meaning(found, sweep)
    if sweep and stated is None:
        raise FileError(RECONSTRUCT)
    if layout.spacing_fault and not sweep and stated is None:
        raise FileError(f"{layout.spacing_fault}, expected one size along each axis: state it if the file is wrong")
    image = _read(path, kind, layout)
    voxels = to_grey(_three_axes(image, sweep))
    mask, masked = burnt_in.mask_text(voxels.T)
    voxels.T[:, mask] = 0
    axes = orientation(found)
    notices = [] if axes else [AXES]
    if axes[1:2] == "N":
        voxels, notices = voxels[:, ::-1], [TURNED]
    own = None if sweep else _spacing(image)
    if sweep:
        notices.append(f"{SWEEP}: their poses were not used, the stated spacing was")
        lost = {name.split("_")[1] for name, value in found.items() if value == "INVALID" and name.startswith("seq_")}
        notices += [f"marked INVALID, and perhaps out of place: {len(lost)} of its frames"] if lost else []
    if stated:
        notices += stated_above(own, stated, f"{kind} header")
    else:
        refuse_implausible(own or ())
        notices += [] if _names_unit(image, kind, found) else ["the file names no unit of length: mm was taken"]
    source = "stated by the user" if stated else f"{kind} header"
    return Acquisition(voxels, stated or own, None, source, {"SourceFormat": kind}, (*notices, *masked))


def _read(path: Path, kind: str, layout: Layout) -> sitk.Image:
    """The file as ITK reads it, once it is known to be whole and of a size that fits."""
    with tempfile.TemporaryDirectory() as folder:
        # ITK goes by the name's end, and repeats the name in what it prints.
        suffix = {META: ".mha", NRRD: ".nrrd", NIFTI: ".nii.gz" if layout.packed else ".nii"}[kind]
        link = Path(folder) / f"volume{suffix}"
        link.symlink_to(path.resolve())
        reader = sitk.ImageFileReader()
        reader.SetFileName(os.fspath(link))
        reader.SetImageIO(stored.READERS[kind])
        try:
            reader.ReadImageInformation()
            stored.voxels(path, layout, layout.declared or _declared_bytes(reader))
            return reader.Execute()
        except RuntimeError as error:
            raise FileError(f"a {kind} file {SHEARED if 'orthonormal' in str(error) else UNREADABLE}") from error


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
    if (times := math.prod(size[3:])) > 1:
        raise FileError(f"{times} time points, expected one volume")
    if len(size) < 3 or min(size[:3]) < 2:
        raise FileError(f"{' x '.join(map(str, size))} voxels, expected three axes of at least 2")
    voxels = voxels.reshape(*size[:3], *([parts] if parts > 1 else []))
    return from_channels(voxels) if parts > 1 else voxels


def _spacing(image: sitk.Image) -> Spacing | None:
    """Voxel size in mm; None where the header leaves it at 1, 1, 1, as a missing one reads."""
    i, j, k = (float(round(step, 6)) for step in image.GetSpacing()[:3])
    return None if (i, j, k) == (1, 1, 1) else (i, j, k)


def _names_unit(image: sitk.Image, kind: str, found: Mapping[str, str]) -> bool:
    """Whether the unit of length is known; MetaImage is in mm by definition, the others say so or not."""
    if kind == NIFTI:
        return int(image.GetMetaData("xyzt_units")) & 7 != 0
    return kind == META or bool(units(found))
