"""Where tissues lie in a phantom: against the simulator's own surfaces and against the voxels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.data import phantom
from mflib.data.cohort_tables import GRADES
from mflib.data.phantom.anatomy import PARTS, PROFILES, Parameters
from mflib.data.phantom.folder import TRUTH, Plan, make_plan, tissues
from mflib.data.phantom.simulation import VERSION, Tissue, simulate

WANTED = {"profile": "quick", "patients": 2, "seed": 11}
MADE = {"Name": "mflib phantom", "Version": VERSION, "Parameters": WANTED}
POSITIONS = {"L": 2, "R": 13}  # of a segment of each side in the plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan("quick", 2, 11)


def describe(root: Path, content: object) -> Path:
    (root / "dataset_description.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return describe(tmp_path, {"Name": "a copy", "GeneratedBy": [MADE]})


def drawn(plan: Plan, lat: str) -> tuple[dict[str, Any], Parameters, int]:
    """Key, parameters and seed of a segment of that side."""
    row = plan.segments.iloc[POSITIONS[lat]]
    assert row["lat"] == lat
    return dict(row[KEY]), plan.parameters[POSITIONS[lat]], int(row["seed"])


def as_right(masks: dict[str, NDArray[np.bool_]], lat: str) -> dict[str, NDArray[np.bool_]]:
    return {name: mask[::-1] if lat == "L" else mask for name, mask in masks.items()}


@pytest.mark.parametrize("lat", ["L", "R"])
def test_masks_part_the_volume_at_the_simulators_surfaces(root: Path, plan: Plan, lat: str) -> None:
    key, parameters, seed = drawn(plan, lat)
    masks = tissues(root, key)
    assert tuple(masks) == PARTS
    assert all(mask.shape == PROFILES["quick"].shape for mask in masks.values())
    assert (sum(mask.astype(int) for mask in masks.values()) == 1).all()

    grid = PROFILES["quick"].grid(parameters)
    surfaces = Tissue(parameters, grid, np.random.Generator(np.random.SFC64(seed))).surfaces
    right = as_right(masks, lat)
    above, below = (right[name].sum(axis=1) * grid.voxel_mm for name in (PARTS[0], PARTS[-1]))
    half = grid.voxel_mm / 2 + 1e-4
    assert np.abs(above - surfaces.fascia[1]).max() <= half
    assert np.abs(below - (parameters.depth_mm - surfaces.lamina)).max() <= half
    midline, multifidus, erector = (np.flatnonzero(right[name].any(axis=(1, 2))) for name in PARTS[1:4])
    assert abs((midline[-1] + 1) * grid.voxel_mm - surfaces.spinous_edge_mm) <= 2 * half
    assert multifidus[0] == midline[-1] + 1
    assert abs(erector[0] * grid.voxel_mm - surfaces.cleft.min()) < 1.5  # it waves


@pytest.mark.parametrize("lat", ["L", "R"])
def test_borders_are_where_the_voxels_show_fascia_and_lamina(root: Path, plan: Plan, lat: str) -> None:
    key, parameters, seed = drawn(plan, lat)
    simulated, _ = simulate(parameters, seed)
    step = simulated.spacing_mm[1]
    masks = tissues(root, key)
    depth = ((np.arange(simulated.voxels.shape[1]) + 0.5) * step)[:, None]
    beside = np.arange(simulated.voxels.shape[0]) * step > parameters.spinous_mm + 5  # out of the process' shadow

    def grey(borders: NDArray[np.float64], shift_mm: float) -> float:
        """Mean over half a millimetre to either side of a border (ni, nk), moved down."""
        near = np.abs(depth - borders[:, None, :] - shift_mm) < 0.5
        near &= (beside[::-1] if lat == "L" else beside)[:, None, None]
        near[..., : simulated.voxels.shape[2] // 2] = False  # between two laminae, caudally, there is no bone
        return float(simulated.voxels[near].mean())

    fascia = masks["fascia and above"].sum(axis=1) * step
    lamina = depth[-1] + step / 2 - masks["lamina and below"].sum(axis=1) * step
    muscle = simulated.voxels[masks["multifidus"]].mean()
    for border in (fascia, lamina):
        assert grey(border, 0) > max(muscle + 40, grey(border, 1.5) + 30)
    assert grey(lamina, 0) > grey(lamina, -1.5) + 30
    assert grey(lamina, 2) < muscle - 20  # shadow
    assert grey(lamina[::-1], 0) < grey(lamina, 0) - 20  # on the wrong side it is not the lamina


def test_a_folder_that_is_no_phantom_of_this_version_has_no_truth(tmp_path: Path, plan: Plan) -> None:
    key, _, _ = drawn(plan, "L")
    assert tissues(tmp_path, key) is None
    for content in (
        {"Name": "clinic"},
        [],
        {"GeneratedBy": []},
        {"GeneratedBy": [{"Name": "dcm2niix", "Version": VERSION, "Parameters": WANTED}]},
        {"GeneratedBy": [{**MADE, "Version": "0.9"}]},
        {"GeneratedBy": ["mflib phantom"]},
    ):
        assert tissues(describe(tmp_path, content), key) is None
    (tmp_path / "dataset_description.json").write_text("{")
    assert tissues(tmp_path, key) is None


def test_a_segment_that_was_not_simulated_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"segment is sub-003 L23 L, expected one of the 16 that were simulated"):
        tissues(root, {"participant_id": "sub-003", "level": "L23", "lat": "L"})


def test_what_the_simulator_knows_is_said_and_of_other_cohorts_nothing(tmp_path: Path) -> None:
    plan = make_plan("quick", 20, 3)
    truth, grades = plan.tables[TRUTH], plan.tables[GRADES]
    segments = grades.assign(label=grades["grade_final"] > 0).sample(frac=1, random_state=1)  # in an order of its own
    assert phantom.given(tmp_path) == phantom.purity(tmp_path) == phantom.ceiling(tmp_path, segments) == ""
    (tmp_path / TRUTH).parent.mkdir(parents=True)
    truth.to_csv(tmp_path / TRUTH, sep="\t", index=False)
    area = roc_auc_score(grades["grade_final"] > 0, truth["fat"])
    assert 0.9 < area < 1 and f"**{area:.2f}**" in phantom.ceiling(tmp_path, segments)
    lowest = truth.groupby("level")["multifidus"].mean()["L23"]
    assert f"L2/3 {100 * lowest:.0f} %" in phantom.purity(tmp_path)
    assert "r = 0.42" in phantom.given(tmp_path)
