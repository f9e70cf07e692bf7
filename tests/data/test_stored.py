"""What a file stores is taken from that file alone, and whole, whoever reads it."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mflib.base.errors import FileError
from mflib.data import stored
from mflib.data import volume as volumes
from mflib.data.intake.acquisition import acquire, spaced
from mflib.data.volume import Volume
from tests.data.images import SWEEP, itk, metaimage
from tests.data.test_images import SPACING, TRICKS, nifti, nrrd
from tests.data.test_images import VOXELS as SPECKLE

VOXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 20), dtype=np.uint8)
SPEC = "ObjectType = Image\nNDims = 3\nDimSize = 40 30 20\nElementSpacing = 0.2 0.2 0.4\nElementType = MET_UCHAR\n"
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 40 30 20\nspacings: 0.2 0.2 0.4\n"


def written(path: Path) -> bytes:
    volumes.write(Volume(VOXELS, (0.2, 0.2, 0.4)), path)
    return path.read_bytes()


def refused(path: Path, content: bytes, reason: str) -> None:
    """The header alone is refused, and so is the volume."""
    path.write_bytes(content)
    for read in (volumes.read_header, volumes.read):
        with pytest.raises(FileError, match=f"^{path.name}: .*({reason})"):
            read(path)


@pytest.mark.parametrize("trick", TRICKS)
def test_a_metaimage_of_a_cohort_cannot_fetch_another_file(tmp_path: Path, trick: tuple[str, str]) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(VOXELS.tobytes())
    header = SPEC + trick[0].format(secret) + trick[1]
    refused(tmp_path / "v.mha", header.encode("latin-1") + bytes(VOXELS.size), "another file|does not end with")


def test_nor_can_an_nrrd_or_a_nifti(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "v.nii"))
    (tmp_path / "v.img").write_bytes(bytes(VOXELS.size))
    (tmp_path / "secret").write_bytes(VOXELS.tobytes())
    header = f"{NRRD}encoding: raw\ndata file: {tmp_path / 'secret'}\n\n"
    refused(tmp_path / "v.nrrd", header.encode() + bytes(VOXELS.size), "another file")
    content[344:348] = b"ni1\0"
    refused(tmp_path / "v.nii", bytes(content), "another file")
    refused(tmp_path / "v.nii.gz", gzip.compress(content), "another file")
    content[344:348] = bytes(4)  # Analyze, which keeps its voxels in v.img
    refused(tmp_path / "v.nii", bytes(content), "no NIfTI header")


def test_the_voxels_of_a_packed_nifti_are_its_own(tmp_path: Path) -> None:
    written(tmp_path / "v.nii.gz")
    volumes.write(Volume(255 - VOXELS, (0.2, 0.2, 0.4)), tmp_path / "v.nii")
    np.testing.assert_array_equal(volumes.read(tmp_path / "v.nii.gz").voxels, VOXELS)


@pytest.mark.parametrize("encoding", ["text", "TXT", "hex", "ascii"])
def test_voxels_written_as_text_are_refused(tmp_path: Path, encoding: str) -> None:
    refused(tmp_path / "v.nrrd", f"{NRRD}encoding: {encoding}\n\n{'1 ' * VOXELS.size}".encode(), "written as text")
    text = metaimage(tmp_path / "t.mha", VOXELS, fields={"BinaryData": "f"}).read_bytes()
    refused(tmp_path / "v.mha", text, "written as text")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_every_flipped_byte_of_packed_voxels_is_found(tmp_path: Path, suffix: str) -> None:
    content = written(tmp_path / f"v{suffix}")
    for place in range(700, len(content), 997):
        spoilt = bytearray(content)
        spoilt[place] ^= 255
        (tmp_path / f"v{suffix}").write_bytes(spoilt)
        with pytest.raises(FileError, match=f"^v{suffix}: "):
            volumes.read(tmp_path / f"v{suffix}")


def test_several_streams_and_zeros_behind_them_are_one_gzip(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    content = written(tmp_path / "v.nii")
    path.write_bytes(b"".join(gzip.compress(content[n : n + 5000]) for n in range(0, len(content), 5000)) + bytes(99))
    np.testing.assert_array_equal(volumes.read(path).voxels, VOXELS)
    path.write_bytes(path.read_bytes() + b"junk")
    with pytest.raises(FileError, match="damaged"):
        volumes.read(path)


@pytest.mark.parametrize("declared", [None, "0", "1000", "\x85"])
def test_a_packed_metaimage_without_its_true_size_is_refused(tmp_path: Path, declared: str | None) -> None:
    lines = metaimage(tmp_path / "v.mha", VOXELS, packed=True).read_bytes().split(b"\n")
    at = next(n for n, line in enumerate(lines) if line.startswith(b"CompressedDataSize"))
    # ITK takes such a file, and shows for voxels what memory holds. Latin-1's \x85 is a space to Python, not to ITK.
    spaced = lines[at].replace(b" =", b"\x85=")
    lines[at : at + 1] = {None: [], "\x85": [spaced]}.get(declared, [f"CompressedDataSize = {declared}".encode()])
    refused(tmp_path / "v.mha", b"\n".join(lines), "CompressedDataSize")


def test_bombs_and_huge_declarations_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(written(tmp_path / "v.nii")[:352] + bytes(2**27), 1))
    with pytest.raises(FileError, match="more bytes than its header declares"):
        volumes.read(path)
    huge = metaimage(tmp_path / "v.mha", VOXELS, fields={"DimSize": "99999 99999 999"})
    with pytest.raises(FileError, match=f"expected at most {stored.LARGEST_BYTES}"):
        volumes.read(huge)


def test_headers_that_would_end_or_hang_the_process_are_refused(tmp_path: Path) -> None:
    (tmp_path / "many.mha").write_text(SPEC.replace("NDims = 3", "NDims = 99999") + "ElementDataFile = LOCAL\n")
    (tmp_path / "less.mha").write_text(SPEC.replace("NDims = 3", "NDims = -1") + "ElementDataFile = LOCAL\n")
    (tmp_path / "long.nrrd").write_text(f"{NRRD}space: {'x' * 5000}\nencoding: raw\n\n")
    code = "import sys\nfrom pathlib import Path\nfrom mflib.data import volume\nvolume.read_header(Path(sys.argv[1]))"
    for name in ("many.mha", "less.mha", "long.nrrd"):
        call = [sys.executable, "-c", code, tmp_path / name]
        ended = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
        assert f"FileError: {name}: " in ended.stderr, name


def test_a_long_text_of_a_key_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "v.nrrd"
    path.write_bytes(f"{NRRD}encoding: raw\nnote:={'x' * 5000}\n# {'y' * 5000}\n\n".encode() + VOXELS.tobytes("F"))
    np.testing.assert_array_equal(volumes.read(path).voxels, VOXELS)


def test_a_size_that_would_be_invented_is_refused_unless_the_sidecar_states_it(tmp_path: Path) -> None:
    path = tmp_path / "v.nrrd"
    path.write_bytes(NRRD.replace("0.2 0.2 0.4", "0.2 0.2 nan").encode() + b"encoding: raw\n\n" + VOXELS.tobytes("F"))
    with pytest.raises(FileError, match=r"found voxel sizes of 0.2, 0.2, nan, expected .* VoxelSpacing in the side"):
        volumes.read(path)
    path.with_suffix(".json").write_text('{"VoxelSpacing": [0.2, 0.2, 0.4]}')
    assert volumes.read(path).spacing_mm == (0.2, 0.2, 0.4)


STEPS = "spacings: 0.2 0.25 0.4"
CM = "space directions: (0.02,0,0) (0,0.025,0) (0,0,0.04)"
ALIKE: dict[str, Callable[[Path], Path]] = {
    "cm": lambda p: nrrd(p / "v.nrrd", "space dimension: 3", CM, 'space units: "cm" "cm" "cm"'),
    "cm in one word": lambda p: nrrd(p / "v.nrrd", "spacedimension: 3", CM, 'spaceunits: "cm" "cm" "cm"'),
    "micrometres": lambda p: metaimage(p / "v.mha", SPECKLE, (200, 250, 400), fields={"DistanceUnits": "um"}),
    "metres": lambda p: nifti(
        p / "v.nii", SPECKLE, 2, pixdim=(76, "4f", (1, 2e-4, 2.5e-4, 4e-4)), unit=(123, "b", (1,))
    ),
    "towards the origin": lambda p: metaimage(p / "v.mha", SPECKLE, (0.2, 0.25, -0.4)),
    "slope 0": lambda p: nifti(p / "v.nii", SPECKLE, 2, scale=(112, "2f", (0, 5))),
    "a fourth axis of one": lambda p: itk(p / "v.mha", SPECKLE[..., None], (*SPACING, 1)),
    "a list of one": lambda p: raw(
        p / "v.nrrd",
        b"NRRD0005\ntype: uchar\ndimension: 4\nsizes: 1 40 32 12\nkinds: list domain domain domain\n"
        b"spacings: nan 0.2 0.25 0.4\nencoding: raw\n\n" + SPECKLE.tobytes("F"),
    ),
    "a time of one": lambda p: raw(
        p / "v.nrrd",
        b'NRRD0005\ntype: uchar\ndimension: 4\nsizes: 40 32 12 1\nunits: "mm" "mm" "mm" "s"\n'
        b"spacings: 0.2 0.25 0.4 1\nencoding: raw\n\n" + SPECKLE.tobytes("F"),
    ),
    "planes called a list": lambda p: metaimage(p / "v.mha", SPECKLE, fields={"Kinds": "domain domain list"}),
    "slope nan": lambda p: nifti(p / "v.nii", SPECKLE, 2, scale=(112, "2f", (np.nan, 5))),
    "gzip by another name": lambda p: raw(p / "v.nii", gzip.compress(nifti(p / "w.nii", SPECKLE, 2).read_bytes())),
}


def raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("case", ALIKE)
def test_a_header_means_the_same_to_the_import_and_in_a_cohort(tmp_path: Path, case: str) -> None:
    path = ALIKE[case](tmp_path)
    imported, found = acquire(path), volumes.read(path)
    for voxels, spacing in ((imported.voxels, spaced(imported)), (found.voxels, found.spacing_mm)):
        np.testing.assert_array_equal(voxels, SPECKLE)
        np.testing.assert_allclose(spacing, SPACING, rtol=1e-4)


def rgb(path: Path, scale: tuple[float, float]) -> Path:
    """Equal channels, pixel by pixel, as NIfTI stores colours."""
    nifti(path, SPECKLE, 128, scale=(112, "2f", scale), bitpix=(72, "h", (24,)))
    return raw(path, path.read_bytes()[:352] + SPECKLE.ravel("F").repeat(3).tobytes())


@pytest.mark.parametrize("scale", [(0, 3), (1, 0)])
def test_colours_are_scaled_no_more_than_grey_is(tmp_path: Path, scale: tuple[float, float]) -> None:
    np.testing.assert_array_equal(acquire(rgb(tmp_path / "v.nii", scale)).voxels, SPECKLE)


MORE: dict[str, Callable[[Path, bytes], Path]] = {
    "nii": lambda p, more: raw(p / "v.nii", nifti(p / "v.nii", SPECKLE, 2).read_bytes() + more),
    "nii.gz": lambda p, more: raw(p / "v.nii.gz", gzip.compress(nifti(p / "v", SPECKLE, 2).read_bytes() + more)),
    "nrrd": lambda p, more: raw(p / "v.nrrd", nrrd(p / "v.nrrd", STEPS).read_bytes() + more),
    "nrrd.gz": lambda p, more: raw(
        p / "v.nrrd",
        nrrd(p / "v.nrrd", STEPS).read_bytes()[: -SPECKLE.size].replace(b"raw", b"gzip")
        + gzip.compress(SPECKLE.tobytes("F") + more),
    ),
    "mha": lambda p, more: raw(p / "v.mha", metaimage(p / "v.mha", SPECKLE).read_bytes() + more),
}


@pytest.mark.parametrize("case", MORE)
def test_more_voxels_than_declared_are_refused_and_a_few_zeros_are_not(tmp_path: Path, case: str) -> None:
    for more in (b"", b"\n", bytes(100)):
        path = MORE[case](tmp_path, more)
        for voxels in (acquire(path).voxels, volumes.read(path).voxels):
            np.testing.assert_array_equal(voxels, SPECKLE)
    for more in (SPECKLE.tobytes(), bytes(SPECKLE.size), bytes(8) + b"\7"):
        path = MORE[case](tmp_path, more)
        for read in (acquire, volumes.read):
            with pytest.raises(FileError, match=f"found {SPECKLE.size + len(more)} bytes .* expected {SPECKLE.size}"):
                read(path)


def sheared(path: Path) -> Path:
    return metaimage(path, SPECKLE, fields={"TransformMatrix": "1 0 0 0.1 0.995 0 0 0 1"})


NO_VOLUME: dict[str, tuple[Callable[[Path], Path], str]] = {
    "segments": (lambda p: nrrd(p / "v.nrrd", STEPS, "Segment0_ID:=one"), "a segmentation"),
    "labels": (lambda p: nifti(p / "v.nii", SPECKLE, 2, intent=(68, "h", (1002,))), "a segmentation"),
    "time": (lambda p: nrrd(p / "v.nrrd", STEPS, "kinds: domain domain time"), "12 entries of a list or film"),
    "seconds": (lambda p: nrrd(p / "v.nrrd", "spacings: .2 .2 .04", 'units: "mm" "mm" "s"'), "12 entries of a list or"),
    "Hz": (lambda p: nrrd(p / "v.nrrd", "space dimension: 3", CM, 'space units: "mm" "mm" "Hz"'), "12 entries of a"),
    "time in MHA": (lambda p: metaimage(p / "v.mha", SPECKLE, fields={"Kinds": "domain domain time"}), "12 entries of"),
    "scaled colour": (lambda p: rgb(p / "v.nii", (2, 3)), "colours that the header scales"),
    "rf": (lambda p: metaimage(p / "v.mha", SPECKLE, fields={"UltrasoundImageType": "RF_REAL"}), "radio-frequency"),
    "depth last": (
        lambda p: nrrd(p / "v.nrrd", STEPS, "UltrasoundImageOrientation:=MAF"), "columns that do not run along the beam"
    ),
    "scaled": (
        lambda p: metaimage(p / "v.mha", SPECKLE, fields={"ElementToIntensityFunctionSlope": "2"}), "the header scales"
    ),
    "sheared": (lambda p: sheared(p / "v.mha"), "a sheared orientation matrix"),
    "sheared vectors": (
        lambda p: nrrd(p / "v.nrrd", "space: RAS", "space directions: (0.2,0,0) (0.02,0.25,0) (0,0,0.4)"), "sheared"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_VOLUME)
def test_what_a_header_says_is_no_volume_is_none_whatever_is_stated(tmp_path: Path, case: str) -> None:
    make, reason = NO_VOLUME[case]
    path = make(tmp_path)
    volumes.find_sidecar(path).write_text('\ufeff{"VoxelSpacing": [0.2, 0.2, 0.4]}', encoding="utf-8")
    for read in (volumes.read_header, volumes.read, acquire, partial(acquire, stated=SPACING)):
        with pytest.raises(FileError, match=reason):
            read(path)


DOUBTED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "inches": (lambda p: nrrd(p / "v.nrrd", STEPS, 'units: "in" "in" "in"'), "lengths in another unit than mm"),
    "mixed": (lambda p: nrrd(p / "v.nrrd", STEPS, 'units: "mm" "mm" "cm"'), "lengths in another unit than mm"),
    "an unknown code": (lambda p: nifti(p / "v.nii", SPECKLE, 2, unit=(123, "b", (4,))), "another unit than mm"),
    "7 mm": (lambda p: metaimage(p / "v.mha", SPECKLE, (0.2, 7, 0.4)), "spacing 0.2 x 7 x 0.4 mm, expected 0.01 to 5"),
    "5 um": (lambda p: nifti(p / "v.nii", SPECKLE, 2, pixdim=(76, "4f", (1, 5, 5, 5)), unit=(123, "b", (3,))), "0.005"),
    "nothing": (lambda p: metaimage(p / "v.mha", SPECKLE, (0.2, 0.25, 0)), "0.2, 0.25, 0, expected one size"),
    "sweep": (lambda p: metaimage(p / "v.mha", SPECKLE, fields=SWEEP), "tracked freehand sweep.* reconstruct it"),
}


@pytest.mark.parametrize("case", DOUBTED)
def test_a_size_that_is_doubted_is_refused_until_a_person_states_one(tmp_path: Path, case: str) -> None:
    make, reason = DOUBTED[case]
    path = make(tmp_path)
    for read in (volumes.read, lambda path: spaced(acquire(path))):
        with pytest.raises(FileError, match=reason):
            read(path)
    volumes.find_sidecar(path).write_text('{"VoxelSpacing": [0.2, 0.25, 0.4]}')
    imported, found = acquire(path, stated=SPACING), volumes.read(path)
    for voxels, spacing in ((imported.voxels, spaced(imported)), (found.voxels, found.spacing_mm)):
        np.testing.assert_array_equal(voxels, SPECKLE)
        assert spacing == SPACING


def test_rows_towards_the_probe_are_turned_before_they_are_marked(tmp_path: Path) -> None:
    path = metaimage(tmp_path / "v.mha", SPECKLE, fields={"UltrasoundImageOrientation": "MNA"})
    np.testing.assert_array_equal(acquire(path).voxels, SPECKLE[:, ::-1])
    with pytest.raises(FileError, match=r"rows that run towards the probe, .* mflib import turns them"):
        volumes.read(path)
