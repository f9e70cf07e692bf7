"""The tool without a browser: what it shows and does when the page asks."""

from __future__ import annotations

import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest

from mflib.data.annotation.marks import compare, read_rows
from mflib.data.annotation.tool import annotate
from mflib.data.cohort import volume_path
from mflib.data.cohort_tables import ANNOTATIONS
from mflib.data.phantom.anatomy import Parameters
from mflib.data.phantom.simulation import simulate
from mflib.data.volume import Volume, write
from mflib.data.volume import read as read_volume
from mflib.show import figures

SPACING = (0.3, 0.4, 0.5)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Three simulated volumes in an otherwise empty cohort folder, and their true annotations."""
    root = tmp_path_factory.mktemp("simulated")
    truth = {}
    for n, (level, side) in enumerate((("L23", "L"), ("L23", "R"), ("L34", "L"))):
        volume, truth[level, side] = simulate(Parameters(0.2, side=side), seed=n)
        write(volume, root / volume_path("sub-01", level, side))
    return root, truth


@pytest.fixture
def volumes_only(simulated, tmp_path):
    return shutil.copytree(simulated[0], tmp_path / "cohort"), simulated[1]


def test_a_suggestion_is_shown_as_one_and_becomes_a_row_with_enter(volumes_only):
    root, truth = volumes_only
    tool = annotate(root, "AB")
    assert tool.state["suggested"] == ["bone", "roi", "shadow"] and "not confirmed" in tool.state["status"]
    assert len(tool.voxels) == np.prod(tool.state["shape"])
    assert np.frombuffer(tool.voxels, np.uint8).reshape(tool.state["shape"], order="F").std() > 10
    tool.act("confirm")
    assert tool.state["position"] == 1 and "saved" in tool.state["message"]
    (cells,) = read_rows(root / ANNOTATIONS).rows.values()
    assert abs(int(cells["bone_i"]) - truth["L23", "L"].bone[0]) <= 3 and cells["annotator"] == "AB"


def test_the_size_that_a_hand_gave_to_a_few_regions_is_the_next_ones(volumes_only):
    root, _ = volumes_only
    for level in ("L34", "L45", "L5S1"):
        volume = Volume(np.ascontiguousarray(read_volume(root / volume_path("sub-01", "L23", "L")).voxels), SPACING)
        write(volume, root / volume_path("sub-01", level, "R"))
    tool = annotate(root, "AB")
    computed = []
    for size in ([25, 30, 20], [50, 36, 20], [10, 10, 10]):  # the median: one small region makes no other small
        computed.append(tool.state["roi"][1])
        tool.act("roi", start=[40, 40, 5], size=size)
        tool.act("confirm")
    assert min(min(size) for size in computed) >= 24  # none of them follows the first hands
    assert tool.state["suggested"] == ["bone", "roi", "shadow"]
    fine = [25 * 0.4, 30 * 0.4, 20 * 0.4] / np.array(SPACING)  # in mm, not in voxels
    assert tool.state["roi"][1] == tuple(np.rint(fine))


def test_enter_alone_does_not_make_a_computed_size_an_opinion(volumes_only):
    root, _ = volumes_only
    tool = annotate(root, "AB")
    for _ in range(2):
        tool.act("confirm")
    bone = tool.state["bone"]
    tool.act("go", to=0)
    tool.act("point", name="bone", at=bone)
    tool.act("confirm")
    assert tool.session.roi_sizes_by_hand() == {}
    tool.act("go", to=0)
    tool.act("roi", start=[20, 30, 5], size=[41, 42, 21])
    assert tool.session.roi_sizes_by_hand() == {}
    tool.act("confirm")
    assert tool.session.roi_sizes_by_hand() == {("sub-01", "L23", "L"): (41, 42, 21)}


def test_enter_twice_does_not_confirm_a_volume_that_was_not_shown_yet(volumes_only):
    root, _ = volumes_only
    tool = annotate(root, "AB")
    for _ in range(2):
        tool.act("confirm", shown=0)
    assert tool.state["position"] == 1 and len(read_rows(root / ANNOTATIONS).rows) == 1


def test_marks_end_at_the_volumes_border(volumes_only):
    root, _ = volumes_only
    tool = annotate(root, "AB")
    tool.act("point", name="shadow", at=[-5, 900, 3])
    assert tool.state["shadow"] == (0, 127, 3)
    tool.act("roi", start=[100, -4, 40], size=[500, 50, 1])
    assert tool.state["roi"] == ((0, 0, 40), (128, 50, 2))


def test_a_bone_that_is_darker_than_its_shadow_is_not_saved(volumes_only):
    root, _ = volumes_only
    tool = annotate(root, "AB")
    bone, shadow = tool.state["bone"], tool.state["shadow"]
    tool.act("point", name="bone", at=shadow)
    tool.act("point", name="shadow", at=bone)
    assert "expected a brighter bone" in tool.state["readout"]["flags"][0]
    tool.act("confirm")
    assert tool.state["wrong"] and "not saved" in tool.state["message"] and tool.state["position"] == 0
    assert not (root / ANNOTATIONS).exists()


def test_a_damaged_volume_can_only_be_excluded(volumes_only):
    root, _ = volumes_only
    path = root / volume_path("sub-01", "L23", "R")
    path.write_bytes(path.read_bytes()[:5000])
    tool = annotate(root, "AB")
    tool.act("step", by=1)
    assert tool.state["wrong"] and path.name in tool.state["message"] and tool.voxels == b""
    tool.act("point", name="bone", at=[1, 1, 1])
    tool.act("confirm")
    assert "not marked yet" in tool.state["message"]
    tool.act("exclude", reason="motion")
    assert tool.state["status"] == "excluded by AB: motion"
    tool.act("step", by=1)
    assert tool.voxels and not tool.state["wrong"]


def test_marks_of_another_picture_are_shown_as_wrong(volumes_only):
    root, _ = volumes_only
    annotate(root, "AB").act("confirm")
    table = pd.read_csv(root / ANNOTATIONS, sep="\t").assign(bone_i=4000)
    table.to_csv(root / ANNOTATIONS, sep="\t", index=False)
    tool = annotate(root, "AB")
    tool.act("go", to=0)
    assert "expected inside a volume" in tool.state["readout"]["flags"][0]


def test_the_second_annotator_sees_neither_marks_nor_suggestions(volumes_only):
    root, _ = volumes_only
    first = annotate(root, "AB")
    first.act("confirm")
    second = annotate(root, "CD", second=True)
    for _ in range(3):
        assert second.state["bone"] is second.state["shadow"] is second.state["roi"] is None
        second.act("step", by=1)
    second.act("point", name="bone", at=[60, 30, 24])
    assert second.state["suggested"] == ["roi"]  # placed by the annotator's own click
    assert "AB" not in str(second.state)


def test_the_notebook_compares_by_itself_but_keeps_the_second_annotator_blind(make_cohort, repository):
    root = make_cohort(patients=1, segments=3)
    notebook = nbformat.read(repository / "notebooks" / "annotate.ipynb", 4)
    (cell,) = (cell.source for cell in notebook.cells if cell["id"] == "compare")

    def shown(tool, second):
        out = []
        names = {"compare": compare, "figures": figures, "Markdown": str, "display": lambda *what: out.extend(what)}
        exec(cell, {**names, "cohort_folder": root, "tool": tool, "second": second})
        return out

    assert shown(annotate(root, "AA"), second=False) == ["0 segments are marked by both, expected at least two."]
    first = read_rows(root / ANNOTATIONS).rows
    tool = annotate(root, "BB", second=True)
    for left in (3, 2, 1):
        assert shown(tool, second=True) == [f"The second pass is blinded: {left} volumes are left."]
        row = first[tool.session.key]
        for point in ("bone", "shadow"):
            tool.act("point", name=point, at=[int(row[f"{point}_{axis}"]) for axis in "ijk"])
        tool.act("roi", start=[9, 8, 2], size=[18, 18, 14])
        tool.act("confirm")
    for final in (shown(tool, second=True), shown(annotate(root, "AA"), second=False)):
        assert "3 segments are marked by both" in final[0] and len(final) == 4
