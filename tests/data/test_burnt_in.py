"""Text that is burnt in is found wherever it stands, and tissue is not taken for text."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy import ndimage

from mflib.base.errors import FileError
from mflib.data import volume
from mflib.data.intake import burnt_in
from mflib.data.intake.acquisition import acquire
from mflib.data.intake.dicom import read
from tests.data import dicoms as files

TEXT = "DOE^JANE 12.3.57"
TOP, LEFT, REST = 40, 60, 20


def tissue(seed: int = 0) -> np.ndarray:
    """Speckle (20, 160, 200) that is alike in neighbouring frames."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(20, 160, 200)), (1.5, 1.5, 2.5))
    return np.clip(90 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)


def on_screen(frames: np.ndarray) -> np.ndarray:
    return np.pad(frames, ((0, 0), (TOP, REST), (LEFT, REST)))


def jpeg(frames: np.ndarray, quality: int | None) -> np.ndarray:
    if quality is None:
        return frames
    compressed = []
    for frame in frames:
        output = io.BytesIO()
        Image.fromarray(frame).save(output, "JPEG", quality=quality)
        compressed.append(np.asarray(Image.open(output)))
    return np.stack(compressed)


@pytest.mark.parametrize("quality", [None, 75])
@pytest.mark.parametrize("size", [9, 20])
@pytest.mark.parametrize("grey", [255, 90])
def test_text_in_the_border_is_found_whole_and_tissue_stays(quality: int | None, size: int, grey: int) -> None:
    at = (4, 3)
    ink = files.with_text(on_screen(tissue()[:1] * 0), TEXT, at, size, grey)[0]
    mask = burnt_in.find_text(jpeg(files.with_text(on_screen(tissue()), TEXT, at, size, grey), quality))
    assert mask is not None
    assert mask[ink > 0].all()
    assert not mask[TOP + 2 : -REST - 2, LEFT + 2 : -REST - 2].any()


def test_text_in_the_corner_of_a_sector_is_found() -> None:
    row, column = np.mgrid[:220, :280]
    frames = on_screen(tissue()) * (np.hypot(row - 30, column - 160) < 150) * (abs(column - 160) < row - 30)
    ink = files.with_text(frames[:1] * 0, TEXT, (60, 5), 12)[0]
    mask = burnt_in.find_text(files.with_text(frames, TEXT, (60, 5), 12))
    assert mask is not None
    assert mask[ink > 0].all()
    assert not (mask & frames.any(axis=0)).any()


@pytest.mark.parametrize(
    ("quality", "size"), [(None, 9), (None, 12), (None, 26), (95, 9), (95, 20), (75, 12), (75, 26)]
)
def test_words_over_tissue_are_found(quality: int | None, size: int) -> None:
    ink = files.with_text(on_screen(tissue()[:1] * 0), TEXT, (90, 65), size)[0]
    mask = burnt_in.find_text(jpeg(files.with_text(on_screen(tissue()), TEXT, (90, 65), size), quality))
    assert mask is not None
    assert mask[ink > 128].all()
    rows, columns = np.nonzero(ink)
    mask[rows.min() - 8 : rows.max() + 9, columns.min() - 9 : columns.max() + 10] = False
    assert mask[TOP:-REST, LEFT:-REST].mean() < 0.01


@pytest.mark.parametrize("quality", [None, 95, 75])
def test_tissue_alone_is_left_alone(quality: int | None) -> None:
    for frames in (tissue(), on_screen(tissue())):
        mask = burnt_in.find_text(jpeg(frames, quality))
        assert mask is not None
        assert not mask.any()


def test_bone_that_saturates_in_every_frame_is_left_alone() -> None:
    frames = tissue()
    row, column = np.mgrid[:160, :200]
    arc = np.abs(row - 50 - 0.01 * (column - 100) ** 2) < 3
    frames[:, arc & (abs(column - 100) < 50)] = 255
    frames[:, 20:23, :] = 255
    mask = burnt_in.find_text(frames)
    assert mask is not None
    assert not mask.any()


def rings() -> np.ndarray:
    """Tissue around a black probe with bright rings that never change, black outside."""
    row, column = np.mgrid[:300, :300]
    away = np.hypot(row - 150, column - 150)
    frames = np.tile(tissue(), (1, 2, 2))[:, :300, :300] * ((away > 65) & (away < 140))
    lines = sum((220 - 30 * n) * np.exp(-(((away - 34 - 7 * n) / 1.5) ** 2)) for n in range(4))
    return np.clip(frames + lines * (away < 62), 0, 255).astype(np.uint8)


def border(brightest: int) -> np.ndarray:
    """Tissue in a border that never changes and grows brighter inwards."""
    frames = np.tile(tissue(), (1, 2, 2))[:, :300, :300]
    inwards = np.minimum.reduce([*np.mgrid[:300, :300], *(299 - np.mgrid[:300, :300])])
    return np.where(inwards < 35, 10 + inwards * (brightest - 10) / 35, frames).astype(np.uint8)


def nearfield() -> np.ndarray:
    """Tissue below bright lines that reach over the whole width of the probe and never change."""
    frames = np.pad(np.tile(tissue(), (1, 2, 2))[:, :260, :240], ((0, 0), (40, 0), (30, 30)))
    for n in range(4):
        frames[:, 5 + 8 * n : 8 + 8 * n, 30:-30] = 200 - 40 * n
    return frames


@pytest.mark.parametrize("quality", [None, 75])
@pytest.mark.parametrize("frames", [rings(), border(45), border(70), nearfield()], ids=["rings", "45", "70", "lines"])
@pytest.mark.parametrize(("at", "size"), [((2, 4), 9), ((2, 4), 12), ((4, 60), 20)])
def test_rings_and_borders_keep_their_voxels_and_a_name_beside_them_goes(
    frames: np.ndarray, quality: int | None, at: tuple[int, int], size: int
) -> None:
    lit = frames.min(axis=0) > 8
    for grey in (255, 90):
        drawn = jpeg(files.with_text(frames, "DOE^JANE", at, size, grey), quality)
        ink = files.with_text(frames[:1] * 0, "DOE^JANE", at, size, grey)[0]
        mask = burnt_in.find_text(drawn)
        assert mask is not None
        assert mask[ink > grey / 2].mean() > 0.98
        beside = lit & ~ndimage.binary_dilation(ink > 0, iterations=14)
        assert mask[beside].mean() < 0.05
    untouched = burnt_in.find_text(jpeg(frames, quality))
    assert untouched is not None
    assert untouched[lit].mean() < 0.05


def test_bones_and_shadows_of_a_real_phantom_are_left_alone(real_volumes: Path) -> None:
    voxels = volume.read(real_volumes / "SpinePhantomFreehandReconstructed.mha").voxels
    for axes in ((2, 1, 0), (1, 0, 2), (0, 2, 1)):
        mask = burnt_in.find_text(np.ascontiguousarray(voxels.transpose(axes)))
        assert mask is not None
        assert not mask.any()


@pytest.mark.parametrize("noise", [1, 3])
@pytest.mark.parametrize("grey", [255, 90])
@pytest.mark.parametrize("quality", [None, 75])
def test_noise_of_a_grabbed_screen_hides_no_text(noise: float, grey: int, quality: int | None) -> None:
    frames = files.with_text(on_screen(tissue()), TEXT, (14, 130), 14, grey)
    ink = files.with_text(on_screen(tissue()[:1] * 0), TEXT, (14, 130), 14, grey)[0]
    grabbed = frames + np.random.default_rng(1).normal(0, noise, frames.shape)
    mask = burnt_in.find_text(jpeg(np.clip(grabbed, 0, 255).astype(np.uint8), quality))
    assert mask is not None
    assert mask[ink > grey / 2].all()
    assert not mask[TOP + 2 : -REST - 2, LEFT + 2 : -REST - 2].any()


def test_what_cannot_be_told_is_refused_unless_the_file_vouches_for_it(tmp_path: Path) -> None:
    static = np.repeat(files.speckle((40, 32, 1)), 12, axis=2)
    for voxels in (files.speckle((40, 32, 3)), static):
        assert burnt_in.find_text(np.ascontiguousarray(voxels.T)) is None
        path = files.region_multiframe(tmp_path / "a.dcm", voxels, (0.2, 0.3, 0.5), region=False)
        with pytest.raises(FileError, match="burnt-in names cannot be told from tissue there"):
            acquire(path, stated=(0.2, 0.3, 0.5))
        ds = pydicom.dcmread(path)
        ds.SequenceOfUltrasoundRegions = [files.tissue_region((ds.Columns, ds.Rows), (0.2, 0.3, 0.5), 0)]
        files.write(path, ds, ds.file_meta.TransferSyntaxUID)
        with pytest.raises(FileError, match="burnt-in names cannot be told from tissue there"):
            acquire(path, stated=(0.2, 0.3, 0.5))
        for vouched in ({"region": True}, {"region": False, "burnt_in": "NO", "text": None}):
            path = files.region_multiframe(tmp_path / "a.dcm", voxels, (0.2, 0.3, 0.5), **vouched)
            found = acquire(path, stated=(0.2, 0.3, 0.5))
            assert any("look for names in it" in notice for notice in found.notices)


def test_it_says_what_it_has_not_looked_for(tmp_path: Path) -> None:
    few = read(files.affiniti(tmp_path / "a.dcm", files.speckle((40, 32, 5)), (0.2, 0.3, 0.5)))
    assert any("words that stand over tissue were not looked for" in notice for notice in few.notices)
    none = read(files.affiniti(tmp_path / "a.dcm", files.speckle(), (0.2, 0.3, 0.5)))
    assert none.notices == ("no burnt-in text was found, and no tissue region is declared: look for names in it",)


@pytest.mark.parametrize("write", [files.affiniti, files.enhanced_us, files.cartesian])
def test_a_declared_region_is_heeded_wherever_the_spacing_comes_from(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    voxels, spacing = files.speckle(), (0.2, 0.3, 0.5)
    path = write(tmp_path / "a.dcm", files.with_text(files.screen(voxels), TEXT).T, spacing)
    ds = pydicom.dcmread(path)
    ds.SequenceOfUltrasoundRegions = [files.tissue_region(voxels.shape, spacing, 30)]
    found = read(files.write(path, ds, ds.file_meta.TransferSyntaxUID))
    np.testing.assert_array_equal(found.voxels, voxels)
    assert found.spacing_mm == pytest.approx(spacing)


def test_a_file_with_burnt_in_text_is_masked_or_refused(tmp_path: Path) -> None:
    voxels, spacing = files.speckle(), (0.2, 0.3, 0.5)
    path = files.region_multiframe(tmp_path / "a.dcm", voxels, spacing, region=False, burnt_in="YES")
    found = acquire(path, stated=spacing)
    expected = files.screen(voxels).T
    np.testing.assert_array_equal(found.voxels, expected)
    assert any("set to 0 what never changes and looks like burnt-in text: rows" in n for n in found.notices)
    clean = files.region_multiframe(tmp_path / "a.dcm", voxels, spacing, region=False, text=None, burnt_in="YES")
    with pytest.raises(FileError, match="says that text is burnt in, and no region or constant band was found"):
        acquire(clean, stated=spacing)
