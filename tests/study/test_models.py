"""What is stored is what was judged, and the ensemble is the plain mean of its folds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from scipy.special import expit, logit
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from mflib.base.errors import FileError
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data.volume import Annotation
from mflib.models.dcnn import inputs, network, saliency
from mflib.models.texture import bank
from mflib.stats.performance.probability import EPSILON
from mflib.study import learnt, predict
from mflib.study.kept import arrays
from mflib.study.lab import Study
from mflib.study.learnt import Trees
from mflib.study.predict import Models
from tests.models.test_transfer import released

N = 5  # the segment that is looked at closely


@pytest.fixture(scope="module")
def predictions(study: Study) -> pd.DataFrame:
    return study.predictions("random_forest", "dcnn")


def test_stored_forests_repeat_the_runs_predictions_to_the_last_digit(
    study: Study, models: Models, predictions: pd.DataFrame
) -> None:
    for fold, (stored, trees) in zip(study.folds, models.forests, strict=True):
        rows = study.texture.iloc[fold.test]
        own = rows[KEY].merge(predictions[predictions["model"] == "random_forest"], on=KEY, how="left")
        assert (own["fold"] == stored.fold).all()
        np.testing.assert_array_equal(trees.scores(rows[list(stored.features)].to_numpy(float)), own["score"])
        np.testing.assert_array_equal(own["threshold"], stored.threshold)


def test_an_example_is_nearest_to_the_medians_of_its_grade(study: Study) -> None:
    segments = study.cohort.segments
    ranks = study.texture[[name for name in bank.EXAMPLES if name in study.texture]].rank().to_numpy()
    examples = study.typical()
    assert [one["grade"] for one in examples] == sorted(set(segments["grade"]))
    for one in examples:
        of_grade = np.flatnonzero(segments["grade"] == one["grade"])
        away = np.abs(ranks[of_grade] - np.median(ranks[of_grade], axis=0)).sum(axis=1)
        assert list(segments.iloc[of_grade[away.argmin()]][KEY]) == [one[key] for key in KEY]
    drawn = study.example(examples[0])
    expected = study.region(examples[0]).voxels
    np.testing.assert_array_equal(drawn.volume.voxels[drawn.annotation.roi], expected)
    assert drawn.muscle is None  # nobody knows


def test_trees_decide_as_scikit_learn_does_where_a_value_lies_on_a_threshold() -> None:
    rng = np.random.default_rng(4)
    learnt, labels = rng.normal(size=(80, 3)), rng.integers(0, 2, 80)
    model = RandomForestClassifier(20, random_state=0).fit(learnt, labels)
    numbers = arrays(model)
    edges = numbers["threshold"][numbers["left"] >= 0]
    on = rng.choice(edges, (500, 3)) * (1 + rng.choice([-1e-9, 0.0, 1e-9], (500, 3)))
    np.testing.assert_array_equal(Trees(**numbers).scores(on), model.predict_proba(on)[:, 1])


def test_stored_networks_repeat_the_runs_predictions(study: Study, models: Models, predictions: pd.DataFrame) -> None:
    own = predictions[predictions["model"] == "dcnn"].set_index(KEY)
    settings, segments = study.profile.network, study.cohort.segments
    for fold, (stored, _) in zip(study.folds, models.networks, strict=True):
        model = network.build(settings.depth, settings.width, settings.dilated)
        model.load_state_dict(safetensors.torch.load_file(study.artifacts / stored.file))
        rows = segments.iloc[fold.test].to_dict("records")
        seen = [inputs.made(study.cohort, segment, study.profile.preprocessing, settings) for segment in rows]
        with torch.no_grad():
            scores = model.eval()(torch.from_numpy(np.stack(seen))[:, None])[:, 0].sigmoid().numpy()
        kept = own.loc[[tuple(segment[key] for key in KEY) for segment in rows]]
        np.testing.assert_allclose(scores, kept["score"], atol=1e-6)
        np.testing.assert_array_equal(kept["threshold"], stored.threshold)
        np.testing.assert_allclose(kept["probability"], stored.probability(kept["score"]), rtol=1e-12)


@pytest.mark.parametrize("n", range(3, 64, 6))
def test_an_assessment_is_the_mean_of_the_folds(study: Study, models: Models, n: int) -> None:
    segment = study.cohort.segments.to_dict("records")[n]
    found = models.assess(study.cohort.volume(segment), study.cohort.annotation(segment), "volume")

    fitted = study.forest.models
    forests = [f.model.predict_proba(study.texture.iloc[[n]][f.features].to_numpy(float))[0, 1] for f in fitted]
    seen = inputs.made(study.cohort, segment, study.profile.preprocessing, study.profile.network)
    trained = [model for _, model in models.networks]
    with torch.no_grad():
        scored = [float(model(torch.from_numpy(seen)[None, None])[0, 0].sigmoid()) for model in trained]
    scales = {
        "random_forest": [f.frozen for f in fitted],
        "dcnn": [fold for fold, _ in models.networks],
    }
    for name, scores in (("random_forest", forests), ("dcnn", scored)):
        result = found.results[name]
        x, cuts = logit(np.clip(scores, EPSILON, 1 - EPSILON)), [scale.threshold for scale in scales[name]]
        slopes, intercepts = [s.slope for s in scales[name]], [s.intercept for s in scales[name]]
        assert result.score == pytest.approx(np.mean(expit(intercepts + slopes * x)), abs=1e-6)
        mean = np.mean(expit(intercepts + slopes * logit(np.clip(cuts, EPSILON, 1 - EPSILON))))
        assert result.threshold == pytest.approx(mean)
        assert result.called == (result.score >= result.threshold)
        assert result.votes == sum((s >= t) == result.called for s, t in zip(scores, cuts, strict=True))
        assert result.folds == 2

    towards = found.results["dcnn"].called
    mean = np.mean([saliency.grad_cam(model, seen, towards) for model in trained], axis=0)
    expected = saliency.on_region(mean, study.profile.network, found.region.voxels.shape, found.region.spacing_mm)
    np.testing.assert_allclose(found.saliency, expected, atol=1e-6)
    assert any("learnt from this very volume" in notice for notice in found.notices)


def test_the_reduced_texture_grid_gives_the_numbers_of_the_whole_one(study: Study, models: Models) -> None:
    segment = study.cohort.segments.to_dict("records")[N]
    region = study.region(segment)
    asked = models.complete(bank.measure(region.voxels, (0.4, 0.4, 0.5), region.dynamic_range_db, models.texture))
    np.testing.assert_array_equal(asked.to_numpy(), study.texture.iloc[N][asked.index].to_numpy(float))


def test_a_volume_that_cannot_be_measured_is_refused_with_its_name(study: Study, models: Models) -> None:
    segment = study.cohort.segments.to_dict("records")[0]
    volume, own = study.cohort.volume(segment), study.cohort.annotation(segment)
    wrong = {
        "shadow is at": Annotation(own.bone, (4, 99, 9), own.roi_start, own.roi_size),
        "expected a brighter bone": Annotation(own.shadow, own.bone, own.roi_start, own.roi_size),
        "expected inside a volume": Annotation(own.bone, own.shadow, own.roi_start, (99, 9, 9)),
        "the region is too small for glcm_": Annotation(own.bone, own.shadow, own.roi_start, (2, 2, 2)),
    }
    for said, annotation in wrong.items():
        with pytest.raises(FileError, match=f"^hers: .*{said}"):
            models.assess(volume, annotation, "hers")


def test_the_models_say_how_good_they_were(study: Study, models: Models, predictions: pd.DataFrame) -> None:
    for row in models.performance.itertuples():
        own = predictions[predictions["model"] == row.model]
        folds = [roc_auc_score(fold["y_true"], fold["score"]) for _, fold in own.groupby("fold")]
        assert row.auc == pytest.approx(np.mean(folds))
        assert (row.segments, row.patients) == (64, 8)
    assert (models.cohort.name, models.cohort.synthetic) == ("Test clinic", False)
    assert models.profile["Split"] == "by patient"


def test_a_network_of_the_recorded_gain_and_fixed_scale_gets_its_own_input(study: Study, models: Models) -> None:
    segment = study.cohort.segments.to_dict("records")[N]
    settings = replace(study.profile.network, gain="recorded", scale="fixed")
    expected = inputs.made(study.cohort, segment, study.profile.preprocessing, settings)
    found = inputs.of_region(study.region(segment), preprocess.GainSettings(), settings)
    np.testing.assert_array_equal(found, expected)


def test_a_frozen_network_is_kept_whole_and_without_the_place_of_its_weights(study: Study, tmp_path: Path) -> None:
    settings = {"depth": 10, "width": 8, "size": (24, 24, 16), "pretrained": "required", "frozen": True}
    weights = released(tmp_path / "resnet_10.pth", 3)
    profile = replace(study.profile, network=replace(study.profile.network, weights=str(weights), **settings))
    frozen = Study(profile, "frozen", tmp_path / "run", {})
    result = frozen.network()
    frozen.keep_network(result)
    kept = learnt.read(frozen.artifacts, "dcnn")
    assert str(tmp_path) not in (frozen.artifacts / "model_dcnn.json").read_text()
    own = result.predictions.set_index(KEY)["score"]
    for fold, stored in zip(frozen.folds, kept.folds, strict=True):
        content = learnt.read_stored(frozen.artifacts, stored.file, stored.sha256)
        model = learnt.read_network(stored.file, content, profile.network)
        for position in fold.test[:5]:
            key = tuple(frozen.cohort.segments.loc[position, KEY])
            (score,) = predict.network_scores([model], result.inputs[int(position)], profile.network)
            # The head was fitted in float64 and is stored in float32.
            assert score == pytest.approx(own[key], abs=1e-4)


def test_models_that_were_judged_on_known_patients_say_so(study: Study, models: Models) -> None:
    segment = study.cohort.segments.to_dict("records")[0]
    lenient = replace(models, profile={**models.profile, "Split": "by segment"})
    found = lenient.assess(study.cohort.volume(segment), study.cohort.annotation(segment))
    assert any("patients that they had seen" in notice for notice in found.notices)


def test_manifests_hold_no_folder_and_stay_small(study: Study) -> None:
    for path in study.artifacts.glob("model_*.json"):
        text = path.read_text()
        assert str(study.cohort.root) not in text
        assert str(study.artifacts) not in text
        assert len(text) < 150_000
        assert json.loads(text)["format"] == 4


def test_a_finer_grid_is_brought_to_the_voxel_size_of_the_training_cohort(study: Study, models: Models) -> None:
    settings = models.texture
    assert settings.voxel_mm == (0.4, 0.4, 0.5) and study.profile.texture.voxel_mm == "coarsest"
    region = study.region(study.cohort.segments.iloc[N])
    own = bank.measure(region.voxels, (0.4, 0.4, 0.5), region.dynamic_range_db, settings)
    fine = region.voxels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    pd.testing.assert_series_equal(bank.measure(fine, (0.2, 0.2, 0.25), region.dynamic_range_db, settings), own)
