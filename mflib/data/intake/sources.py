"""The files of a source folder: what each is, and one of any kind as an acquisition."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath

from mflib.base.errors import CohortError, FileError
from mflib.data.intake import dicom, elements, images
from mflib.data.intake.dicom import Spacing
from mflib.data.intake.geometry import Acquisition
from mflib.data.intake.images import in_words
from mflib.data.stored import GZIP, META, NIFTI, NRRD, is_nifti

SHOWN = 50
LEAVES = "a link that leaves SOURCE, expected the file itself"


def root(source: Path) -> Path:
    """The folder that a map's paths start from: SOURCE, or the folder of the one file.

    Raises
    ------
    CohortError
        There is no such folder or file.
    """
    if source.is_dir():
        return source
    if source.is_file():
        return source.parent
    raise CohortError("SOURCE: found no such folder or file, expected where the scanner's files are")


def files(source: Path) -> list[Path]:
    """Every file of a source but hidden ones, directories of a DICOM medium, and halves that a kill left behind."""
    if source.is_file():
        return [source]
    start = root(source)
    return sorted(path for path in start.rglob("*") if path.is_file() and not _passed_over(path.relative_to(start)))


def _passed_over(relative: Path) -> bool:
    name = relative.name
    return name.upper() == "DICOMDIR" or name.startswith("partial-") or any(p.startswith(".") for p in relative.parts)


def locate(start: Path, cell: str) -> Path:
    """The file below ``start`` that a cell of a map means.

    Raises
    ------
    Refusal
        The path is absolute, climbs, leaves ``start`` by a link, runs into an archive, or is no file.
    """
    written = PureWindowsPath(cell)  # knows / and \, drives and shares
    if written.drive or written.root or "\0" in cell:
        raise FileError("an absolute path, expected one that starts from SOURCE")
    if ".." in written.parts:
        raise FileError("a path with .., expected one below SOURCE")
    path = start.joinpath(*written.parts)
    try:
        if any(parent.is_file() for parent in path.parents):
            raise FileError("a path into a file, expected a file: unpack an archive first")
        found = path.is_file()
    except OSError as error:  # too long, or a folder that may not be looked into
        raise FileError(f"a path that cannot be followed ({error.strerror})") from error
    if not found:
        raise FileError("no such file")
    refuse_outside(start, path)
    return path


def refuse_outside(start: Path, path: Path) -> None:
    """Refuse a file that only a link brings below ``start``."""
    if not path.resolve().is_relative_to(start.resolve()):
        raise FileError(LEAVES)


def refuse_unnameable(start: Path, file: Path, cell: str) -> None:
    """Refuse a file that no cell of a map can mean, as a map knows neither control characters nor spaces at the ends.

    Raises
    ------
    Refusal
        ``cell`` would be refused, or mean another file.
    """
    try:
        meant = locate(start, cell.strip()) if cell.isprintable() and "\\" not in cell else None
    except FileError:
        meant = None
    if meant is None or not meant.samefile(file):
        raise FileError("a name that a table cannot hold: rename the file or its folder")


def identity(path: Path) -> tuple[int, int]:
    """What two names of one file have in common."""
    status = path.stat()
    return status.st_dev, status.st_ino


def refuse_nested(source: Path, cohort: Path) -> None:
    """Keep what names patients apart from what does not.

    Raises
    ------
    CohortError
        One of the two folders lies in the other.
    """
    inner, outer = source.resolve(), cohort.resolve()
    if inner.is_relative_to(outer) or (source.is_dir() and outer.is_relative_to(inner)):
        raise CohortError("SOURCE and COHORT: found one inside the other, expected COHORT in a place of its own")


DICOM = "DICOM"
ARCHIVE = "an archive, expected volumes: unpack it first"
PICTURE = "a picture, expected a volume"
FILM = "a film, expected a volume"
OTHERS = [
    (0, b"PK\x03\x04", ARCHIVE), (0, b"PK\x05\x06", ARCHIVE), (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
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
    Refusal
        The file is something else, says what.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise FileError("an empty file")
    try:
        if is_nifti(path):
            return NIFTI
    except FileError as error:
        raise FileError(str(error)) from error
    if start.startswith(GZIP):
        raise FileError(ARCHIVE)
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
    Refusal
        The file cannot be imported; says why.
    """
    try:
        kind = identify(path)
        if stated or not otherwise:
            return _read(path, kind, stated)
        try:
            acquisition = _read(path, kind, None)
        except FileError:
            return _read(path, kind, otherwise)
        return acquisition if acquisition.spacing_mm else _read(path, kind, otherwise)
    except OSError as error:
        raise FileError(f"a file that cannot be read ({error.strerror})") from error
    except MemoryError as error:
        raise FileError("more voxels than fit into this machine's memory, expected fewer") from error


def _read(path: Path, kind: str, stated: Spacing | None) -> Acquisition:
    if kind != DICOM:
        return images.read(path, kind, stated)
    try:
        return dicom.read(path, spacing_mm=stated)
    except FileError as error:
        raise FileError(str(error)) from error


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
        raise FileError(f"no distance between frames, only {known} within them: {STATE}")
    raise FileError(f"no spacing (1, 1, 1 is how a missing one reads): {STATE}")
