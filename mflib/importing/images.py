"""NIfTI, NRRD and MetaImage files of any make, as far as they hold one grey volume."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mflib import stored
from mflib.dicom import Acquisition, DicomError, masking
from mflib.dicom.reading import PLAUSIBLE_MM, Spacing
from mflib.importing import headers
from mflib.importing.errors import Refusal
from mflib.importing.grey import from_channels, to_grey
from mflib.stored import META, NIFTI, NRRD, Layout, StoredError

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
    except (StoredError, DicomError) as error:
        raise Refusal(str(error)) from error


def _read(path: Path, kind: str, stated: Spacing | None) -> Acquisition:
    layout = stored.examine(path, kind)
    found = layout.fields
    sweep = headers.is_sweep(found)
    headers.refuse_meaning(found, sweep)
    if sweep and stated is None:
        raise Refusal(RECONSTRUCT)
    if layout.spacing_fault and not sweep and stated is None:
        raise Refusal(f"{layout.spacing_fault}, expected one size along each axis: state it if the file is wrong")
    image = _image(path, kind, layout)
    voxels = to_grey(_three_axes(image, sweep))
    mask, masked = masking.find(voxels.T)
    voxels.T[:, mask] = 0
    turned = headers.is_upside_down(found)
    voxels = voxels[:, ::-1] if turned else voxels
    own = None if sweep else _spacing(image)
    if stated is None and own is not None:
        _refuse_implausible(own)
    notices = [TURNED] if turned else [] if headers.orientation(found) else [AXES]
    if sweep:
        notices.append(f"{SWEEP}: their poses were not used, the stated spacing was")
        notices += headers.invalid_frames(found)
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
                raise Refusal(
                    f"a {kind} file with a sheared orientation matrix, expected axes at right angles: "
                    "resample it to such axes (3D Slicer, Resample Image), or export it without a matrix"
                ) from error
            raise Refusal(f"a {kind} file that cannot be read: damaged, cut short or unusual") from error


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
        raise Refusal(f"{math.prod(extra)} time points, expected one volume")
    if len(size) < 3 or min(size[:3]) < 2:
        raise Refusal(f"{' x '.join(map(str, size))} voxels, expected three axes of at least 2")
    voxels = voxels.reshape(*size[:3], *([parts] if parts > 1 else []))
    return from_channels(voxels) if parts > 1 else voxels


def _spacing(image: sitk.Image) -> Spacing | None:
    """Voxel size in mm; None where the header leaves it at 1, 1, 1, as a missing one reads."""
    i, j, k = (float(round(step, 6)) for step in image.GetSpacing()[:3])
    return None if (i, j, k) == (1, 1, 1) else (i, j, k)


def _refuse_implausible(spacing: Spacing) -> None:
    low, high = PLAUSIBLE_MM
    if not all(low <= step <= high for step in spacing):
        raise Refusal(f"spacing {in_words(spacing)}, expected {low:g} to {high:g} mm: state it if the file is wrong")


def _names_unit(image: sitk.Image, kind: str, found: Mapping[str, str]) -> bool:
    """Whether the unit of length is known; MetaImage is in mm by definition, the others say so or not."""
    if kind == NIFTI:
        return int(image.GetMetaData("xyzt_units")) & 7 != 0
    return kind == META or bool(headers.units(found))
