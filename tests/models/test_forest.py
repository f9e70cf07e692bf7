"""The forest: its choice against scikit-learn, its honesty against changed and permuted labels."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score

from mflib.base.errors import InputError
from mflib.base.settings import build
from mflib.base.words import KEY, LEVELS, SIDES, WHOLE_FAMILY
from mflib.models import folds, forest
from mflib.models.forest import OTHER_FEATURES, glcm_columns, held_out_separation
from mflib.models.texture import glcm
from mflib.stats.performance.metrics import youden_threshold

NAMES = glcm.names((9, 9, 9), levels=(8, 32), steps=(1, 2))
TELLING = "glcm_32_2_1.-1.0_"
SETTINGS = forest.ForestSettings(trees=40, permutations=3, leaf_sizes=(1, 8), inner_folds=3, inner_trees=10)


def texture_table(n_patients=24, seed=0, signal=1.5, telling=TELLING):
    """Eight segments a patient; only the six properties of one combination, and nakagami_m, follow the label."""
    rng = np.random.default_rng(seed)
    keys = pd.MultiIndex.from_product([[f"sub-{n:03d}" for n in range(n_patients)], LEVELS, SIDES], names=KEY)
    labels = rng.integers(0, 2, len(keys))
    names = [*NAMES, *OTHER_FEATURES]
    values = pd.DataFrame(rng.normal(size=(len(keys), len(names))), columns=names)
    for name in (*(telling + name for name in glcm.PROPERTIES), "nakagami_m"):
        values[name] += signal * labels * (-1 if name.endswith("energy") else 1)
    return pd.concat([keys.to_frame(index=False), values], axis=1), labels


def run(table, labels, made, settings=SETTINGS):
    return forest.out_of_fold(table, labels, made, settings)


def test_univariate_auc_equals_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    values, labels = rng.integers(0, 6, (60, 5)).astype(float), rng.integers(0, 2, 60)
    expected = [roc_auc_score(labels, column) for column in values.T]
    np.testing.assert_allclose(forest.univariate_auc(values, labels), expected, rtol=1e-12)


def test_telling_combination_is_chosen_and_read():
    table, labels = texture_table()
    made = folds.make(labels, table["participant_id"], seed=1)
    result = run(table, labels, made)
    assert (result.choices[["levels", "step", "direction"]] == [32, 2, "1.-1.0"]).all(axis=None)
    assert (result.choices["offered"] == 4 * len(glcm.DIRECTIONS)).all()
    assert roc_auc_score(result.predictions["y_true"], result.predictions["score"]) > 0.95
    weight = result.importance.groupby(["family", "feature"])["importance"].mean()
    assert set(weight["GLCM"].index) == {*(f"glcm_{name}" for name in glcm.PROPERTIES), WHOLE_FAMILY}
    assert set(weight["Nakagami"].index) == {"nakagami_m", "nakagami_omega", WHOLE_FAMILY}
    assert weight["GLCM", WHOLE_FAMILY] > weight["GLCM"].drop(WHOLE_FAMILY).max()
    assert weight["Nakagami", "nakagami_m"] > weight["First-order"].max()
    assert list(result.predictions) == [
        *KEY, "model", "split", "repeat", "fold", "y_true", "score", "threshold", "probability"
    ]  # fmt: skip
    assert not result.predictions.duplicated(KEY).any()
    assert len(result.predictions) == len(table)


def test_one_fold_equals_the_forest_by_hand():
    table, labels = texture_table()
    fold = folds.make(labels, table["participant_id"], seed=1)[0]
    result = run(table, labels, [fold])
    chosen = [*(TELLING + name for name in glcm.PROPERTIES), *OTHER_FEATURES]
    trees, _, choosing = (int(seed) for seed in np.random.SeedSequence([0, 0, 1]).generate_state(3))
    leaf_size, inner_auc = best_leaf(table.iloc[fold.train], labels[fold.train], chosen, choosing)
    assert result.choices[["leaf_size", "inner_auc"]].iloc[0].tolist() == [leaf_size, pytest.approx(inner_auc)]
    model = RandomForestClassifier(40, min_samples_leaf=leaf_size, random_state=trees)
    values = table[chosen].to_numpy()
    model.fit(values[fold.train], labels[fold.train])
    np.testing.assert_array_equal(result.predictions["score"], model.predict_proba(values[fold.test])[:, 1])
    validation = model.predict_proba(values[fold.validation])[:, 1]
    assert (result.predictions["threshold"] == youden_threshold(labels[fold.validation], validation)).all()
    many = run(table, labels, [fold], dataclasses.replace(SETTINGS, permutations=25)).importance
    many = many[many["feature"] != WHOLE_FAMILY]
    expected = permutation_importance(
        model, values[fold.test], labels[fold.test], scoring="roc_auc", n_repeats=25, random_state=0
    )
    np.testing.assert_allclose(many["importance"], expected.importances_mean, atol=0.02)


def best_leaf(table, labels, chosen, seed):
    """The inner folds by hand, for one combination."""
    values, found = table[chosen].to_numpy(), {}
    for leaf_size in SETTINGS.leaf_sizes:
        areas = []
        for learn, held_out in folds.inner(labels, table["participant_id"], SETTINGS.inner_folds, seed):
            model = RandomForestClassifier(SETTINGS.inner_trees, min_samples_leaf=leaf_size, random_state=seed)
            scores = model.fit(values[learn], labels[learn]).predict_proba(values[held_out])[:, 1]
            areas.append(roc_auc_score(labels[held_out], scores))
        found[leaf_size] = np.mean(areas)
    best = max(found, key=found.get)
    return best, found[best]


def test_univariate_stage_judges_on_held_out_patients():
    table, labels = texture_table(10)
    grid = glcm_columns(table)
    inner = folds.inner(labels, table["participant_id"], 3, 0)
    found = held_out_separation(table, grid, labels, inner)
    areas = []
    for learn, held_out in inner:
        assert not set(table["participant_id"].iloc[learn]) & set(table["participant_id"].iloc[held_out])
        for name in glcm.PROPERTIES:
            column = table["glcm_8_1_0.1.1_" + name]
            sign = 1 if roc_auc_score(labels[learn], column.iloc[learn]) >= 0.5 else -1
            areas.append(roc_auc_score(labels[held_out], sign * column.iloc[held_out]))
    assert found[8, 1, "0.1.1"] == pytest.approx(np.mean(areas))


def test_only_repeatable_combinations_are_offered():
    table, labels = texture_table()
    made = folds.make(labels, table["participant_id"], seed=1)[:1]
    rng = np.random.default_rng(0)
    first = table.drop_duplicates("participant_id")
    noise = pd.Series(0.1, index=table.columns[3:])
    noise[[TELLING + "ASM", "nakagami_omega", "glcm_8_1_1.1.1_contrast"]] = 5.0
    moved = [
        first.assign(
            perturbation=kind, direction=way, **(first[noise.index] + rng.normal(size=(24, len(noise))) * scale)
        )
        for kind, way, scale in (("as annotated", 0, 0), ("gain", -1, noise.to_numpy()), ("gain", 1, noise.to_numpy()))
    ]
    perturbed = pd.concat(moved)
    settings = dataclasses.replace(SETTINGS, minimum_icc=0.75)
    result = forest.out_of_fold(table, labels, made, settings, perturbed=perturbed)
    # A combination goes on with those of its properties that repeat.
    assert result.choices["offered"][0] == 4 * len(glcm.DIRECTIONS)
    assert result.choices[["levels", "step", "direction"]].iloc[0].tolist() == [32, 2, "1.-1.0"]
    used = set(result.importance["feature"])
    assert {"glcm_contrast", "nakagami_m"} <= used
    assert not {"glcm_ASM", "nakagami_omega"} & used
    with pytest.raises(InputError, match=r"no GLCM feature has an ICC of at least 0\.9999"):
        forest.out_of_fold(table, labels, made, dataclasses.replace(settings, minimum_icc=0.9999), perturbed=perturbed)
    with pytest.raises(InputError, match="no perturbed texture"):
        run(table, labels, made, settings)


def test_processes_do_not_change_the_numbers():
    table, labels = texture_table(10)
    made = folds.make(labels, table["participant_id"], n_folds=3, seed=1)
    one = run(table, labels, made)
    two = forest.out_of_fold(table, labels, made, SETTINGS, workers=2)
    for name in ("predictions", "choices", "importance"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name), check_exact=True)


def test_test_labels_change_nothing_and_validation_labels_only_the_threshold():
    table, labels = texture_table(signal=0.4)
    fold = folds.make(labels, table["participant_id"], seed=1)[0]

    def with_flipped(positions):
        changed = labels.copy()
        changed[positions] = 1 - changed[positions]
        return run(table, changed, [fold])

    whole, other_test = run(table, labels, [fold]), with_flipped(fold.test)
    pd.testing.assert_frame_equal(whole.choices, other_test.choices)
    columns = ["score", "threshold"]
    pd.testing.assert_frame_equal(whole.predictions[columns], other_test.predictions[columns], check_exact=True)
    other_validation = with_flipped(fold.validation)
    pd.testing.assert_frame_equal(whole.choices, other_validation.choices)
    assert whole.predictions["score"].equals(other_validation.predictions["score"])
    assert not whole.predictions["threshold"].equals(other_validation.predictions["threshold"])


def test_test_features_change_no_choice_and_no_threshold():
    table, labels = texture_table()
    fold = folds.make(labels, table["participant_id"], seed=1)[0]
    changed = table.copy()
    changed.loc[fold.test, NAMES] = 0.0
    whole, other = run(table, labels, [fold]), run(changed, labels, [fold])
    pd.testing.assert_frame_equal(whole.choices, other.choices)
    assert whole.predictions["threshold"].equals(other.predictions["threshold"])


@pytest.mark.slow
def test_labels_permuted_by_patient_give_chance_but_not_to_a_split_by_segment():
    # Segments of a patient are alike, in texture and in label, and a patient's label says nothing of the texture.
    areas = {"patient": [], "segment": []}
    for seed in range(10):
        table, _ = texture_table(n_patients=20, seed=seed, signal=0)
        rng = np.random.default_rng(seed)
        own = pd.DataFrame(rng.normal(scale=2, size=(20, table.shape[1] - 3)), columns=table.columns[3:])
        table[own.columns] += own.loc[np.arange(160) // 8].set_axis(table.index)
        labels = np.repeat(rng.permutation(20) < 9, 8) ^ (rng.random(160) < 0.1)
        labels = labels.astype(int)
        for split, found in areas.items():
            made = folds.make(labels, table["participant_id"], split=split, seed=seed, n_folds=3)
            predictions = forest.out_of_fold(table, labels, made, SETTINGS).predictions
            found.append(roc_auc_score(predictions["y_true"], predictions["score"]))
    assert 0.4 < np.mean(areas["patient"]) < 0.6
    assert np.mean(areas["segment"]) > 0.7


def test_areas_of_single_features_are_those_of_scikit_learn():
    table, labels = texture_table()
    table[NAMES[0]] = table[NAMES[0]].round()  # ties
    found = forest.univariate_auc(table[NAMES].to_numpy(float), labels)
    assert found == pytest.approx([roc_auc_score(labels, table[name]) for name in NAMES])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trees": 0}, "trees: found 0, expected at least 1"),
        ({"leaf_sizes": ()}, "leaf_sizes: found"),
        ({"leaf_sizes": (1, 0)}, r"leaf_sizes\.1: found 0, expected at least 1"),
        ({"inner_folds": 1}, "inner_folds: found 1, expected at least 2"),
        ({"minimum_icc": 1.0}, r"minimum_icc: found 1\.0, expected below 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        build(forest.ForestSettings, values, "a test")


def test_tables_that_cannot_be_used_are_refused():
    table, labels = texture_table(6)
    made = folds.make(labels, table["participant_id"], n_folds=2, seed=0)
    with pytest.raises(InputError, match="48 rows of texture and 47 labels"):
        run(table, labels[1:], made)
    with pytest.raises(InputError, match="lacks nakagami_m"):
        run(table.drop(columns="nakagami_m"), labels, made)
    with pytest.raises(InputError, match="lacks every glcm_ column"):
        run(table.drop(columns=NAMES), labels, made)
    with pytest.raises(InputError, match="has not the six properties"):
        run(table.drop(columns=TELLING + "ASM"), labels, made)
    with pytest.raises(InputError, match="first in row 3, column nakagami_omega"):
        run(table.assign(nakagami_omega=table["nakagami_omega"].mask(table.index == 3)), labels, made)


def test_the_reading_says_whether_the_folds_chose_one_feature():
    table, _ = texture_table(6)
    table["glcm_8_1_1.0.0_contrast"] = table[TELLING + "contrast"] * 2
    chosen = pd.DataFrame([(32, 2, "1.-1.0")] * 3 + [(8, 1, "1.0.0")], columns=forest.COMBINATION)
    told = forest.stability_in_words(chosen, table)
    assert "**2 different combinations** in 4 choices, at most 3 of them the same" in told
    assert "at least 1.00" in told and told.endswith(forest.STABLE)
    table["glcm_8_1_1.0.0_contrast"] *= -1
    told = forest.stability_in_words(chosen, table)
    assert "at least -1.00" in told and told.endswith(forest.UNSTABLE)
    assert forest.stability_in_words(chosen[:3], table).endswith(forest.STABLE)
