"""Variants of the network: one thing otherwise each, on the same folds, beside the study's own."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mflib.data import cohort as cohorts
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models import folds
from mflib.models.dcnn import comparisons, network, training
from mflib.models.dcnn import settings as dcnn_settings
from mflib.models.dcnn.inputs import Source
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.folds import Fold, Split
from mflib.stats import performance
from tests.models.toy import evenly_labelled

SETTINGS = NetworkSettings(width=2, size=(16, 16, 8), epochs=1, seed=1)


def changed(settings: NetworkSettings, other: NetworkSettings) -> set[str]:
    one = asdict(settings)
    return {name for name, value in asdict(other).items() if one[name] != value}


def test_every_variant_changes_one_thing() -> None:
    asked = ["seed", "dilation", "split", "gain", "brightness", "patients"]
    planned, left_out = comparisons.plan(SETTINGS, "patient", asked)
    assert left_out == []
    found = {v.name: (changed(SETTINGS, v.settings), v.split, v.share) for v in planned}
    assert found == {
        **{f"seed-{n}": ({"seed"}, "patient", 1.0) for n in (1, 2, 3)},
        "dilation": ({"dilated"}, "patient", 1.0),
        "split": (set(), "segment", 1.0),
        "gain": ({"gain"}, "patient", 1.0),
        "brightness": ({"scale"}, "patient", 1.0),
        "patients-0.25": (set(), "patient", 0.25),
        "patients-0.5": (set(), "patient", 0.5),
    }
    back, _ = comparisons.plan(planned[3].settings, "segment", ["dilation", "split"])
    assert back[0].settings == SETTINGS and back[1].split == "patient"


def test_pretraining_is_compared_where_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert comparisons.plan(SETTINGS, "patient", ["pretraining"]) == (
        [],
        ["pretrained instead of from scratch: no weights were ever released for this depth and width"],
    )
    monkeypatch.setattr(dcnn_settings, "_cached", lambda name: None)
    planned, left_out = comparisons.plan(replace(SETTINGS, depth=10, width=None), "patient", ["pretraining"])
    assert (planned, left_out) == ([], ["pretrained instead of from scratch: no released weights on this machine"])
    (tmp_path / "own.pth").touch()
    warm = replace(SETTINGS, depth=10, pretrained="required", weights=str(tmp_path / "own.pth"))
    ((scratch,), _) = comparisons.plan(warm, "patient", ["pretraining"])
    assert (scratch.settings.pretrained, scratch.label) == ("none", "from scratch")
    assert changed(warm, scratch.settings) == {"pretrained", "weights"}


@pytest.fixture
def cohort(make_cohort) -> Cohort:
    return evenly_labelled(cohorts.load(make_cohort(10, segments=4)))


def run(cohort: Cohort, settings: NetworkSettings, asked: list[str], folder: Path) -> comparisons.ComparisonsResult:
    def divide(split: Split) -> list[Fold]:
        segments = cohort.segments
        return folds.make(segments["label"], segments["participant_id"], n_folds=2, split=split, seed=2)

    source = Source(cohort, preprocess.GainSettings(), folder)
    own = training.out_of_fold(source, divide("patient"), settings)
    return comparisons.run(source, divide, settings, "patient", asked, own.predictions)


def test_variants_stand_beside_the_study_with_their_difference(cohort: Cohort, tmp_path: Path) -> None:
    result = run(cohort, SETTINGS, ["dilation", "split", "patients"], tmp_path)
    table = result.table.set_index("variant")
    names = ["dcnn", "dilation", "split", "patients-0.25", "patients-0.5"]
    assert list(dict.fromkeys(result.predictions["model"])) == names[: len(table)]
    for model, (_, row) in zip(names, table.iterrows(), strict=False):
        rows = result.predictions[result.predictions["model"] == model]
        assert sorted(zip(*(rows[k] for k in ("participant_id", "level", "lat")), strict=True)) == sorted(
            zip(*(cohort.segments[k] for k in ("participant_id", "level", "lat")), strict=True)
        )
        auc = performance.fold_mean_auc(rows).iloc[0]
        assert row[["mean", "low", "high", "pooled"]].tolist() == auc[["mean", "low", "high", "pooled"]].tolist()
    own, strided = table.iloc[0], table.loc["strided instead of dilated"]
    assert strided["difference"] == pytest.approx(strided["mean"] - own["mean"])
    assert pd.isna(table.loc["split by segment", "difference"])
    assert table["patients"].iloc[0] > table["patients"].iloc[-1]
    assert result.readable()["difference [95 %]"].tolist()[0] == "n/a"
    kept = sorted((tmp_path / "comparisons").glob("*/fold-*/weights.pt"))
    assert len(kept) == 2 * (len(table) - 1)
    strided_weights = torch.load(tmp_path / "comparisons/dilation/fold-0-1/weights.pt", weights_only=True)
    network.build("small", 2, dilated=False).load_state_dict(strided_weights)


def test_too_few_patients_for_a_batch_are_left_out(cohort: Cohort, tmp_path: Path) -> None:
    result = run(cohort, replace(SETTINGS, batch=8), ["patients"], tmp_path)
    assert result.left_out[0].startswith("25 % of the patients: found")
    assert "expected at least a batch of 8" in result.left_out[0]
    assert np.isfinite(result.table["mean"]).all()
