"""Any file of a source as an acquisition: DICOM, or NIfTI, NRRD and MetaImage as far as they hold one grey volume."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mflib.base.errors import FileError
from mflib.data import stored
from mflib.data import volume as volumes
from mflib.data.intake import burnt_in, dicom, elements
from mflib.data.intake.geometry import Acquisition, Spacing, in_words, stated_above, unbelievable
from mflib.data.stored import GZIP, META, NIFTI, NOT_FINITE, NRRD, Layout
from mflib.data.volume import Header

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
    otherwise : voxel size for a file that states none, or none that is believed

    Raises
    ------
    FileError
        The file cannot be imported whatever its spacing; says why.
    """
    try:
        kind = identify(path)
        found = dicom.read(path) if kind == DICOM else _image(path, kind)
    except OSError as error:
        raise FileError(f"a file that cannot be read ({error.strerror})") from error
    except MemoryError as error:
        raise FileError("more voxels than fit into this machine's memory, expected fewer") from error
    if not (chosen := stated or (None if found.spacing_mm and not found.doubts else otherwise)):
        return found
    above = stated_above(found.spacing_mm or found.in_plane_mm, chosen, found.spacing_source)
    notices = (*(notice for notice in found.notices if notice != NO_UNIT), *above)
    return replace(found, spacing_mm=chosen, spacing_source="stated by the user", notices=notices, doubts=())


def spaced(acquisition: Acquisition) -> Spacing:
    """The voxel size in mm.

    Raises
    ------
    FileError
        The file states none that is believed; says which part is missing or why.
    """
    if acquisition.doubts:
        raise acquisition.doubts[0]
    if acquisition.spacing_mm:
        return acquisition.spacing_mm
    if acquisition.in_plane_mm:
        raise FileError(f"no distance between frames, only {in_words(acquisition.in_plane_mm)} within them: {STATE}")
    raise FileError(f"no spacing (1, 1, 1 is how a missing one reads): {STATE}")


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
        They are not whole numbers from 0 to 255.
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
    return grey


TURNED = "the file says that its rows run towards the probe: they were turned, so that depth grows downwards"
NO_UNIT = "the file names no unit of length: mm was taken"
AXES = "the file does not name its axes: the first was taken as lateral, the second as depth, the third as elevation"


def _image(path: Path, kind: str) -> Acquisition:
    """One volume as its file stores it; the direction matrix is not applied."""
    layout = stored.examine(path, kind)
    header, numbers = _read(path, kind, layout)
    voxels = to_grey(_three_axes(numbers, header, layout.sweep))
    mask, masked = burnt_in.mask_text(voxels.T)
    voxels.T[:, mask] = 0
    notices = [] if layout.orientation else [AXES]
    if layout.orientation[1:2] == "N":
        voxels, notices = voxels[:, ::-1], [TURNED]
    spacing = None if layout.sweep else _spacing(header)
    if layout.sweep:
        notices.append(f"{stored.SWEEP}: their poses were not used, the stated spacing was")
        states = (
            name.split("_")[1] for name, value in layout.fields.items() if value == "INVALID" and "_frame" in name
        )
        notices += [f"marked INVALID, and perhaps out of place: {n} of its frames"] if (n := len(set(states))) else []
    notices += [] if layout.unit or kind == META else [NO_UNIT]
    technical, doubts = {"SourceFormat": kind}, unbelievable(layout.doubt(spacing or ()))
    return Acquisition(voxels, spacing, None, f"{kind} header", technical, (*notices, *masked), doubts)


def _read(path: Path, kind: str, layout: Layout) -> tuple[Header, NDArray[Any]]:
    """Header and numbers (ni, nj, ..., parts) of a file, once it is known to be whole and of a size that fits."""
    with volumes.opened(path, kind, layout) as reader:
        header = volumes.header_of(reader, layout, {})
        content = stored.voxels(path, layout, layout.declared or _declared_bytes(reader))
        numbers, parts = layout.numbers or np.dtype(np.uint8), header.components
        if parts == math.prod(numbers.shape) and (header.grey or (layout.numbers and not layout.scaled)):
            # ITK would add an intercept without a slope, and takes no size of 0 along an axis.
            listed = np.frombuffer(content, numbers.base).reshape(*numbers.shape, *header.shape, order="F")
            return header, np.moveaxis(listed, 0, -1) if numbers.shape else listed
        listed, axes = sitk.GetArrayFromImage(reader.Execute()), reader.GetDimension()
    return header, listed.transpose(*reversed(range(axes)), *range(axes, listed.ndim))


def _declared_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of the voxels that the header declares, before any is unpacked."""
    size = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), 1)
    return math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * size.GetSizeOfPixelComponent()


def _three_axes(voxels: NDArray[Any], header: Header, sweep: bool) -> NDArray[Any]:
    """Voxels (ni, nj, nk) of an image with three axes, equal colour channels, or axes of one step behind."""
    size, parts = header.shape, header.components
    if sweep and parts > 1 and math.prod(size[2:]) == 1:
        # NRRD calls the frames of a sweep a list, and ITK takes a list for the parts of a pixel.
        return voxels.reshape(*size[:2], parts)
    if (times := math.prod(size[3:])) > 1:
        raise FileError(f"{times} time points, expected one volume")
    if len(size) < 3 or min(size[:3]) < 2:
        raise FileError(f"{' x '.join(map(str, size))} voxels, expected three axes of at least 2")
    voxels = voxels.reshape(*size[:3], *([parts] if parts > 1 else []))
    return from_channels(voxels) if parts > 1 else voxels


def _spacing(header: Header) -> Spacing | None:
    """Voxel size in mm; None where the header leaves it at 1, 1, 1, as a missing one reads."""
    i, j, k = header.spacing_mm[:3]
    return None if (i, j, k) == (1, 1, 1) else (i, j, k)
