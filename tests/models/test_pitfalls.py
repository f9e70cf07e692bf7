"""The pitfalls laboratory: each error goes the way that it must, and what cannot change does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mflib.base.errors import InputError
from mflib.base.settings import build
from mflib.base.words import KEY, LEVELS, SIDES
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.data.volume import Annotation, Volume
from mflib.models import pitfalls
from mflib.models.folds import Fold
from mflib.models.pitfalls import experiment, leakage, reference, voxels
from mflib.models.texture import bank, glcm, intensity

SIZES = experiment.PitfallsSettings(repetitions=2, simulations=400, permutations=3, trees=10, volumes=4)
GRID = [f"glcm_{levels}_1_{direction}_{name}" for levels in (8, 64) for direction in ("0.0.1", "1.0.0")
        for name in glcm.PROPERTIES]  # fmt: skip


def cohort_of(patients: int) -> pd.DataFrame:
    """Texture of patients with 8 segments each, with something to find in it; the last column is the label."""
    rng = np.random.default_rng(patients)
    keys = pd.DataFrame([(f"sub-{n:03}", v, s) for n in range(patients) for v in LEVELS for s in SIDES], columns=KEY)
    label = rng.integers(0, 2, len(keys))
    features = [*GRID, "nakagami_m", "nakagami_omega", *intensity.NAMES]
    values = rng.normal(size=(len(keys), len(features))) + 0.8 * label[:, None]
    return pd.concat([keys, pd.DataFrame(values, columns=features)], axis=1).assign(label=label)


WHOLE = cohort_of(12)
TEXTURE, LABELS = WHOLE.drop(columns="label"), WHOLE["label"].to_numpy()


class Simulated(Cohort):
    """A cohort whose volumes come from no file: fat is brighter, and nothing else is different."""

    def volume(self, segment):
        rng = np.random.default_rng([*segment["path"].encode()])
        grey = np.clip(rng.rayleigh(40 + 15 * segment["label"], (14, 12, 8)), 0, 255).astype(np.uint8)
        grey[:3, :3], grey[:3, 6:9] = 200, 10
        return Volume(grey, (1.0, 1.0, 1.0), {"DynamicRangeDB": 55})

    def annotation(self, segment):
        return Annotation((1, 1, 4), (1, 7, 4), (4, 1, 1), (9, 10, 6))


def cohort_with_volumes() -> Cohort:
    segments = WHOLE[[*KEY, "label"]].assign(path=WHOLE[KEY].agg("_".join, axis=1))
    nothing = pd.DataFrame()
    tables = dict.fromkeys(("participants", "clinical", "grades", "patients", "flow"), nothing)
    return Simulated(root=Path(), name="", synthetic=True, segments=segments, **tables)


COHORT = cohort_with_volumes()
STUDY = (pitfalls.Volumes(COHORT, preprocess.GainSettings(), bank.TextureSettings(voxel_mm="as-recorded")), SIZES, 1)


def test_only_leakage_finds_something_where_there_is_nothing() -> None:
    table = pitfalls.split_by(TEXTURE, LABELS, SIZES, 1, iccs=(0.9,), n_folds=3)
    by_segment, by_patient = experiment.differences(table).query("data == 'simulated'")[["wrong", "right"]].iloc[0]
    assert by_segment > 0.85
    assert by_patient < 0.7
    assert table.equals(pitfalls.split_by(TEXTURE, LABELS, SIZES, 1, iccs=(0.9,), n_folds=3))
    assert not table.equals(pitfalls.split_by(TEXTURE, LABELS, SIZES, 2, iccs=(0.9,), n_folds=3))


def test_tuning_on_the_test_part_flatters() -> None:
    tuned = pitfalls.threshold(TEXTURE, LABELS, SIZES, 1, n_folds=3)
    # The best threshold for a test part is at least as good there as any other: in every single repetition.
    assert (tuned.pivot(index=["case", "repetition"], columns="right", values="value").diff(axis=1)[True] <= 0).all()
    assert experiment.differences(tuned).set_index("data").loc["simulated", "difference"] > 0.05


def test_the_best_of_much_noise_looks_good_only_where_it_was_chosen() -> None:
    rng = np.random.default_rng(3)
    names = [f"glcm_{8 + n}_1_{d}.0.0_{p}" for n in range(60) for d in (0, 1) for p in glcm.PROPERTIES]
    noise = pd.DataFrame(rng.normal(size=(len(WHOLE), len(names))), columns=names)
    found = pitfalls.selection(pd.concat([WHOLE[KEY], noise], axis=1), LABELS, SIZES, 3, n_folds=3)
    rows = experiment.differences(found).set_index("data")
    row = rows.loc["cohort, permuted labels"]
    assert list(rows.index) == ["cohort", "cohort, permuted labels", "simulated"]
    assert row["wrong"] > 0.6 > row["right"] and rows["difference"].min() > 0
    assert row["difference"] > 0.08


def test_the_naive_test_errs_too_often_and_the_clustered_one_does_not() -> None:
    rates = pitfalls.tests_under_null(SIZES, 1, iccs=(0.0, 0.6)).set_index(["icc", "method"])
    # Three standard errors of 400 simulations; facts of the same design: .20 against .05, coverage .78 against .94.
    assert rates.loc[(0.6, "clustered"), "type_one"] == pytest.approx(0.05, abs=0.033)
    assert rates.loc[(0.6, "clustered"), "coverage"] == pytest.approx(0.95, abs=0.035)
    assert rates.loc[(0.6, "naive DeLong"), "type_one"] > 0.14
    assert rates.loc[(0.6, "naive DeLong"), "coverage"] < 0.86
    assert rates.loc[(0.0, "naive DeLong"), "type_one"] == pytest.approx(0.05, abs=0.04)
    with pytest.raises(InputError, match="none of 400 cohorts of 1 patients"):
        pitfalls.tests_under_null(SIZES, 1, patients=1)


def test_labels_go_from_patient_to_patient_as_a_whole() -> None:
    given = experiment.permuted_by_patient(TEXTURE, LABELS, np.random.default_rng(0))
    own, new = (sorted(np.reshape(labels, (12, 8)).sum(axis=1)) for labels in (LABELS, given))
    assert own == new
    # Where labels follow the level alone, what is left of that is chance.
    by_level = TEXTURE["level"].isin(["L45", "L5S1"]).to_numpy().astype(int)
    drawn = [experiment.permuted_by_patient(TEXTURE, by_level, np.random.default_rng(n)) for n in range(40)]
    assert np.mean([roc_auc_score(by_level, labels) for labels in drawn]) == pytest.approx(0.5, abs=0.03)
    uneven = WHOLE.drop(index=[0, 1, 2, 13, 40])
    given = experiment.permuted_by_patient(uneven, uneven["label"].to_numpy(), np.random.default_rng(0))
    assert given.shape == (91,) and set(given) == {0, 1}


def test_the_forest_of_permuted_labels_and_its_p() -> None:
    found = pitfalls.permuted(TEXTURE, LABELS, SIZES, 1, n_folds=3)
    assert found["right"].tolist() == [True, False, False, False]
    assert found["data"].tolist() == ["cohort", *["cohort, permuted labels"] * 3]
    assert found["value"].iloc[0] > 0.8
    assert leakage.permutation_p(found) == (0.25, 3)
    assert "cannot be less than 0.250" in pitfalls.permuted_in_words(found)
    assert leakage.permutation_p(found.assign(value=[0.5, 0.5, 0.4, 0.9])) == (0.75, 3)
    assert pitfalls.permuted_in_words(found.assign(value=np.nan, note="why")).endswith("at least one. why")


def test_shuffled_voxels_leave_grey_levels_and_take_their_places() -> None:
    segment = COHORT.segments.iloc[0].to_dict()
    region = preprocess.region(COHORT.volume(segment), COHORT.annotation(segment), preprocess.GainSettings())
    in_place = voxels.features(region.voxels, region.voxels, region, bank.TextureSettings())
    shuffled = pitfalls.shuffle(region.voxels, 1)
    mixed = voxels.features(shuffled, shuffled, region, bank.TextureSettings())
    first, of_glcm = voxels.FAMILIES["first-order"], voxels.FAMILIES["GLCM"]
    np.testing.assert_array_equal(mixed[first], in_place[first])
    np.testing.assert_allclose(mixed[voxels.FAMILIES["Nakagami"]], in_place[voxels.FAMILIES["Nakagami"]], rtol=1e-9)
    assert (mixed[of_glcm] != in_place[of_glcm]).all()
    fit = intensity.fit(region.voxels, region.dynamic_range_db, input="intensity")
    np.testing.assert_allclose(in_place[voxels.FAMILIES["Nakagami"]], [fit.m, fit.omega])
    # A ramp is all texture: neighbours differ by one level, shuffled ones by twice the variance on average.
    ramp = np.broadcast_to((4 * np.arange(60, dtype=np.uint8))[:, None, None], (60, 40, 30)).copy()
    contrast = [glcm.properties(glcm.matrix(v, (1, 0, 0), 64))["contrast"] for v in (ramp, pitfalls.shuffle(ramp, 1))]
    assert contrast == [1, pytest.approx(2 * (ramp // 4).var(), rel=0.02)]


def test_shuffling_costs_nothing_where_there_is_no_texture() -> None:
    table = pitfalls.shuffled(*STUDY, n_folds=3)
    found = experiment.differences(table).set_index("case")
    assert found.loc["first-order", "difference"] == 0
    assert found.loc["GLCM", "wrong"] > 0.8 and found.loc["first-order", "wrong"] > 0.8
    assert table["se"].notna().all()
    assert pitfalls.shuffled_in_words(table).endswith(voxels.GREY_SPEAKS)
    lost = table.assign(value=table["value"] - 0.4 * ~table["right"])
    assert pitfalls.shuffled_in_words(lost).endswith(voxels.PLACES_SPEAK)
    unknown = pitfalls.shuffled_in_words(lost.assign(se=np.nan))
    assert unknown.endswith(voxels.GREY_SPEAKS) and "interval" not in unknown


def test_gain_that_follows_the_disease_flatters_until_it_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    few, measured, echo_of = replace(SIZES, volumes=1), [], voxels._rows
    monkeypatch.setattr(voxels, "_rows", lambda data, *rest: measured.append(len(data.keys)) or echo_of(data, *rest))
    found = experiment.differences(pitfalls.gain(STUDY[0], few, 1, n_folds=3)).set_index("case")
    # The mean of every segment, and the GLCM of one per patient; three cases of two repetitions each.
    assert measured == [len(WHOLE)] * 6 + [12] * 6
    echo = found.filter(like="echo intensity", axis=0)
    same, half, fatty = (echo.loc[f"echo intensity, {who}"] for who in (voxels.NOBODY, voxels.HALF, voxels.FATTY))
    # The echo of these volumes is the class, and their references are the same: a gain can only hurt.
    assert same["wrong"] > 0.95 and min(same["right"], half["right"], fatty["right"]) > 0.95
    assert half["wrong"] < same["wrong"] - 0.05
    louder = voxels._louder(COHORT.segments, voxels.FATTY, np.random.default_rng(0))
    share = COHORT.segments.groupby("participant_id")["label"].mean()
    chosen = COHORT.segments["participant_id"][louder].unique()
    assert len(chosen) == 6 and share[chosen].min() >= share.drop(chosen).max()


def test_predictive_values_are_those_of_counted_patients() -> None:
    # 1000 of whom 100 are ill: 80 found, 20 missed; of 900 healthy 90 called ill.
    row = pitfalls.prevalence(0.8, 0.9, [0.1]).iloc[0]
    assert row["ppv"] == pytest.approx(80 / 170) and row["npv"] == pytest.approx(810 / 830)
    assert row["false_alarms"] == pytest.approx(100 * 90 / 170)
    with pytest.raises(InputError, match="inside"):
        pitfalls.prevalence(0.8, 0.9, [0, 0.5])
    with pytest.raises(InputError, match="calls all segments the same"):
        pitfalls.prevalence(1.0, 0.0, [0.5])


def test_the_ceiling_is_that_of_counted_readers() -> None:
    rng = np.random.default_rng(0)
    error, n = pitfalls.reader_error(0.6), 400_000
    truth = rng.random(n) < experiment.PREVALENCE
    one, two = (truth ^ (rng.random(n) < error) for _ in range(2))
    called = pd.DataFrame({"grade_reader1": one.astype(int), "grade_reader2": 3 * two.astype(int)})
    assert reference.readers_kappa(called)[0] == pytest.approx(0.6, abs=0.005)
    assert roc_auc_score(one, truth) == pytest.approx(pitfalls.attenuated(1, error), abs=0.003)
    score = truth + rng.normal(size=n)
    assert roc_auc_score(one, score) == pytest.approx(
        pitfalls.attenuated(roc_auc_score(truth, score), error), abs=0.003
    )


def test_readers_that_are_missing_or_agree_on_nothing_are_said() -> None:
    told = {}
    for name, grades in {
        "none": pd.DataFrame({"grade_reader1": [0, 1, 2]}),
        "same": pd.DataFrame({"grade_reader1": [1, 2], "grade_reader2": [2, 1]}),
        "against": pd.DataFrame({"grade_reader1": [0, 1], "grade_reader2": [1, 0]}),
    }.items():
        table = pitfalls.ceiling(grades, SIZES, 1, segments=50, kappas=(0.5,))
        assert table["auc"].notna().tolist() == [True, True, False, False]
        told[name] = pitfalls.ceiling_in_words(table)
    assert "no segment was graded by both" in told["none"]
    assert "every segment the same call" in told["same"]
    assert "kappa is -1.00, no better than chance" in told["against"]
    good = pd.DataFrame({"grade_reader1": [0, 1] * 20, "grade_reader2": [0, 1] * 19 + [1, 1]})
    assert "kappa of **0.95**" in pitfalls.ceiling_in_words(
        pitfalls.ceiling(good, SIZES, 1, segments=40, kappas=(0.5,))
    )


def test_a_cohort_too_small_is_said_in_the_table() -> None:
    few = cohort_of(2)
    found = pitfalls.threshold(few.drop(columns="label"), few["label"].to_numpy(), SIZES, 1)
    of_cohort = found[found["data"] == "cohort"]
    assert of_cohort["value"].isna().all() and of_cohort["note"].str.contains("Found 2 patients").all()
    assert found.loc[found["data"] == "simulated", "value"].notna().all()
    words = pitfalls.in_words(found)
    assert words.count("Found 2 patients") == 1 and "- Not made: forest (cohort)." in words


def test_the_mean_over_folds_is_that_of_scikit_learn() -> None:
    rng, rows = np.random.default_rng(0), np.arange(60)
    values, labels = rng.normal(size=(60, 2)), np.tile([0, 1], 30)
    fold = Fold(0, 1, rows[:30], rows[30:40], rows[40:])
    score = (
        experiment.logistic_model().fit(values[fold.train], labels[fold.train]).predict_proba(values[fold.test])[:, 1]
    )
    auc = experiment.mean_auc(experiment.logistic_model(), values, labels, [fold])
    assert auc == pytest.approx(roc_auc_score(labels[fold.test], score))


def test_settings_that_show_nothing_are_refused() -> None:
    with pytest.raises(
        InputError, match="repetitions: found 1, expected at least 2; trees: found 0, expected at least 1"
    ):
        build(experiment.PitfallsSettings, {"repetitions": 1, "trees": 0}, "a test")
