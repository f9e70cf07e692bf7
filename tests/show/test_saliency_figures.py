"""Saliency over the picture, its checks and its depth: what is drawn is what was given, where it was given."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mflib.models.dcnn.saliency import by_depth
from mflib.show import figures
from mflib.show.figures.saliency import VISIBLE_FROM, Case
from mflib.show.style import GREY

RNG = np.random.default_rng(3)
SPACING = (0.4, 0.3, 0.5)
STEPS = ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"]
CHECKS = pd.DataFrame(
    [(s, v, RNG.uniform(-0.3, 1)) for s in STEPS for v in range(7)], columns=["randomised", "volume", "similarity"]
)
BASELINE = {"other folds' networks": 0.6, "network trained on shuffled labels": 0.2, "another": 0.21}


def case(label: str, scale: float = 2.5) -> Case:
    """Salient at (20, 5, 8), half as much at (3, 5, 8)."""
    map = np.zeros((30, 40, 12), np.float32)
    map[20, 5, 8], map[3, 5, 8], map[4, 5, 8] = scale, scale / 2, scale * 0.3
    map[0, 0, 0] = -10 * scale
    return Case(label, RNG.integers(0, 256, map.shape).astype(np.uint8), map, SPACING)


def written(figure: Figure) -> Figure:
    figure.savefig(BytesIO(), format="png")
    return figure


def test_gallery_cuts_each_region_at_its_most_salient_voxel() -> None:
    cases = [case("sub-001 L45 L, grade 2"), case("sub-002 L45 L, grade 0")]
    before = dict(mpl.rcParams)
    figure = written(figures.saliency_gallery(cases))
    assert dict(mpl.rcParams) == before
    assert figure.get_size_inches()[0] == 6.4
    for row, one in zip(np.reshape(figure.axes[:6], (2, 3)), cases, strict=True):
        assert row[0].get_title("left") == one.label
        planes = (one.voxels[:, :, 8].T, one.voxels[20], one.voxels[:, 5].T)
        centres = ((20, 5), (8, 5), (20, 8))
        for axes, plane, place, (right, down) in zip(row, planes, centres, ((0, 1), (2, 1), (0, 2)), strict=True):
            grey, heat = axes.get_images()
            np.testing.assert_array_equal(grey.get_array(), plane)
            shape = one.voxels.shape
            expected = [0, shape[right] * SPACING[right], shape[down] * SPACING[down], 0]
            assert grey.get_extent() == heat.get_extent() == pytest.approx(expected)
            assert heat.get_array()[place[::-1]] == heat.get_array().max() == 1
            upright, level = axes.lines
            assert upright.get_xdata()[0] == pytest.approx((place[0] + 0.5) * SPACING[right])
            assert level.get_ydata()[0] == pytest.approx((place[1] + 0.5) * SPACING[down])


def test_only_what_is_salient_veils_the_picture() -> None:
    _, heat = figures.saliency_gallery([case("one")]).axes[0].get_images()
    opacity = heat.to_rgba(np.linspace(0, 1, 101))[:, 3]
    assert (opacity[: int(100 * VISIBLE_FROM)] == 0).all()
    assert (np.diff(opacity[int(100 * VISIBLE_FROM) + 1 :]) > 0).all()
    assert 0.5 < opacity[-1] < 0.9  # the tissue can be seen through it
    shown = heat.to_rgba(heat.get_array())[..., 3]
    assert np.argwhere(shown > 0).tolist() == [[5, 3], [5, 20]]


def test_gallery_does_not_depend_on_the_maps_unit_and_takes_an_empty_map() -> None:
    large, small = (figures.saliency_gallery([case("one", scale)]).axes[0].get_images()[1] for scale in (1e5, 1e-7))
    np.testing.assert_allclose(large.get_array(), small.get_array(), rtol=1e-5)
    empty = case("nothing", 0.0)
    axes = written(figures.saliency_gallery([empty])).axes[0]
    np.testing.assert_array_equal(axes.get_images()[0].get_array(), empty.voxels[:, :, 6].T)
    assert not axes.get_images()[1].to_rgba(axes.get_images()[1].get_array())[..., 3].any()


def test_rows_of_pictures_do_not_meet() -> None:
    figure = written(figures.saliency_gallery([case(f"sub-00{n} L5S1 L, grade 2, score 0.93") for n in range(4)]))
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    whole = figure.bbox
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)
    # Each row, and the colour bar, ends above the next one.
    parts = [boxes[0:3], boxes[3:6], boxes[6:9], boxes[9:12], boxes[12:]]
    for upper, lower in pairwise(parts):
        assert min(box.y0 for box in upper) > max(box.y1 for box in lower)


def test_checks_show_every_volume_their_mean_and_named_baselines() -> None:
    figure = written(figures.saliency_checks(CHECKS, BASELINE))
    (axes,) = figure.axes
    points, means = axes.lines[:6], axes.lines[6]
    for line, step in zip(points, STEPS, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), CHECKS.loc[CHECKS["randomised"] == step, "similarity"])
    np.testing.assert_allclose(means.get_ydata(), [line.get_ydata().mean() for line in points])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["fc", *(f"+ {step}" for step in STEPS[1:])]

    levels = {to_hex(line.get_color()): line.get_ydata()[0] for line in axes.lines[7:]}
    named = {text.get_text().replace("\n", " "): to_hex(text.get_color()) for text in axes.texts}
    assert {name: levels[colour] for name, colour in named.items()} == {"no likeness": 0, **BASELINE}
    assert named["no likeness"] == to_hex(GREY)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(box.overlaps(other) for n, box in enumerate(boxes) for other in boxes[:n])
    assert all(box.x1 < figure.bbox.x1 and box.y1 < figure.bbox.y1 for box in boxes)


def test_depth_is_in_per_cent_per_mm_whatever_the_sampling() -> None:
    coarse, fine = RNG.random((2, 3, 6, 4)).astype(np.float32), RNG.random((2, 3, 30, 4)).astype(np.float32)
    groups = {"healthy": by_depth(coarse), "infiltrated": by_depth(fine)}
    (axes,) = written(figures.saliency_depth(by_depth(fine), 36.0, groups)).axes
    even, whole, healthy, infiltrated = axes.lines
    assert even.get_ydata()[0] == pytest.approx(100 / 36)
    for line, voxels in ((whole, 30), (healthy, 6), (infiltrated, 30)):
        np.testing.assert_allclose(line.get_xdata(), (np.arange(voxels) + 0.5) * 36 / voxels)
        assert line.get_ydata().sum() * 36 / voxels == pytest.approx(100)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["even", "all regions", *groups]
    flat = written(figures.saliency_depth(np.full(9, 1 / 9), 36.0, {})).axes[0].lines[1]
    np.testing.assert_allclose(flat.get_ydata(), 100 / 36)
