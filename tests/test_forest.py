"""The forest: its choice against scikit-learn, its honesty against changed and permuted labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score

from mflib import folds, forest
from mflib.performance import youden_threshold
from mflib.texture import glcm
from mflib.volume import KEY, LEVELS, SIDES

NAMES = glcm.names((9, 9, 9), levels=(8, 32), steps=(1, 2))
TELLING = "glcm_32_2_1.-1.0_"
SETTINGS = forest.Settings(trees=40, permutations=3)


def texture_table(n_patients=24, seed=0, signal=1.5, telling=TELLING):
    """Eight segments a patient; only the six properties of one combination, and nakagami_m, follow the label."""
    rng = np.random.default_rng(seed)
    keys = pd.MultiIndex.from_product([[f"sub-{n:03d}" for n in range(n_patients)], LEVELS, SIDES], names=KEY)
    labels = rng.integers(0, 2, len(keys))
    columns = [*NAMES, *forest.OTHER_FEATURES]
    values = pd.DataFrame(rng.normal(size=(len(keys), len(columns))), columns=columns)
    for name in (*(telling + name for name in glcm.PROPERTIES), "nakagami_m"):
        values[name] += signal * labels * (-1 if name.endswith("energy") else 1)
    return pd.concat([keys.to_frame(index=False), values], axis=1), labels


def run(table, labels, made, settings=SETTINGS):
    return forest.out_of_fold(table, labels, made, settings, "patient")


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
    train = made[2].train
    auc = np.array([roc_auc_score(labels[train], table[TELLING + name].iloc[train]) for name in glcm.PROPERTIES])
    assert result.choices["train_auc"][2] == pytest.approx(np.maximum(auc, 1 - auc).mean())
    assert roc_auc_score(result.predictions["y_true"], result.predictions["score"]) > 0.95
    weight = result.importance.groupby("feature")["importance"].mean()
    assert set(weight.index) == set(forest.FEATURES)
    assert weight["nakagami_m"] > weight.filter(like="first_order").max()
    assert list(result.predictions) == [
        *KEY, "model", "split", "repeat", "fold", "y_true", "score", "threshold"
    ]  # fmt: skip
    assert not result.predictions.duplicated(KEY).any()
    assert len(result.predictions) == len(table)


def test_one_fold_equals_the_forest_by_hand():
    table, labels = texture_table()
    fold = folds.make(labels, table["participant_id"], seed=1)[0]
    result = run(table, labels, [fold])
    columns = [*(TELLING + name for name in glcm.PROPERTIES), *forest.OTHER_FEATURES]
    seeds = np.random.SeedSequence([0, 0, 1]).generate_state(2)
    model = RandomForestClassifier(40, random_state=int(seeds[0]))
    values = table[columns].to_numpy()
    model.fit(values[fold.train], labels[fold.train])
    np.testing.assert_array_equal(result.predictions["score"], model.predict_proba(values[fold.test])[:, 1])
    validation = model.predict_proba(values[fold.validation])[:, 1]
    assert (result.predictions["threshold"] == youden_threshold(labels[fold.validation], validation)).all()
    many = run(table, labels, [fold], forest.Settings(trees=40, permutations=25)).importance
    expected = permutation_importance(
        model, values[fold.test], labels[fold.test], scoring="roc_auc", n_repeats=25, random_state=0
    )
    np.testing.assert_allclose(many["importance"], expected.importances_mean, atol=0.02)
    assert list(many["feature"]) == list(forest.FEATURES)


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


def test_permuted_labels_give_chance():
    table, labels = texture_table(n_patients=20)
    areas = []
    for seed in range(5):
        permuted = np.random.default_rng(seed).permutation(labels)
        made = folds.make(permuted, table["participant_id"], seed=seed)
        predictions = run(table, permuted, made).predictions
        areas.append(roc_auc_score(predictions["y_true"], predictions["score"]))
    assert 0.43 < np.mean(areas) < 0.57


def test_map_is_the_mean_over_directions():
    table, labels = texture_table()
    rows = np.arange(0, len(table), 2)
    grid = forest.univariate_auc_map(table, labels, rows)
    assert list(grid.index) == [8, 32]
    assert list(grid.columns) == [1, 2]
    auc = [roc_auc_score(labels[rows], table[name].iloc[rows]) for name in NAMES if name.startswith("glcm_8_2_")]
    assert grid.loc[8, 2] == pytest.approx(np.mean(np.maximum(auc, 1 - np.array(auc))))


def test_tables_that_cannot_be_used_are_refused():
    table, labels = texture_table(6)
    made = folds.make(labels, table["participant_id"], n_folds=2, seed=0)
    with pytest.raises(forest.ForestError, match="48 rows of texture and 47 labels"):
        run(table, labels[1:], made)
    with pytest.raises(forest.ForestError, match="lacks nakagami_m"):
        run(table.drop(columns="nakagami_m"), labels, made)
    with pytest.raises(forest.ForestError, match="lacks every glcm_ column"):
        run(table.drop(columns=NAMES), labels, made)
    with pytest.raises(forest.ForestError, match="has not the six properties"):
        run(table.drop(columns=TELLING + "ASM"), labels, made)
    with pytest.raises(forest.ForestError, match="first in row 3, column nakagami_omega"):
        run(table.assign(nakagami_omega=table["nakagami_omega"].mask(table.index == 3)), labels, made)
