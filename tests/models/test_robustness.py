"""What is moved is moved, as far as the volume allows, and nothing else; what fails is named."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mflib.base.errors import InputError
from mflib.base.settings import build
from mflib.base.words import KEY
from mflib.data import cohort as cohorts
from mflib.data import preprocess
from mflib.data.volume import read, write
from mflib.models.texture import bank, robustness
from tests.models.test_bank import finer

FEATURES = bank.TextureSettings(voxel_mm="as-recorded", levels=(8, 32), steps=(1, 3))
SETTINGS = robustness.RobustnessSettings(gain_db=2.0, roi_voxels=2, point_voxels=1)


@pytest.fixture
def cohort(make_cohort):
    return cohorts.load(make_cohort(4, segments=3))


def measure(cohort, cache, settings=SETTINGS):
    return robustness.measure(cohort, preprocess.GainSettings(), FEATURES, settings, cache, workers=1)


def test_one_segment_of_each_patient_in_turn(cohort):
    chosen = robustness.some_per_patient(cohort.segments)
    assert chosen["participant_id"].tolist() == sorted(cohort.segments["participant_id"].unique())
    assert chosen[["level", "lat"]].agg("".join, axis=1).tolist() == ["L23L", "L23R", "L34L", "L23L"]


def test_every_perturbation_equals_measuring_the_changed_volume(cohort, tmp_path):
    found = measure(cohort, tmp_path / "cache")
    assert found.failures == {} and found.cut_short == []
    assert len(found.table) == 4 * 7
    segment = robustness.some_per_patient(cohort.segments).iloc[1].to_dict()
    own = found.table[found.table["participant_id"] == segment["participant_id"]].set_index(
        ["perturbation", "direction"]
    )
    volume, annotation = cohort.volume(segment), cohort.annotation(segment)

    def expected(volume, annotation):
        region = preprocess.region(volume, annotation, preprocess.GainSettings())
        return bank.measure(region.voxels, volume.spacing_mm, region.dynamic_range_db, FEATURES)

    def shifted(point, by):
        return tuple(n + by for n in point)

    louder = np.clip(np.rint(volume.voxels + 255 * 2.0 / 55), 0, 255).astype(np.uint8)
    cases = {
        ("as annotated", 0): (volume, annotation),
        ("gain", 1): (dataclasses.replace(volume, voxels=louder), annotation),
        ("ROI", 1): (volume, dataclasses.replace(annotation, roi_start=shifted(annotation.roi_start, 2))),
        ("points", -1): (
            volume,
            dataclasses.replace(annotation, bone=shifted(annotation.bone, -1), shadow=shifted(annotation.shadow, -1)),
        ),
    }
    for case, changed in cases.items():
        np.testing.assert_allclose(
            own.loc[case, expected(*changed).index].astype(float), expected(*changed), rtol=1e-12
        )


def test_a_region_stays_inside_the_volume(cohort, tmp_path):
    whole = cohort.segments.assign(roi_k=0, roi_nk=18)
    found = measure(
        dataclasses.replace(cohort, segments=whole), tmp_path / "cache", robustness.RobustnessSettings(roi_voxels=50)
    )
    assert found.failures == {}
    assert len(found.cut_short) == 4 * 2 and all(", ROI " in name for name in found.cut_short)
    assert "cut 8 moves short" in str(found)
    assert np.isfinite(found.table.drop(columns=[*KEY, "perturbation"]).to_numpy(float)).all()


def test_a_segment_that_fails_once_is_left_out_whole_and_named(cohort, tmp_path):
    segments = cohort.segments.copy()
    first = robustness.some_per_patient(segments).iloc[0]
    volume = read(cohort.root / first["path"])
    # Bone and shadow are one step apart: moved by one voxel, the bone is the darker one.
    voxels = volume.voxels.copy()
    voxels[:, :, 9:] = 0
    write(dataclasses.replace(volume, voxels=voxels), cohort.root / first["path"])
    found = robustness.measure(
        dataclasses.replace(cohort, segments=segments),
        preprocess.GainSettings(patch_mm=0.1),
        FEATURES,
        robustness.RobustnessSettings(point_voxels=4),
        tmp_path / "cache",
        workers=1,
    )
    (name,) = found.failures
    assert ", points " in name and "InputError" in found.failures[name]
    assert first["participant_id"] not in set(found.table["participant_id"])
    assert len(found.table) == 3 * 7
    assert "3 segments" in str(found) and "left out" in str(found)


def test_normalisation_takes_out_what_gain_does_to_the_mean(cohort):
    segment = cohort.segments.iloc[0].to_dict()
    names = ["first_order_mean", "nakagami_m"]
    series = robustness.under_gain(
        cohort.volume(segment), cohort.annotation(segment), preprocess.GainSettings(), FEATURES, names, (-2, 0, 2)
    )
    spread = series.groupby(["feature", "voxels"])["value"].agg(np.ptp)
    assert spread["first_order_mean", "as recorded"] == pytest.approx(2 * round(255 * 2 / 55), abs=0.5)
    assert spread["first_order_mean", "gain-normalised"] < 2
    assert set(series["feature"]) == set(names) and len(series) == 12


@pytest.mark.parametrize("values", [{"gain_db": 0}, {"roi_voxels": 0}, {"point_voxels": -1}])
def test_settings_that_move_nothing_are_refused(values):
    with pytest.raises(InputError, match=r"found (0|-1), expected (above 0|at least 1)"):
        build(robustness.RobustnessSettings, values, "a test")


def test_measured_again_nothing_is_computed(cohort, tmp_path, monkeypatch):
    first = measure(cohort, tmp_path / "cache")
    monkeypatch.setattr(bank, "_measure", lambda shared, job: 1 / 0)
    pd.testing.assert_frame_equal(first.table, measure(cohort, tmp_path / "cache").table, check_exact=True)


def test_features_follow_the_voxel_size_until_there_is_one(cohort, tmp_path):
    half = cohort.segments.assign(label=[0, 1, 1] + [0] * 9)
    mixed = finer(dataclasses.replace(cohort, segments=half), [0, 3, 4, 7, 8, 11])
    pre, texture = preprocess.GainSettings(), {}
    for way in ("as-recorded", "coarsest"):
        settings = dataclasses.replace(FEATURES, voxel_mm=way)
        texture[way] = settings, bank.extract(mixed, pre, settings, tmp_path, workers=1)
    table, other = (robustness.by_voxel_size(mixed, pre, *own, tmp_path, workers=1) for own in texture.values())
    pd.testing.assert_frame_equal(table, other)
    as_recorded, one = table.loc[0, list(robustness.WAYS)]
    assert table["step"].tolist() == [1] and as_recorded > 0.7 > 0.5 > one
    told = robustness.by_voxel_size_in_words(table, mixed.segments)
    assert "AUC of **0.80**" in told and "In the 10 segments" in told and told.endswith("% of it away.")
    worse = robustness.by_voxel_size_in_words(table.assign(**{"one voxel size": 0.99}), mixed.segments)
    assert worse.endswith(robustness.LEAVES)
    settings, measured = texture["as-recorded"]
    even = dataclasses.replace(cohort, segments=half)
    same = robustness.by_voxel_size(even, pre, settings, measured, tmp_path, workers=1)
    assert same[list(robustness.WAYS)].isna().all(axis=None)
    assert robustness.by_voxel_size_in_words(same, half) == robustness.ONE_SIZE
