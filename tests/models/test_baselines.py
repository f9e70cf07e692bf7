"""Baselines against their definition, and against labels and values that they must not see."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mflib.base.errors import InputError
from mflib.base.words import KEY, LEVELS, SIDES
from mflib.models import baselines, folds
from mflib.stats.performance.metrics import youden_threshold


def study(n_patients=24, seed=0):
    """Segments with patients' values; BMI and mean echo follow the label."""
    rng = np.random.default_rng(seed)
    keys = pd.MultiIndex.from_product([[f"sub-{n:03d}" for n in range(n_patients)], LEVELS, SIDES], names=KEY)
    patient = np.repeat(np.arange(n_patients), 8)
    bmi = rng.normal(23, 3, n_patients)
    labels = (rng.normal(bmi[patient], 3) > 23).astype(int)
    table = keys.to_frame(index=False).assign(
        age=rng.normal(32, 9, n_patients)[patient],
        sex=rng.choice(["M", "F"], n_patients)[patient],
        bmi=bmi[patient],
        first_order_mean=rng.normal(90 + 10 * labels, 10),
    )
    return table, labels, folds.make(labels, table["participant_id"], seed=seed)


MODELS = [baselines.echo_intensity, baselines.clinical]


@pytest.mark.parametrize("model", MODELS)
def test_predictions_are_complete_and_better_than_chance(model):
    table, labels, made = study()
    predictions = model(table, labels, made)
    assert list(predictions) == [
        *KEY,
        "model",
        "split",
        "repeat",
        "fold",
        "y_true",
        "score",
        "threshold",
        "probability",
    ]
    assert set(predictions["model"]) == {model.__name__}
    merged = table[KEY].assign(label=labels).merge(predictions, on=KEY)
    assert (merged["label"] == merged["y_true"]).all()
    assert len(merged) == len(table)
    assert roc_auc_score(predictions["y_true"], predictions["score"]) > 0.6


@pytest.mark.parametrize("model", MODELS)
def test_test_labels_change_nothing(model):
    table, labels, made = study()
    changed = labels.copy()
    changed[made[0].test] = 1 - changed[made[0].test]
    columns = ["score", "threshold"]
    whole, other = (model(table, y, made[:1])[columns] for y in (labels, changed))
    pd.testing.assert_frame_equal(whole, other, check_exact=True)


def test_echo_intensity_is_the_standardised_mean_with_the_sign_of_training():
    table, labels, made = study()
    fold = made[1]
    mean = table["first_order_mean"].to_numpy()
    expected = (mean - mean[fold.train].mean()) / mean[fold.train].std()
    bright = baselines.echo_intensity(table, labels, [fold])
    np.testing.assert_allclose(bright["score"], expected[fold.test], rtol=1e-12)
    assert (bright["threshold"] == youden_threshold(labels[fold.validation], expected[fold.validation])).all()
    dark = baselines.echo_intensity(table.assign(first_order_mean=255 - mean), labels, [fold])
    np.testing.assert_allclose(dark["score"], bright["score"], rtol=1e-10)


def test_clinical_imputes_and_scales_by_training_alone():
    table, labels, made = study()
    fold = made[0]
    missing = table["participant_id"].isin(["sub-001", "sub-007", "sub-012"])
    table = table.assign(bmi=table["bmi"].mask(missing), sex=table["sex"].mask(table["participant_id"] == "sub-003"))
    values = table[["age", "sex", "bmi"]].assign(sex=table["sex"].map({"F": 0.0, "M": 1.0}))
    train = values.iloc[fold.train]
    filled = values.fillna(train.median())
    scaled = (filled - filled.iloc[fold.train].mean()) / filled.iloc[fold.train].std(ddof=0)
    model = LogisticRegression().fit(scaled.iloc[fold.train], labels[fold.train])
    found = baselines.clinical(table, labels, [fold])
    np.testing.assert_allclose(found["score"], model.predict_proba(scaled.iloc[fold.test])[:, 1], rtol=1e-9)


def test_column_without_training_values_carries_nothing():
    table, labels, made = study()
    fold = made[0]
    empty = table.assign(bmi=table["bmi"].where(table.index.isin(fold.test)))
    constant = table.assign(bmi=23.0)
    np.testing.assert_allclose(
        baselines.clinical(empty, labels, [fold])["score"],
        baselines.clinical(constant, labels, [fold])["score"],
    )


def test_tables_that_cannot_be_used_are_refused():
    table, labels, made = study()
    with pytest.raises(InputError, match="no column bmi"):
        baselines.clinical(table.drop(columns="bmi"), labels, made)
    nothing = table.assign(age=np.nan, sex=None, bmi=np.nan)
    with pytest.raises(InputError, match="age, sex, bmi: all values of a training part are missing"):
        baselines.clinical(nothing, labels, made)
    with pytest.raises(InputError, match="first_order_mean is 90 in a whole training part"):
        baselines.echo_intensity(table.assign(first_order_mean=90.0), labels, made)


def test_a_cohort_without_age_sex_and_bmi_keeps_the_other_baseline():
    table, labels, made = study()
    both = baselines.out_of_fold(table, table, labels, made)
    assert set(both.predictions["model"]) == {"echo_intensity", "clinical"}
    assert both.left_out == ""
    bare = table.assign(age=np.nan, sex=np.nan, bmi=np.nan)
    one = baselines.out_of_fold(table, bare, labels, made)
    assert set(one.predictions["model"]) == {"echo_intensity"}
    assert "clinical baseline is left out: age, sex, bmi" in one.left_out


def test_what_the_level_alone_says_is_what_a_logistic_regression_on_it_says():
    segments, _, parts = study()
    one_hot = pd.get_dummies(segments["level"]).to_numpy(float)
    labels = ((segments["level"] > "L34") ^ (np.arange(len(segments)) % 3 == 0)).to_numpy().astype(int)
    areas = []
    for fold in parts:
        model = LogisticRegression(C=1e6).fit(one_hot[fold.train], labels[fold.train])
        areas.append(roc_auc_score(labels[fold.test], model.predict_proba(one_hot[fold.test])[:, 1]))
    assert f"**{np.mean(areas):.2f}**" in baselines.level_in_words(segments, labels, parts)
