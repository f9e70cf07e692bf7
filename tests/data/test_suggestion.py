"""Suggested points against the simulator's truth, on a real spine phantom, and where there is nothing to suggest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mflib.data.annotation.suggestion import suggest
from mflib.data.phantom.folder import make_plan
from mflib.data.phantom.simulation import simulate
from mflib.data.volume import Volume, read


@pytest.fixture(scope="module")
def simulated():
    """Every third volume of a cohort whose seed nobody tuned anything on."""
    plan = make_plan("quick", 8, seed=907)
    drawn = list(zip(plan.parameters, plan.segments["seed"], strict=True))[::3]
    return [simulate(parameters, int(seed)) for parameters, seed in drawn]


def test_both_points_lie_within_3_mm_of_the_truth(simulated):
    near = []
    for volume, truth in simulated:
        found = suggest(volume)
        assert found is not None
        away = [
            np.linalg.norm((np.array(at) - true) * volume.spacing_mm)
            for at, true in zip(found, (truth.bone, truth.shadow), strict=True)
        ]
        near.append(max(away) <= 3)
    assert len(near) == 22 and np.mean(near) >= 0.95


def test_gain_and_mirror_change_nothing(simulated):
    volume, _ = simulated[0]
    bone, _ = suggest(volume)
    darker, _ = suggest(replace(volume, voxels=(volume.voxels * 0.7).astype(np.uint8)))
    mirrored, _ = suggest(replace(volume, voxels=np.ascontiguousarray(volume.voxels[::-1])))
    last = volume.voxels.shape[0] - 1
    assert np.abs(np.subtract(darker, bone)).max() <= 1
    assert np.abs(np.subtract(mirrored, (last - bone[0], *bone[1:]))).max() <= 1


def test_finer_voxels_change_nothing(simulated):
    volume, _ = simulated[1]
    twice = Volume(volume.voxels.repeat(2, 0).repeat(2, 1), (volume.spacing_mm[0] / 2,) * 2 + volume.spacing_mm[2:])
    away = np.subtract(suggest(twice)[0], np.multiply(suggest(volume)[0], (2, 2, 1)))
    assert np.abs(away * twice.spacing_mm).max() <= 1


def test_on_a_real_spine_the_points_lie_on_the_process_and_in_its_shadow(real_volumes):
    recorded = read(real_volumes / "SpinePhantomFreehandReconstructed.mha")
    # This reconstruction has its depth along the third axis.
    volume = Volume(np.ascontiguousarray(recorded.voxels.transpose(0, 2, 1)), recorded.spacing_mm)
    bone, shadow = suggest(volume)
    assert np.median(volume.patch(bone, 1.0)) > 180
    assert np.median(volume.patch(shadow, 1.0)) < 40
    # The process was looked at by eye: its crest runs along the middle of the picture, 65 to 75 across, 15 to 22 deep.
    assert 65 <= bone[0] <= 75 and 13 <= bone[1] <= 22


def test_nothing_is_suggested_where_there_is_no_bone():
    rng = np.random.default_rng(0)
    shape, spacing = (100, 100, 40), (0.4, 0.4, 0.4)
    speckle = rng.integers(20, 200, shape).astype(np.uint8)
    layer = speckle // 2
    layer[:, 20:24] = 240  # fascia: bright, and tissue below
    lamina = layer.copy()
    lamina[:, 60:64], lamina[:, 64:] = 240, 8  # its shadow is as wide as the picture
    sector = speckle.copy()
    sector[:, 50:] = 0  # nothing recorded
    for voxels in (speckle, layer, lamina, sector, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)):
        assert suggest(Volume(voxels, spacing)) is None
    assert suggest(Volume(speckle[:, :20], spacing)) is None  # too shallow for a shadow
    assert suggest(Volume(speckle[:12], spacing)) is None  # narrower than a process and what is beside it
