"""One file of any kind as an acquisition with a spacing, or the reason why it is none."""

from __future__ import annotations

from pathlib import Path

from mflib import dicom
from mflib.dicom import Acquisition, DicomError
from mflib.dicom.reading import Spacing
from mflib.importing import images, kinds
from mflib.importing.errors import Refusal
from mflib.importing.images import in_words

STATE = "state it in the map's spacing columns, or with --spacing where it holds for every file that lacks it"


def acquire(path: Path, *, stated: Spacing | None = None, otherwise: Spacing | None = None) -> Acquisition:
    """Read one file; an acquisition without a spacing is for whoever asks what is missing.

    Parameters
    ----------
    stated : voxel size along i, j, k in mm that stands above the file's
    otherwise : voxel size for a file that states none

    Raises
    ------
    Refusal
        The file cannot be imported; says why.
    """
    try:
        kind = kinds.identify(path)
        if stated or not otherwise:
            return _read(path, kind, stated)
        try:
            acquisition = _read(path, kind, None)
        except Refusal:
            return _read(path, kind, otherwise)
        return acquisition if acquisition.spacing_mm else _read(path, kind, otherwise)
    except OSError as error:
        raise Refusal(f"a file that cannot be read ({error.strerror})") from error
    except MemoryError as error:
        raise Refusal("more voxels than fit into this machine's memory, expected fewer") from error


def _read(path: Path, kind: str, stated: Spacing | None) -> Acquisition:
    if kind != kinds.DICOM:
        return images.read(path, kind, stated)
    try:
        return dicom.read(path, spacing_mm=stated)
    except DicomError as error:
        raise Refusal(str(error)) from error


def spaced(acquisition: Acquisition) -> Spacing:
    """The voxel size in mm.

    Raises
    ------
    Refusal
        The file states none; says which part is missing.
    """
    if acquisition.spacing_mm:
        return acquisition.spacing_mm
    if acquisition.in_plane_mm:
        known = in_words(acquisition.in_plane_mm)
        raise Refusal(f"no distance between frames, only {known} within them: {STATE}")
    raise Refusal(f"no spacing (1, 1, 1 is how a missing one reads): {STATE}")
