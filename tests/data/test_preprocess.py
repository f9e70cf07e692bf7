"""Gain normalisation takes the gain out, says when it cannot, and the network's input is what it is called."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import zoom

from mflib.base.errors import InputError
from mflib.data import phantom, preprocess
from mflib.data.preprocess import GainSettings, References
from mflib.data.volume import Annotation, Volume
from mflib.models.texture import intensity

SETTINGS = GainSettings()


# Of the phantom's gain knob.
PERCENT_PER_DB = 1 / 0.6
CUBE = (0.4, 0.4, 0.4)


@pytest.fixture(scope="module")
def scans() -> dict[int, tuple[Volume, Annotation]]:
    """One simulated segment at three gains (dB); everything else is the same."""
    gains = {gain: phantom.Parameters(fat=0.4, gain_percent=50 + gain * PERCENT_PER_DB) for gain in (-3, 0, 3)}
    return {gain: phantom.simulate(parameters, 5) for gain, parameters in gains.items()}


def test_a_change_of_gain_is_removed_to_a_tenth(scans: dict[int, tuple[Volume, Annotation]]) -> None:
    raw, normalised = {}, {}
    for gain, (volume, annotation) in scans.items():
        region = preprocess.region(volume, annotation, SETTINGS)
        raw[gain], normalised[gain] = region.raw.mean(), region.voxels.mean()
    for gain in (-3, 3):
        assert abs(raw[gain] - raw[0]) > 8
        assert abs(normalised[gain] - normalised[0]) < 0.1 * abs(raw[gain] - raw[0])


def test_reference_points_go_to_their_targets(scans: dict[int, tuple[Volume, Annotation]]) -> None:
    volume, annotation = scans[0]
    references = preprocess.measure_references(volume, annotation, SETTINGS.patch_mm)
    whole = Volume(preprocess.normalise_gain(volume.voxels, references, SETTINGS), volume.spacing_mm)
    after = preprocess.measure_references(whole, annotation, SETTINGS.patch_mm)
    assert after.bone == pytest.approx(SETTINGS.bright, abs=1)
    assert after.shadow == pytest.approx(SETTINGS.dark, abs=1)


def test_the_effective_dynamic_range_keeps_the_nakagami_shape() -> None:
    # m of an intensity does not depend on its scale: the normalised region with its effective range has the m of the
    # recorded one, up to rounding and to what the normalisation clips (here nothing).
    rng = np.random.default_rng(0)
    voxels = np.clip(rng.normal(120, 20, (40, 40, 40)), 60, 200).astype(np.uint8)
    voxels[:6, :6, :6], voxels[:6, 20:26, :6] = 210, 40
    volume = Volume(voxels, (0.5, 0.5, 0.5), {"DynamicRangeDB": 60})
    annotation = Annotation((3, 3, 3), (3, 23, 3), (10, 5, 8), (25, 30, 30))
    region = preprocess.region(volume, annotation, SETTINGS)
    recorded = intensity.fit(region.raw, 60)
    assert region.dynamic_range_db == pytest.approx(60 * (210 - 40) / (220 - 20))
    assert intensity.fit(region.voxels, region.dynamic_range_db).m == pytest.approx(recorded.m, rel=0.01)


def test_clipped_references_are_flagged() -> None:
    assert References(bone=220, shadow=20).flags == ()
    assert "saturated bone" in References(bone=254, shadow=20).flags[0]
    assert "black shadow" in References(bone=220, shadow=0).flags[0]
    assert "weak contrast" in References(bone=50, shadow=20).flags[0]


def test_impossible_regions_are_refused() -> None:
    volume = Volume(np.full((20, 20, 20), 90, np.uint8), (0.5, 0.5, 0.5))
    with pytest.raises(InputError, match="bone of grey 90, shadow of grey 90"):
        preprocess.region(volume, Annotation((5, 5, 5), (5, 15, 5), (0, 0, 0), (4, 4, 4)), SETTINGS)
    with pytest.raises(InputError, match=r"ROI spans .* expected inside a volume of \(20, 20, 20\)"):
        preprocess.region(volume, Annotation((5, 5, 5), (5, 15, 5), (10, 0, 0), (11, 4, 4)), SETTINGS)
    with pytest.raises(InputError, match="all voxels are 90"):
        preprocess.zscore(volume.voxels)


def test_network_input_is_the_resized_zscore() -> None:
    rng = np.random.default_rng(1)
    voxels = rng.integers(0, 256, (24, 20, 12), dtype=np.uint8)
    scored = preprocess.zscore(voxels)
    assert scored.mean() == pytest.approx(0, abs=1e-6)
    assert scored.std() == pytest.approx(1, abs=1e-6)
    # Growing needs no anti-aliasing: linear interpolation on voxel centres, as scipy's grid mode.
    grown = preprocess.network_input(scored, (48, 40, 24), CUBE, None)
    expected = zoom(scored, 2, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(grown, expected, atol=1e-5)
    assert preprocess.network_input(scored, (12, 10, 6), CUBE, None).shape == (12, 10, 6)


def test_network_input_has_one_physical_size() -> None:
    # Stripes 4 mm apart are as many voxels apart in the input whatever the region's extent and voxel size.
    for shape, step in (((60, 20, 20), 0.5), ((40, 60, 20), 0.5), ((80, 40, 30), 0.25)):
        stripes = np.sin(2 * np.pi * np.arange(shape[0]) * step / 4).astype(np.float32)
        region = np.broadcast_to(stripes[:, None, None], shape)
        found = preprocess.network_input(region, (60, 60, 20), (step,) * 3, (30.0, 30.0, 10.0))
        inside = np.flatnonzero(found[:, 30, 10])
        assert len(inside) == pytest.approx(min(shape[0] * step, 30) * 2, abs=2)
        assert abs(inside[0] + inside[-1] - 59) <= 2  # in the middle
        crests = [n for n in inside[1:-1] if found[n, 30, 10] > max(found[n - 1, 30, 10], found[n + 1, 30, 10])]
        assert np.diff(crests) == pytest.approx(8, abs=1)


def test_what_is_laid_into_a_box_comes_out_again() -> None:
    values = np.random.default_rng(0).normal(size=(5, 9, 4)).astype(np.float32)
    box = preprocess.laid_into(values, (8, 12, 4))
    assert (box != 0).sum() == values.size
    np.testing.assert_array_equal(preprocess.laid_into(box, values.shape), values)
    np.testing.assert_array_equal(preprocess.laid_into(values, (3, 3, 4)), values[1:4, 3:6])
