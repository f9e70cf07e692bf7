"""Nakagami parameters of simulated envelopes, and against scipy."""

import numpy as np
import pytest
from scipy import stats

from mflib.models.texture.intensity import FOLLOWS, MISSES, decompress, fit, in_words


def log_compressed(m, omega, dynamic_range_db, size=200_000, seed=0):
    """Grey levels of a simulated Nakagami envelope, brightest voxels well below 255."""
    envelope = stats.nakagami(m, scale=np.sqrt(omega)).rvs(size, random_state=np.random.default_rng(seed))
    grey = 255 * (1 + 20 * np.log10(envelope) / dynamic_range_db)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8).reshape(100, -1, 20)


@pytest.mark.parametrize(("m", "dynamic_range_db"), [(1.0, 55), (0.6, 60), (2.5, 55), (6.0, 45)])
def test_simulated_envelope_gives_its_parameters_back(m, dynamic_range_db):
    voxels = log_compressed(m, 0.02, dynamic_range_db)
    found = fit(voxels, dynamic_range_db)
    assert found.m == pytest.approx(m, rel=0.03)
    assert found.omega == pytest.approx(0.02, rel=0.03)
    assert found.grey_levels == np.unique(voxels).size


def test_rayleigh_speckle_has_m_one():
    rng = np.random.default_rng(3)
    intensity = 0.01 * np.abs(rng.normal(size=200_000) + 1j * rng.normal(size=200_000)) ** 2 / 2
    grey = np.clip(np.rint(255 * (1 + 10 * np.log10(intensity) / 60)), 0, 255).astype(np.uint8)
    assert fit(grey, 60).m == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("input", ["intensity", "grey"])
def test_maximum_likelihood_equals_scipy(input):
    voxels = log_compressed(0.8, 0.02, 55, size=20_000)
    voxels.flat[:50] = 0
    found = fit(voxels, 55, input=input)
    values = decompress(voxels.ravel(), 55) if input == "intensity" else voxels[voxels > 0].astype(float)
    shape, _, scale = stats.gamma.fit(values, floc=0)
    assert found.m == pytest.approx(shape, rel=1e-6)
    assert found.omega == pytest.approx(shape * scale, rel=1e-6)


def test_nearly_flat_region_has_a_finite_m():
    voxels = np.full((100, 100, 50), 200, np.uint8)
    voxels[0, 0, 0] = 201
    values = decompress(voxels, 55)
    assert fit(voxels, 55).m == pytest.approx(values.mean() ** 2 / values.var(), rel=0.05)


@pytest.mark.parametrize(
    ("voxels", "arguments", "message"),
    [
        (np.full((4, 4, 4), 9, np.uint8), {}, "flat region"),
        (np.array([0, 0, 9], np.uint8), {"input": "grey"}, "1 grey level other than 0"),
        (np.array([1, 2], np.uint8), {"dynamic_range_db": 0}, "0 dB"),
        (np.array([1, 2], np.uint8), {"dynamic_range_db": np.nan}, "nan dB"),
    ],
)
def test_refusals_say_what_was_found(voxels, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(voxels, **{"dynamic_range_db": 55, **arguments})


def test_the_reading_says_whether_curve_and_histogram_peak_together():
    speckle = log_compressed(1.0, 0.02, 55)
    told = in_words(speckle, fit(speckle, 55), 55)
    # The density of ln I peaks at omega: 10 log10(0.02) = -17 dB.
    assert "Gamma density near -17 dB" in told and told.endswith(FOLLOWS)
    lines = np.where(np.random.default_rng(0).random(speckle.shape) < 0.05, 250, speckle // 2).astype(np.uint8)
    assert in_words(lines, fit(lines, 55), 55).endswith(MISSES)
    assert "grey levels apart" in in_words(speckle, fit(speckle, 55, "grey"), None)
