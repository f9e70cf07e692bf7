"""Suggested regions against the simulator's anatomy, and where nothing of it can be seen."""

from __future__ import annotations

import numpy as np
import pytest

from mflib.data import preprocess
from mflib.data.annotation.marks import overlap
from mflib.data.annotation.suggestion import suggest_roi
from mflib.data.phantom.anatomy import PROFILES, Surfaces, parts
from mflib.data.phantom.folder import make_plan
from mflib.data.phantom.simulation import simulate
from mflib.data.preprocess import CLEFT_MM, ROI_MM
from mflib.data.volume import Annotation, Volume

BONE = (20, 20, 20)


@pytest.fixture(scope="module")
def simulated():
    """Every fifth volume of a cohort whose seed nobody tuned anything on: volume, true marks, level and parts."""
    plan = make_plan("quick", 8, seed=908)
    rows = []
    for n in range(0, len(plan.parameters), 5):
        parameters, seed = plan.parameters[n], int(plan.segments["seed"][n])
        grid = PROFILES["quick"].grid(parameters)
        drawn = Surfaces(parameters, grid, np.random.Generator(np.random.SFC64(seed)))
        where = parts(drawn, grid, grid.depth[::2], np.arange(grid.shape[0]), np.arange(grid.shape[2]))
        turned = {name: mask.transpose(1, 0, 2)[:: -1 if parameters.side == "L" else 1] for name, mask in where.items()}
        rows.append((*simulate(parameters, seed), plan.segments["level"][n], turned))
    return rows


def test_it_is_the_operators_region_and_muscle_where_the_muscle_is_wide(simulated):
    dice, purity, differences = [], [], []
    for volume, truth, level, where in simulated:
        start, size = suggest_roi(volume, truth.bone, level, volume.sidecar["Laterality"], ROI_MM)
        found = Annotation(truth.bone, truth.shadow, start, size)
        assert size[0] >= 24
        assert not where["fascia and above"][found.roi].any()
        assert where["lamina and below"][found.roi].mean() < 0.02
        dice.append(overlap(truth, found)[0])
        if truth.roi_size[0] > 24:
            purity.append(where["multifidus"][found.roi].mean())
        means = [preprocess.region(volume, one, preprocess.GainSettings()).voxels.mean() for one in (truth, found)]
        differences.append(means[1] - means[0])
    assert len(dice) == 13 and min(dice) > 0.6 and np.median(dice) > 0.8
    assert min(purity) > 0.8 and np.mean(purity) > 0.95  # people's clefts differ from the usual one
    assert abs(np.median(differences)) < 3


def test_finer_voxels_give_the_same_region_in_mm(simulated):
    volume, truth, level, _ = simulated[1]
    twice = Volume(volume.voxels.repeat(2, 0).repeat(2, 1), (volume.spacing_mm[0] / 2,) * 2 + volume.spacing_mm[2:])
    lat = volume.sidecar["Laterality"]
    fine = suggest_roi(twice, tuple(np.multiply(truth.bone, (2, 2, 1)).tolist()), level, lat, ROI_MM)
    usual = suggest_roi(volume, truth.bone, level, lat, ROI_MM)
    away = np.subtract(fine, np.multiply(usual, (2, 2, 1))) * twice.spacing_mm
    assert np.abs(away).max() <= 1.5


@pytest.mark.parametrize("lat", ["L", "R"])
def test_it_lies_beside_the_shadow_on_its_side(simulated, lat):
    volume, truth, level, _ = next(one for one in simulated if one[0].sidecar["Laterality"] == lat)
    for size in (ROI_MM, (20.0, 15.0, 10.0), (1.0, 1.0, 1.0)):
        start, extent = suggest_roi(volume, truth.bone, level, lat, size)
        ends = np.add(start, extent)
        assert min(start) >= 0 and np.all(ends <= volume.voxels.shape)
        assert np.all(np.multiply(extent, volume.spacing_mm) <= np.array(size) + volume.spacing_mm)
        nearest = truth.bone[0] - ends[0] if lat == "L" else start[0] - truth.bone[0]
        assert 3.2 <= nearest * volume.spacing_mm[0] <= 7  # the process is 6.4 mm wide
        mirrored = suggest_roi(volume, truth.bone, level, "LR"["LR".index(lat) - 1], size)
        assert mirrored == (start, extent)  # a picture whose side is written wrongly still has its muscle there


def drawn(**layers: tuple[slice, int]) -> Volume:
    """Dark speckle in cubes of 0.5 mm with horizontal layers of a grey level."""
    voxels = np.random.default_rng(0).integers(40, 80, (120, 100, 40)).astype(np.uint8)
    for depths, grey in layers.values():
        voxels[:, depths] = grey
    return Volume(voxels, (0.5, 0.5, 0.5))


def test_each_edge_is_where_it_was_drawn():
    lamina, noise, fascia = (slice(60, 63), 220), (slice(63, 100), 15), (slice(18, 24), 230)
    volume = drawn(fascia=fascia, lamina=lamina, noise=noise)
    volume.voxels[12:29, 24:] = 10  # the shadow
    (i, j, k), (ni, nj, nk) = suggest_roi(volume, BONE, "L5S1", "R", (100.0, 100.0, 10.0))
    assert 29 <= i <= 34 and abs(i + ni - (20 + 2 * CLEFT_MM["L5S1"])) <= 3
    assert 24 <= j <= 28 and 54 <= j + nj <= 60
    assert (k, nk) == (10, 20)


def test_what_is_not_seen_limits_nothing():
    size = (20.0, 30.0, 10.0)
    plain = (30, 20, 10), (40, 60, 20)
    assert suggest_roi(drawn(), BONE, "L5S1", "R", size) == plain
    septum = drawn(septum=(slice(60, 63), 220))  # as bright as a lamina, but muscle below
    assert suggest_roi(septum, BONE, "L5S1", "R", size) == plain
    gradient = drawn()
    gradient.voxels[:] = np.linspace(250, 5, 100)[None, :, None]
    assert suggest_roi(gradient, BONE, "L5S1", "R", size) == plain
    sector = drawn()
    sector.voxels[50:] = 0
    assert suggest_roi(sector, BONE, "L5S1", "R", size) == (plain[0], (20, 60, 20))


def test_every_bone_has_a_region(simulated):
    volume = simulated[0][0]
    rng = np.random.default_rng(1)
    corners = [(0, 0, 0), tuple(n - 1 for n in volume.voxels.shape)]
    flat = Volume(np.zeros((2, 3, 2), np.uint8), (0.4, 0.4, 0.4))
    coarse = Volume(volume.voxels[::16, ::16, ::16], (30.0, 30.0, 30.0))
    bones = [(volume, at) for at in [*corners, *rng.integers(0, volume.voxels.shape, (50, 3)).tolist()]]
    for picture, bone in [*bones, (flat, (0, 0, 0)), (flat, (1, 2, 1)), (coarse, (4, 4, 1))]:
        for level, lat in (("L23", "L"), ("L5S1", "R")):
            start, extent = suggest_roi(picture, tuple(bone), level, lat, ROI_MM)
            assert min(start) >= 0 and min(extent) >= 2 and np.all(np.add(start, extent) <= picture.voxels.shape)
