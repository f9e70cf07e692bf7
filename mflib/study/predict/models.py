"""The models of a run: read from its folder, and asked about one volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from mflib.base.errors import FileError, InputError
from mflib.base.settings import build
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data.preprocess import Region
from mflib.data.volume import Annotation, Volume
from mflib.models import forest
from mflib.models.dcnn import inputs
from mflib.models.dcnn.settings import MODEL, NetworkSettings
from mflib.models.texture import bank
from mflib.stats import performance
from mflib.study import kept as stored
from mflib.study.predict import applicability, learnt, manifest
from mflib.study.predict.applicability import Seen
from mflib.study.predict.learnt import Calibration, Input, Trees
from mflib.study.predict.manifest import GLCM, Manifest, StoredFold
from mflib.study.predict.results import Applicability, Assessment, ModelResult


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The models of all folds of a run, and what they need.

    Parameters
    ----------
    forests, networks : with the fold that each belongs to
    preprocessing, texture, network : the run's settings; of the texture what some forest asks for
    calibrations : from margin to probability, by model
    seen : the training segments
    """

    forests: list[tuple[StoredFold, Trees]]
    networks: list[tuple[StoredFold, nn.Module]]
    preprocessing: preprocess.GainSettings
    texture: bank.TextureSettings
    network: NetworkSettings
    calibrations: dict[str, Calibration]
    seen: Seen

    def complete(self, texture: pd.Series) -> pd.Series:
        """The texture features that the run asks for, of one region.

        Raises
        ------
        FileError
            The region is too small for one of them, or one is no number.
        """
        names = self.seen.reference.texture.columns
        missing = [name for name in names if name not in texture]
        if missing:
            raise FileError(f"the region is too small for {', '.join(missing)}, which the models were trained with")
        asked = texture[names].astype(float)
        if not np.isfinite(asked.to_numpy()).all():
            raise FileError(f"found {', '.join(asked.index[~np.isfinite(asked)])} that is no number")
        return asked

    def results(self, texture: pd.Series, voxels: Input) -> dict[str, ModelResult]:
        """What both ensembles say of one region.

        Parameters
        ----------
        texture : of `complete`
        voxels : the network's input, see `input`
        """
        by_forest = [
            float(trees.scores(texture[list(fold.features)].to_numpy(float)[None])[0]) for fold, trees in self.forests
        ]
        by_network = learnt.network_scores([model for _, model in self.networks], voxels, self.network)
        return {
            forest.NAME: self._together(forest.NAME, by_forest, [fold for fold, _ in self.forests]),
            MODEL: self._together(MODEL, by_network, [fold for fold, _ in self.networks]),
        }

    def input(self, region: Region) -> Input:
        """The network's input from a region."""
        return inputs.of_region(region, self.preprocessing, self.network)

    def saliency(self, voxels: Input, towards: int, region: Region) -> Input:
        """Mean of the networks' Grad-CAMs, on the voxels of the region."""
        models = [model for _, model in self.networks]
        return learnt.network_saliency(models, voxels, towards, region, self.network)

    def _together(self, model: str, scores: Sequence[float], folds: Sequence[StoredFold]) -> ModelResult:
        """Mean score against mean threshold, which is the mean margin against zero."""
        thresholds = [fold.threshold for fold in folds]
        score, threshold = float(np.mean(scores)), float(np.mean(thresholds))
        called = int(score >= threshold)
        votes = sum(int(one >= its) == called for one, its in zip(scores, thresholds, strict=True))
        calibration = self.calibrations[model]
        said = calibration(score - threshold)
        probability, low, high = said if said else (None, None, None)
        return ModelResult(model, score, threshold, votes, len(folds), called, probability, low, high, calibration.note)


def texture_settings(values: Mapping[str, Any], folds: Sequence[StoredFold]) -> bank.TextureSettings:
    """What of the run's texture the forests ask for: a few of many combinations, each with the same numbers.

    Raises
    ------
    FileError
        A setting or combination that does not exist.
    """
    found = {match.groups() for fold in folds for name in fold.features if (match := GLCM.fullmatch(name))}
    levels, steps = ({int(combination[part]) for combination in found} for part in (0, 1))
    grid = {"levels": tuple(sorted(levels)), "steps": tuple(sorted(steps))}
    try:
        return bank.TextureSettings(**{**values, **grid})
    except (TypeError, ValueError) as error:
        raise FileError(f"texture settings: {error}") from error


LEARNT = "The models have learnt from this very volume, so what they say of it is no test."
# Of what a sidecar says, so much is repeated.
WORD = 60


@dataclass(frozen=True, eq=False)
class Models:
    """The models of a run.

    Parameters
    ----------
    cohort_name : what the training cohort calls itself
    synthetic : whether it is simulated
    profile : choices of the run in words, for a reader: split, folds, seed, segments, patients, ...
    commit : the commit that the run was made with
    performance : model, auc, low, high, sensitivity, specificity, segments, patients: out of fold, repeat 0
    versions : of the packages that the models were made with
    files : SHA-256 of each model file by its name
    run : the run folder
    scorers : what scores a volume; a page has no need of it
    """

    cohort_name: str
    synthetic: bool
    profile: dict[str, str]
    commit: str
    performance: pd.DataFrame
    versions: dict[str, str]
    files: dict[str, str]
    run: Path
    scorers: Ensemble = field(repr=False)

    def assess(self, volume: Volume, annotation: Annotation, name: str = "") -> Assessment:
        """All that the models say of one volume; they learn nothing from it.

        Parameters
        ----------
        volume, annotation : the volume, its reference points and its region of interest
        name : of the volume, for messages and pages

        Raises
        ------
        FileError
            The volume cannot be normalised or measured; the message says why.
        """
        try:
            found = look(self.scorers, volume, annotation)
        except FileError as error:
            raise FileError(f"{name}: {error}" if name else str(error)) from error
        saliency = self.scorers.saliency(found.voxels, found.results[MODEL].called, found.region)
        notices = (*remarks(self.scorers.seen, volume), *self._warnings())
        return Assessment(name, volume, annotation, found.region, found.results, found.applicability, saliency, notices)

    def _warnings(self) -> tuple[str, ...]:
        """What a reader must know of the models themselves."""
        if self.profile["Split"] == "by patient":
            return ()
        return ("The models were judged on segments of patients that they had seen: they look better than they are.",)


@dataclass(frozen=True, eq=False)
class Look:
    """What the scores rest on, what they are, and whether they may be read; ``voxels`` is the network's input."""

    region: Region
    voxels: Input
    results: dict[str, ModelResult]
    applicability: Applicability


def look(asked: Ensemble, volume: Volume, annotation: Annotation) -> Look:
    """Normalise, measure and score one volume.

    Raises
    ------
    FileError
        It cannot be normalised or measured; the message says why.
    """
    try:
        region = preprocess.region(volume, annotation, asked.preprocessing)
        texture = asked.complete(bank.measure(region.voxels, region.dynamic_range_db, asked.texture))
        voxels = asked.input(region)
    except ValueError as error:
        raise FileError(str(error)) from error
    applicable = held_against(asked.seen, volume, annotation, region, texture)
    return Look(region, voxels, asked.results(texture, voxels), applicable)


def load(run: Path) -> Models:
    """The models that notebooks 03 and 04 have kept in a run folder; nothing in the files is executed.

    Raises
    ------
    FileError
        They are missing, damaged, exchanged, made by another version, or not of one run.
    """
    artifacts = run / "artifacts"
    of_forest, of_network = (manifest.read(artifacts, name) for name in (forest.NAME, MODEL))
    _check_same_run(of_forest, of_network)
    assert of_forest.reference is not None, "a forest's manifest has one"
    preprocessing, settings = _preprocessing(of_forest), _network_settings(of_network)
    scorers = Ensemble(
        forests=[
            (
                fold,
                learnt.read_trees(
                    fold.file, manifest.read_stored(artifacts, fold.file, fold.sha256), len(fold.features)
                ),
            )
            for fold in of_forest.folds
        ],
        networks=[
            (fold, learnt.read_network(fold.file, manifest.read_stored(artifacts, fold.file, fold.sha256), settings))
            for fold in of_network.folds
        ],
        preprocessing=preprocessing,
        texture=texture_settings(of_forest.settings, of_forest.folds),
        network=settings,
        calibrations={one.model: learnt.fit_calibration(one.predictions) for one in (of_forest, of_network)},
        seen=applicability.seen(of_forest.reference),
    )
    return Models(
        cohort_name=of_forest.cohort_name,
        synthetic=of_forest.synthetic,
        profile=_profile(of_forest),
        commit=of_forest.made_with.get("commit", "unknown"),
        performance=pd.DataFrame([_performance(one) for one in (of_forest, of_network)]),
        versions={"mflib": of_forest.made_with.get("mflib", "unknown")} | of_forest.versions,
        files={fold.file: fold.sha256 for one in (of_forest, of_network) for fold in one.folds},
        run=run,
        scorers=scorers,
    )


def held_against(
    seen: Seen, volume: Volume, annotation: Annotation, region: Region, texture: pd.Series
) -> Applicability:
    """Whether the models may be asked about this volume."""
    doubts = tuple(f"The reference points are not to be trusted: {flag}." for flag in region.references.flags)
    stated = seen.reference.acquisition[stored.STATED_RANGE].notna().all()
    if stated and volume.dynamic_range_db is None:
        doubts += ("The sidecar does not state the dynamic range, as those of all training volumes do.",)
    return applicability.judge(seen, texture, stored.acquisition(volume, annotation, region), doubts)


def remarks(seen: Seen, volume: Volume) -> tuple[str, ...]:
    """What the sidecar says of the machine that no training volume's does, and whether the volume is one of them."""
    learnt = (LEARNT,) if stored.voxels_digest(volume) in seen.reference.voxels else ()
    return learnt + tuple(
        f"{name} is {str(volume.sidecar[name])[:WORD]!r}, in training {', '.join(map(repr, known))}."
        for name, known in seen.reference.words.items()
        if known and name in volume.sidecar and str(volume.sidecar[name]) not in known
    )


def _check_same_run(one: Manifest, other: Manifest) -> None:
    """Forest and network must have learnt from the same segments with the same labels."""
    segments = [set(m.predictions[[*KEY, "y_true"]].itertuples(index=False, name=None)) for m in (one, other)]
    if segments[0] != segments[1] or one.preprocessing != other.preprocessing or one.run != other.run:
        raise FileError(
            f"{one.model} and {other.model} were not made from the same segments with the same settings; expected the "
            "models of one run, make the report again"
        )


def _preprocessing(of_forest: Manifest) -> preprocess.GainSettings:
    values = of_forest.preprocessing
    wrong = [f"{name} {v!r}" for name, v in values.items() if isinstance(v, bool) or not isinstance(v, int | float)]
    if wrong:
        raise FileError(f"preprocessing: found {', '.join(wrong)}, expected numbers")
    return _built(preprocess.GainSettings, "preprocessing", values)


def _network_settings(of_network: Manifest) -> NetworkSettings:
    settings: NetworkSettings = _built(NetworkSettings, "network settings", of_network.settings)
    learnt.check_network(settings)
    # Batches of one, and no gradients that rounding could spoil: only precision and architecture matter here.
    return replace(settings, batch=1)


def _built(kind: Any, name: str, values: dict[str, Any]) -> Any:
    try:
        return build(kind, values, f"the {name} of a stored model")
    except InputError as error:
        raise FileError(str(error)) from error


def _profile(of_forest: Manifest) -> dict[str, str]:
    predictions, run = of_forest.predictions, of_forest.run
    return {
        "Split": f"by {run.get('split')}",
        "Folds": str(run.get("n_folds")),
        "Seed": str(run.get("seed")),
        "Training patients": str(predictions["participant_id"].nunique()),
        "Training segments": str(len(predictions)),
        "Infiltrated": str(int(predictions["y_true"].sum())),
    }


def _performance(one: Manifest) -> dict[str, object]:
    """How good the model was in its own cross-validation."""
    pooled = performance.summary(one.predictions).set_index("metric")
    found: dict[str, object] = {"model": one.model, "auc": pooled.loc["auc", "pooled"]}
    found |= {end: pooled.loc["auc", end] for end in ("low", "high")}
    found |= {name: pooled.loc[name, "pooled"] for name in ("sensitivity", "specificity")}
    return found | {"segments": len(one.predictions), "patients": one.predictions["participant_id"].nunique()}
