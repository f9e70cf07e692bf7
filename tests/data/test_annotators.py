"""Two passes held against each other, by masks and by the definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mflib.base.words import KEY
from mflib.data.annotation.marks import SECOND, compare, overlap
from mflib.data.cohort_tables import ANNOTATIONS
from mflib.data.preprocess import GainSettings, region
from mflib.data.volume import Annotation, read
from mflib.show import figures

SPACING = np.array([0.4, 0.4, 0.5])


def test_overlap_is_that_of_the_voxels():
    rng = np.random.default_rng(0)
    for _ in range(200):
        pair, masks = [], []
        for _ in range(2):
            start, size = rng.integers(0, 8, 3), rng.integers(2, 9, 3)
            mask = np.zeros((16, 16, 16), bool)
            mask[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))] = True
            pair.append(Annotation((0, 0, 0), (0, 0, 0), tuple(start.tolist()), tuple(size.tolist())))
            masks.append(mask)
        both, either = (masks[0] & masks[1]).sum(), (masks[0] | masks[1]).sum()
        assert overlap(*pair) == pytest.approx((2 * both / (masks[0].sum() + masks[1].sum()), both / either))


def second_pass(root, *, out=()):
    """A second annotator who clicks elsewhere; ``out``: rows that they exclude."""
    rng = np.random.default_rng(1)
    table = pd.read_csv(root / ANNOTATIONS, sep="\t").assign(annotator="BB", quality="ok", quality_reason="n/a")
    for column, reach in (("bone_i", 2), ("bone_k", 3), ("shadow_j", 3), ("roi_i", 2), ("roi_j", 2)):
        table[column] += rng.integers(-reach, 1, len(table))
    table.loc[list(out), ["quality", "quality_reason"]] = ["exclude", "motion"]
    table.sample(frac=1, random_state=0).to_csv(root / SECOND, sep="\t", index=False)
    return table


def test_distances_and_normalised_means_follow_their_definitions(make_cohort):
    root = make_cohort(patients=2, segments=3)
    second, first = second_pass(root), pd.read_csv(root / ANNOTATIONS, sep="\t")
    agreement = compare(root)
    assert len(agreement.segments) == 6 and agreement.left_out.empty
    rows = zip(agreement.segments.to_dict("records"), first.to_dict("records"), second.to_dict("records"), strict=True)
    for row, one, other in rows:
        assert [row[key] for key in KEY] == [one[key] for key in KEY]
        for point in ("bone", "shadow"):
            steps = np.array([one[f"{point}_{axis}"] - other[f"{point}_{axis}"] for axis in "ijk"])
            assert row[f"{point}_mm"] == pytest.approx(np.sqrt(((steps * SPACING) ** 2).sum()))
        name = f"{one['participant_id']}_level-{one['level']}_lat-{one['lat']}_bmode.nii.gz"
        volume = read(root / one["participant_id"] / "us" / name)
        means = [region(volume, Annotation.from_row(marked), GainSettings()).voxels.mean() for marked in (one, other)]
        assert [row["mean_first"], row["mean_second"]] == pytest.approx(means)
        assert row["difference"] == pytest.approx(means[1] - means[0])
    assert (agreement.segments["difference"].abs() > 0.5).any()
    differences, means = agreement.segments["difference"], agreement.means
    assert means.bias == pytest.approx(differences.mean())
    assert [means.low, means.high] == pytest.approx(
        differences.mean() + 1.96 * differences.std(ddof=1) * np.array([-1, 1])
    )
    assert means.icc_low <= means.icc <= means.icc_high <= 1
    summary = agreement.summary.set_index("measure")
    assert summary.loc["bone_mm", "at_percentile"] == pytest.approx(np.percentile(agreement.segments["bone_mm"], 95))
    assert summary.loc["dice", "at_percentile"] == pytest.approx(np.percentile(agreement.segments["dice"], 5))
    assert "6 segments are marked by both" in str(agreement)
    figure = figures.bland_altman(agreement.segments, (means.low, means.bias, means.high))
    drawn = figure.axes[0].lines[1].get_xydata()
    assert drawn[:, 1] == pytest.approx(differences.to_numpy())


def test_the_same_marks_agree_in_everything(make_cohort):
    root = make_cohort(patients=1, segments=3)
    (root / SECOND).write_bytes((root / ANNOTATIONS).read_bytes())
    agreement = compare(root)
    assert (agreement.segments[["bone_mm", "shadow_mm", "difference"]] == 0).all(axis=None)
    assert (agreement.segments[["dice", "iou"]] == 1).all(axis=None)
    assert (agreement.means.bias, agreement.means.icc) == (0, 1)


def test_what_cannot_be_compared_is_named_and_counted_nowhere(make_cohort):
    root = make_cohort(patients=1, segments=6)
    table = second_pass(root, out=[1])
    table["shadow_j"] = table["shadow_j"].astype(object)
    table.loc[2, "shadow_j"] = "n/a"  # begun, not finished
    table.loc[3, "bone_j"] = 10_000  # outside
    table.loc[4, "bone_j"], table.loc[4, "shadow_j"] = table.loc[4, "shadow_j"], table.loc[4, "bone_j"]
    table.to_csv(root / SECOND, sep="\t", index=False)
    agreement = compare(root)
    reasons = agreement.left_out["reason"].tolist()
    assert len(agreement.segments) == 2 and len(reasons) == 4
    for said in ("excluded by BB: motion", "no complete marks", "expected inside a volume", "expected a brighter bone"):
        assert sum(said in reason for reason in reasons) == 1
    assert not agreement.segments.isna().any(axis=None)


def test_without_a_second_pass_there_is_nothing_to_say(make_cohort):
    agreement = compare(make_cohort(patients=1, segments=2))
    assert agreement.means is None and agreement.summary.empty
    assert str(agreement) == "0 segments are marked by both, expected at least two."
