"""One ultrasound volume: voxels, spacing, sidecar, and its readers and writers.

Voxel axes are i = lateral, j = depth, k = elevation, exactly as the file stores them: the direction matrix of the
header is not applied, because reference points and ROI are given in stored voxel indices.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mflib.base import files
from mflib.base.encodings import read_json
from mflib.base.errors import FileError, InputError
from mflib.data import stored
from mflib.data.stored import META, NIFTI, NRRD, PLAUSIBLE, SHEARED, Layout, implausible

KINDS = {".nii.gz": NIFTI, ".nii": NIFTI, ".nrrd": NRRD, ".mha": META}
LINKS = {META: "volume.mha", NRRD: "volume.nrrd", NIFTI: "volume.nii"}
FORMATS = tuple(KINDS)
GREY = "8-bit unsigned integer"
# Two threads that read headers at once have ended the process: "double free or corruption".
ITK = threading.Lock()
UNREADABLE = "that cannot be read: damaged, cut short or unusual"
Index = tuple[int, int, int]


@dataclass(frozen=True)
class Header:
    """What a volume file and its sidecar say before any voxel is read."""

    shape: tuple[int, ...]
    dtype: str
    components: int
    spacing_mm: tuple[float, ...]
    layout: Layout
    sidecar: Mapping[str, Any]

    @property
    def problems(self) -> Iterator[tuple[str, str]]:
        """What keeps the volume from being used, as (found, expected)."""
        if len(self.shape) != 3 or min(self.shape) < 2:
            yield f"size {' x '.join(map(str, self.shape))}", "three axes of at least 2 voxels"
        if not self.grey:
            yield f"voxels of {self.components} x {self.dtype}", f"1 x {GREY} (uint8 grey)"
        # Marks are given in stored voxels, so nothing may be turned here.
        if self.layout.orientation[1:2] == "N":
            yield "rows that run towards the probe", "depth that grows along them: mflib import turns them"
        # What the sidecar states was checked when it was read.
        if self.sidecar.get("VoxelSpacing"):
            return
        if doubt := self.layout.doubt(self.spacing_mm):
            yield doubt[0], f"{doubt[1]}, or VoxelSpacing in the sidecar"
        elif set(self.spacing_mm) == {1.0}:
            expected = "voxel size in mm in the file, or VoxelSpacing in the sidecar"
            yield "spacing 1, 1, 1 (how a missing one reads)", expected

    @property
    def grey(self) -> bool:
        """Whether each byte is the grey level of one voxel."""
        return self.components == 1 and self.dtype == GREY


@dataclass(frozen=True)
class Annotation:
    """Reference points and region of interest of one volume, in 0-based voxels (i, j, k).

    Parameters
    ----------
    bone : voxel on the spinous process (bright reference)
    shadow : voxel in the acoustic shadow below it (dark reference)
    roi_start, roi_size : first voxel and extent of the region of interest
    """

    bone: Index
    shadow: Index
    roi_start: Index
    roi_size: Index

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Annotation:
        """The annotation in a row of ``refpoints_roi.tsv``."""

        def index(prefix: str, axes: str = "ijk") -> Index:
            i, j, k = (int(row[prefix + axis]) for axis in axes)
            return i, j, k

        return cls(index("bone_"), index("shadow_"), index("roi_"), index("roi_n"))

    @property
    def roi(self) -> tuple[slice, slice, slice]:
        """The region of interest as slices of the voxel array."""
        i, j, k = (slice(start, start + size) for start, size in zip(self.roi_start, self.roi_size, strict=True))
        return i, j, k

    @property
    def boxes(self) -> dict[str, tuple[Index, Index]]:
        """First voxel and extent of each mark."""
        one = (1, 1, 1)
        return {"bone": (self.bone, one), "shadow": (self.shadow, one), "roi": (self.roi_start, self.roi_size)}

    def outside(self, shape: tuple[int, ...]) -> list[tuple[str, int]]:
        """Marks that leave a volume of this shape, or hold nothing, each with the axis along which it does."""
        return [
            (name, axis)
            for name, (first, size) in self.boxes.items()
            for axis, (at, extent, n) in enumerate(zip(first, size, shape, strict=True))
            if not 0 <= at < at + extent <= n
        ]

    def check_inside(self, shape: tuple[int, ...]) -> None:
        """Refuse a reference point or a region of interest that leaves a volume of this shape, or a region of nothing.

        Raises
        ------
        InputError
            With the point or the span that was found.
        """
        if left := self.outside(shape):
            name = left[0][0]
            first, size = self.boxes[name]
            end = tuple(at + extent for at, extent in zip(first, size, strict=True))
            found = f"ROI spans {first} to {end}" if name == "roi" else f"{name} is at {first}"
            raise InputError(f"{found}, expected inside a volume of {shape}")


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3D B-mode volume.

    Parameters
    ----------
    voxels : (ni, nj, nk) uint8 grey levels; i lateral, j depth, k elevation
    spacing_mm : voxel size along i, j, k in mm
    sidecar : the JSON sidecar's fields
    """

    voxels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    sidecar: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dynamic_range_db(self) -> float | None:
        """Dynamic range of the log compression in dB as the sidecar says, None where it does not."""
        return self.stated("DynamicRangeDB")

    def stated(self, field: str, otherwise: float | None = None) -> float | None:
        """The finite number that the sidecar states in a field, ``otherwise`` where it has none, or something else."""
        value = self.sidecar.get(field)
        return float(value) if _is_number(value) and abs(value) <= sys.float_info.max else otherwise

    def patch(self, centre: Index, radius_mm: float) -> NDArray[np.uint8]:
        """Voxels of the box of half width ``radius_mm`` around ``centre``, clipped at the volume's border."""
        reach = [max(1, round(radius_mm / step)) for step in self.spacing_mm]
        return self.voxels[tuple(slice(max(0, c - r), c + r + 1) for c, r in zip(centre, reach, strict=True))]


def find_sidecar(path: Path) -> Path:
    """Path of the JSON sidecar that belongs to a volume file, whether it exists or not."""
    return path.with_name(stem(path) + ".json")


def stem(path: Path) -> str:
    """File name without its volume format (``.nii.gz`` counts as one)."""
    return path.name[: -len(_suffix(path))]


def _suffix(path: Path) -> str:
    if suffix := next(filter(path.name.lower().endswith, FORMATS), None):
        return suffix
    raise FileError(f"{path.name}: not a volume format; expected one of {', '.join(FORMATS)}")


def _read_sidecar(path: Path) -> dict[str, Any]:
    """The JSON sidecar of the volume file at ``path``, sound in the fields that change numbers; empty without one."""
    sidecar = find_sidecar(path)
    if not sidecar.exists():
        return {}
    with _named(sidecar):
        content = read_json(sidecar)
        range_db, spacing = content.get("DynamicRangeDB"), content.get("VoxelSpacing")
        if range_db is not None and not (_is_number(range_db) and 10 <= range_db <= 200):
            raise FileError(f"DynamicRangeDB is {range_db!r}, expected a number from 10 to 200 dB")
        three = isinstance(spacing, list) and len(spacing) == 3 and all(map(_is_number, spacing))
        if spacing is not None and (not three or implausible(spacing)):
            raise FileError(f"VoxelSpacing is {spacing!r}, expected three numbers from {PLAUSIBLE}")
    return content


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_header(path: Path) -> Header:
    """Shape, type and spacing of a volume file, without reading its voxels.

    A ``VoxelSpacing`` in the sidecar (three numbers, mm) stands above the file's own spacing.

    Raises
    ------
    FileError
        The file cannot be read, its voxels lie in another file, or its sidecar's ``VoxelSpacing`` is not three
        positive numbers.
    """
    kind, sidecar = KINDS[_suffix(path)], _read_sidecar(path)
    with _named(path):
        layout = stored.examine(path, kind)
        # ITK goes by the name's end, and takes no packed file by a name that does not say so.
        misnamed = kind == NIFTI and layout.packed and not path.name.lower().endswith(".gz")
        with opened(path, kind, layout, by_link=misnamed) as reader:
            return header_of(reader, layout, sidecar)


@contextmanager
def opened(path: Path, kind: str, layout: Layout, *, by_link: bool = True) -> Iterator[sitk.ImageFileReader]:
    """SimpleITK's reader of a file that was examined, which knows its header.

    Parameters
    ----------
    by_link : read it by a neutral name that says what it is, which ITK may repeat in what it prints

    Raises
    ------
    FileError
        ITK cannot read it; says nothing of its name.
    """
    with ITK, tempfile.TemporaryDirectory() if by_link else nullcontext("") as folder:
        name = path
        if by_link:
            name = Path(folder, LINKS[kind] + (".gz" if kind == NIFTI and layout.packed else ""))
            name.symlink_to(path.resolve())
        reader = sitk.ImageFileReader()
        reader.SetFileName(os.fspath(name))
        reader.SetImageIO(stored.READERS[kind])
        try:
            reader.ReadImageInformation()
            yield reader
        except RuntimeError as error:
            raise FileError(f"a {kind} file {SHEARED if 'orthonormal' in str(error) else UNREADABLE}") from error


def header_of(reader: sitk.ImageFileReader, layout: Layout, sidecar: Mapping[str, Any]) -> Header:
    """What SimpleITK knows of a file, and its sidecar, whose ``VoxelSpacing`` stands above the file's."""
    plain, sizes = layout.numbers == np.uint8 and not layout.scaled, reader.GetSize()
    # Axes of one step behind the third are none.
    axes = max([3, *(axis for axis, size in enumerate(sizes, 1) if size != 1)])
    return Header(
        shape=tuple(sizes[:axes]),
        dtype=GREY if plain else sitk.GetPixelIDValueAsString(reader.GetPixelID()).removeprefix("vector of "),
        components=reader.GetNumberOfComponents(),
        spacing_mm=tuple(map(float, sidecar.get("VoxelSpacing") or layout.spacing_mm(reader.GetSpacing()[:axes]))),
        layout=layout,
        sidecar=sidecar,
    )


def read(path: Path, header: Header | None = None) -> Volume:
    """Read one NIfTI, NRRD or MHA volume with its sidecar.

    Parameters
    ----------
    header : of this file, where somebody has read it already

    Returns
    -------
    Volume
        Voxels (ni, nj, nk) uint8 in the file's own index order.

    Raises
    ------
    FileError
        Unreadable, truncated or too large file, voxels in another file, not 3D, not 8-bit grey, or without spacing.
    """
    header = header or read_header(path)
    if problems := [f"{found}, expected {expected}" for found, expected in header.problems]:
        raise FileError(f"{path.name}: found " + "; ".join(problems))
    with _named(path):
        content = bytearray(stored.voxels(path, header.layout, math.prod(header.shape)))
    # One byte is one voxel, so what was found whole is what is used, and nothing is unpacked twice.
    voxels = np.frombuffer(content, np.uint8).reshape(header.shape, order="F")
    i, j, k = header.spacing_mm
    return Volume(voxels, (i, j, k), header.sidecar)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        files.check_names(path.absolute())
        yield
    except FileError as error:
        raise FileError(f"{path.name}: {error}") from error
    except OSError as error:
        raise FileError(f"{path.name}: cannot be read ({error.strerror})") from error


def write(volume: Volume, path: Path) -> None:
    """Write a volume and, where it has one, its sidecar; the format follows the file name.

    Both files appear whole or not at all.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.voxels.T))
    image.SetSpacing([float(s) for s in volume.spacing_mm])
    # ITK counts left and posterior as positive, NIfTI right and anterior: this direction makes the affine diagonal.
    image.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as partial:
        sitk.WriteImage(image, os.fspath(partial), True, 1)
    if volume.sidecar:
        files.write_text(find_sidecar(path), json.dumps(dict(volume.sidecar), indent=2) + "\n")
