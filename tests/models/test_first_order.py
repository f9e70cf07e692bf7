"""First-order statistics against scipy."""

import numpy as np
import pytest
from scipy import stats

from mflib.models.texture import intensity


def test_equal_to_scipy_on_the_voxels():
    rng = np.random.default_rng(1)
    voxels = np.clip(rng.gamma(3, 25, (30, 20, 10)), 0, 255).astype(np.uint8)
    found = intensity.features(voxels)
    grey = voxels.ravel().astype(float)
    expected = {
        "first_order_mean": grey.mean(),
        "first_order_sd": grey.std(),
        "first_order_skewness": stats.skew(grey),
        "first_order_kurtosis": stats.kurtosis(grey),
        "first_order_entropy": stats.entropy(np.unique(grey, return_counts=True)[1], base=2),
    }
    assert list(found.index) == list(expected) == list(intensity.NAMES)
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-10)


def test_order_of_voxels_does_not_matter():
    rng = np.random.default_rng(2)
    voxels = rng.integers(0, 256, (8, 7, 6), dtype=np.uint8)
    assert intensity.features(voxels).equals(intensity.features(rng.permuted(voxels.ravel())))


def test_a_flat_region_is_refused():
    with pytest.raises(ValueError, match="1 grey level"):
        intensity.features(np.full(9, 3, np.uint8))


def test_a_line_along_the_spine_is_one_and_the_same_line_across_is_not() -> None:
    along = np.full((30, 30, 30), 60, np.uint8)
    along[15, 15, :] = 200
    for voxels, most in ((along, True), (along.transpose(2, 1, 0), False), (along.transpose(0, 2, 1), False)):
        found = intensity.lines(voxels, (0.4, 0.4, 0.4))[5:25, 5:25, 5:25] > intensity.LINE
        assert (found.sum() >= 20) == most
    assert np.abs(intensity.lines(np.full((9, 9, 9), 80, np.uint8), (0.4, 0.3, 0.5))).max() < 1e-9
