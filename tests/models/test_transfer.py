"""A frozen backbone: features once per volume, a head that is chosen by patients, and one network in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mflib.base.errors import RunError
from mflib.base.words import KEY
from mflib.data import cohort as cohorts
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models import folds
from mflib.models.dcnn import network, transfer
from mflib.models.dcnn.fold import load_network
from mflib.models.dcnn.inputs import Source
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.dcnn.training import NetworkResult
from mflib.stats.performance.metrics import youden_threshold
from tests.models.toy import evenly_labelled

SIZE = (24, 24, 16)


def released(path: Path, seed: int) -> Path:
    """Random weights in the released layout; running statistics that keep the features from dying out."""
    torch.manual_seed(seed)
    model = network.build(10, width=8).train()
    for _ in range(20):
        model(torch.randn(4, 1, *SIZE))
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items() if "fc." not in k}}, path)
    return path


@pytest.fixture
def cohort(make_cohort) -> Cohort:
    return evenly_labelled(cohorts.load(make_cohort(14, segments=2)))


@pytest.fixture
def settings(tmp_path: Path) -> NetworkSettings:
    weights = released(tmp_path / "resnet_10.pth", 3)
    started = {"pretrained": "required", "weights": str(weights), "frozen": True}
    # The regions are 8 mm wide: in a box for people they would be a speck, and all features nearly the same.
    return NetworkSettings(depth=10, width=8, size=SIZE, workers=1, extent_mm=(8.0, 8.0, 8.0), **started)


def run(cohort: Cohort, settings: NetworkSettings, folder: Path) -> NetworkResult:
    made = folds.make(cohort.segments["label"], cohort.segments["participant_id"], n_folds=2, seed=1)
    return transfer.out_of_fold(Source(cohort, preprocess.GainSettings(), folder), made, settings)


def test_the_head_is_a_standardised_logistic_regression_of_the_chosen_penalty(
    cohort: Cohort, settings: NetworkSettings, tmp_path: Path
) -> None:
    result = run(cohort, settings, tmp_path / "run")
    predictions = result.predictions
    assert sorted(predictions[KEY].itertuples(index=False)) == sorted(cohort.segments[KEY].itertuples(index=False))
    backbone = network.build(10, width=8)
    network.load_medicalnet(backbone, Path(settings.weights))
    backbone.fc = torch.nn.Identity()
    with torch.no_grad():
        values = np.stack([backbone.eval()(torch.from_numpy(v)[None, None])[0].numpy() for v in result.inputs])
    labels = cohort.segments["label"].to_numpy()
    made = folds.make(labels, cohort.segments["participant_id"], n_folds=2, seed=1)
    for fold in made:
        choices = result.history[result.history["fold"] == fold.number]
        assert choices["C"].tolist() == list(transfer.PENALTIES)
        (best,) = choices.loc[choices["kept"], "C"]
        assert choices.loc[choices["kept"], "inner_auc"].item() == choices["inner_auc"].max()
        scaler = StandardScaler().fit(values[fold.train])
        head = LogisticRegression(C=best, max_iter=10_000).fit(scaler.transform(values[fold.train]), labels[fold.train])
        scored = head.predict_proba(scaler.transform(values))[:, 1]
        rows = predictions[predictions["fold"] == fold.number]
        np.testing.assert_allclose(rows["score"], scored[fold.test], atol=1e-4)
        expected = youden_threshold(labels[fold.validation], scored[fold.validation])
        np.testing.assert_allclose(rows["threshold"], expected, atol=1e-4)


def test_backbone_and_head_are_one_network(cohort: Cohort, settings: NetworkSettings, tmp_path: Path) -> None:
    result = run(cohort, settings, tmp_path / "run")
    for number, folder in enumerate(result.folders, start=1):
        rows = result.predictions[result.predictions["fold"] == number]
        positions = cohort.segments.reset_index().merge(rows, on=KEY)
        with torch.no_grad():
            volumes = torch.from_numpy(np.stack([result.inputs[n] for n in positions["index"]]))[:, None]
            scores = load_network(folder, settings)(volumes)[:, 0].sigmoid()
        np.testing.assert_allclose(scores.numpy(), positions["score"], atol=1e-5)


def test_features_are_computed_once_and_again_for_other_weights(
    cohort: Cohort, settings: NetworkSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(cohort, settings, tmp_path / "run")
    assert f"frozen features {len(cohort.segments)}/{len(cohort.segments)}" in capsys.readouterr().out
    next((tmp_path / "run" / "features").iterdir()).unlink()
    again = run(cohort, settings, tmp_path / "run")
    assert "frozen features 1/1" in capsys.readouterr().out
    np.testing.assert_allclose(again.predictions["score"], first.predictions["score"], atol=1e-5)
    other = replace(settings, weights=str(released(tmp_path / "other.pth", 4)))
    assert not run(cohort, other, tmp_path / "run").predictions["score"].equals(first.predictions["score"])
    assert f"frozen features {len(cohort.segments)}/{len(cohort.segments)}" in capsys.readouterr().out


def test_rounded_features_are_nearly_the_same(cohort: Cohort, settings: NetworkSettings, tmp_path: Path) -> None:
    exact = run(cohort, settings, tmp_path / "exact").predictions
    rounded = run(cohort, replace(settings, precision="bfloat16"), tmp_path / "rounded").predictions
    assert exact["score"].corr(rounded["score"], method="spearman") > 0.9
    pd.testing.assert_frame_equal(exact[KEY], rounded[KEY])


def test_without_weights_nothing_is_begun(cohort: Cohort, settings: NetworkSettings, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"found no weights at .*gone\.pth"):
        run(cohort, replace(settings, weights=str(tmp_path / "gone.pth")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="frozen: found true with pretrained 'none', expected 'required'"):
        replace(settings, pretrained="none", weights="")
    with pytest.raises(ValueError, match=r"resnet_10\.pth: not the weights of this network"):
        run(cohort, replace(settings, depth=18), tmp_path / "run")
