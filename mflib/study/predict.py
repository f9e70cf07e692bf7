"""The trained models of a run, held against new volumes: for research only, and never learning from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from mflib.base.errors import FileError
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data.cohort import NAME
from mflib.data.preprocess import Region
from mflib.data.volume import Annotation, Volume
from mflib.models import forest
from mflib.models.dcnn import compute, fold, inputs, saliency
from mflib.models.dcnn.settings import MODEL, NetworkSettings
from mflib.models.texture import bank
from mflib.stats import performance
from mflib.study import applicability, kept, learnt
from mflib.study.applicability import Applicability, Calibration, Seen, Verdict
from mflib.study.learnt import Manifest, StoredFold, Trained, Trees

Input = NDArray[np.float32]
RESEARCH = "Research use only. Not a medical device; not for diagnosis."
CALLS = {0: "no infiltration", 1: "infiltration"}
VERDICTS: dict[Verdict, str] = {
    "inside": "Inside what the models have seen",
    "at the edge": "At the edge of what the models have seen",
    "outside": "Outside what the models have seen",
}
NOT_READ = "The scores below are not to be read."
INTERVAL = "95 % interval of the fit"


@dataclass(frozen=True)
class ModelResult:
    """One model on one volume.

    Parameters
    ----------
    model : its name in the predictions table
    score : mean over the folds' models, each on the scale that its validation part set
    threshold : mean over the folds' frozen thresholds, on the same scales
    votes : how many of the folds' models call the volume as the ensemble does
    folds : how many there are
    called : 1 where ``score >= threshold``
    probability, low, high : of infiltration with its 95 % interval, None where it cannot be said
    note : why it cannot be said, or what to know of it
    """

    model: str
    score: float
    threshold: float
    votes: int
    folds: int
    called: int
    probability: float | None
    low: float | None
    high: float | None
    note: str


@dataclass(frozen=True, eq=False)
class Assessment:
    """All that is said of one volume.

    Parameters
    ----------
    name : of the volume: its file name without the format, as ``sub-001_level-L45_lat-L_bmode``
    volume, annotation : what was looked at
    region : its region of interest, gain-normalised
    results : by the name of the model
    applicability : whether the models may be asked at all
    saliency : (ni, nj, nk) float32 of the region: mean of the folds' Grad-CAMs towards what the network called;
        all zero where nothing speaks for it
    notices : sentences that a reader must see: doubtful reference points, an assumed dynamic range
    """

    name: str
    volume: Volume
    annotation: Annotation
    region: Region
    results: dict[str, ModelResult]
    applicability: Applicability
    saliency: NDArray[np.float32]
    notices: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str] | None:
        """Participant, level and side, None where the name does not say them."""
        match = NAME.fullmatch(self.name)
        return (match[1], match[2], match[3]) if match else None


def network_scores(models: list[nn.Module], voxels: Input, settings: NetworkSettings) -> list[float]:
    """Score of each network, in [0, 1]."""
    position = np.zeros(1, dtype=np.intp)
    with compute.reproducible():
        return [float(fold.logits(model, voxels[None], position, settings).sigmoid()[0]) for model in models]


LEARNT = "The models have learnt from this very volume, so what they say of it is no test."
SEEN_PATIENTS = "The models were judged on segments of patients that they had seen: they look better than they are."
# Of what a sidecar says, so much is repeated.
WORD = 60


@dataclass(frozen=True, eq=False)
class Models:
    """The models of a run.

    Parameters
    ----------
    cohort : the training cohort
    profile : choices of the run in words, for a reader: split, folds, seed, segments, patients, ...
    commit : the commit that the run was made with
    performance : model, auc (mean over folds), low, high, sensitivity, specificity, segments, patients: repeat 0
    versions : of the packages that the models were made with
    files : SHA-256 of each model file by its name
    run : the run folder
    forests, networks : with the fold that each belongs to
    preprocessing, texture, network : the run's settings; of the texture what some forest asks for, at the
        voxel size of the training cohort
    calibrations : from margin to probability, by model
    seen : the training segments
    """

    cohort: Trained
    profile: dict[str, str]
    commit: str
    performance: pd.DataFrame
    versions: dict[str, str]
    files: dict[str, str]
    run: Path
    forests: list[tuple[StoredFold, Trees]]
    networks: list[tuple[StoredFold, nn.Module]]
    preprocessing: preprocess.GainSettings
    texture: bank.TextureSettings
    network: NetworkSettings
    calibrations: dict[str, Calibration]
    seen: Seen

    def assess(self, volume: Volume, annotation: Annotation, name: str = "", *, salient: bool = True) -> Assessment:
        """All that the models say of one volume; they learn nothing from it.

        Parameters
        ----------
        volume, annotation : the volume, its reference points and its region of interest
        name : of the volume, for messages and pages
        salient : whether the saliency is wanted; it is zero otherwise

        Raises
        ------
        FileError
            The volume cannot be normalised or measured; the message says why.
        """
        try:
            region = preprocess.region(volume, annotation, self.preprocessing)
            measured = bank.measure(region.voxels, volume.spacing_mm, region.dynamic_range_db, self.texture)
            texture, voxels = self.complete(measured), inputs.of_region(region, self.preprocessing, self.network)
        except ValueError as error:
            raise FileError(f"{name}: {error}" if name else str(error)) from error
        doubts = [f"The reference points are not to be trusted: {flag}." for flag in region.references.flags]
        if volume.dynamic_range_db is None and self.seen.reference.acquisition[kept.STATED_RANGE].notna().all():
            doubts.append("The sidecar does not state the dynamic range, as those of all training volumes do.")
        acquisition = kept.acquisition(volume, annotation, region)
        applicable = applicability.judge(self.seen, texture, acquisition, tuple(doubts))
        results, saliency = self.results(texture, voxels), np.zeros(region.voxels.shape, np.float32)
        if salient:
            saliency = self.saliency(voxels, results[MODEL].called, region)
        notices = remarks(self.seen, volume)
        if self.profile["Split"] != "by patient":
            notices += (SEEN_PATIENTS,)
        return Assessment(name, volume, annotation, region, results, applicable, saliency, notices)

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
        """What both ensembles say of one region: of `complete`, and of the network's input."""
        asked = [(trees, texture[list(fold.features)].to_numpy(float)[None]) for fold, trees in self.forests]
        of_trees = [float(trees.scores(values)[0]) for trees, values in asked]
        of_networks = network_scores([model for _, model in self.networks], voxels, self.network)
        return {
            forest.NAME: self._together(forest.NAME, of_trees, [fold for fold, _ in self.forests]),
            MODEL: self._together(MODEL, of_networks, [fold for fold, _ in self.networks]),
        }

    def saliency(self, voxels: Input, towards: int, region: Region) -> Input:
        """Mean of the networks' Grad-CAMs towards a call, on the voxels of the region."""
        with compute.reproducible(), compute.rounding(self.network):
            maps = [saliency.grad_cam(model, voxels, towards) for _, model in self.networks]
        return saliency.on_region(np.mean(maps, axis=0), self.network, region.voxels.shape, region.spacing_mm)

    def _together(self, model: str, scores: Sequence[float], folds: Sequence[StoredFold]) -> ModelResult:
        """Mean score against mean threshold, on the scale that all folds share."""
        on_scale = [fold.probability([one, fold.threshold]) for one, fold in zip(scores, folds, strict=True)]
        score, threshold = (float(value) for value in np.mean(on_scale, axis=0))
        called = int(score >= threshold)
        votes = sum(int(one >= fold.threshold) == called for one, fold in zip(scores, folds, strict=True))
        calibration = self.calibrations[model]
        probability, low, high = calibration(score) or (None, None, None)
        return ModelResult(model, score, threshold, votes, len(folds), called, probability, low, high, calibration.note)


def load(run: Path) -> Models:
    """The models that notebooks 03 and 04 have kept in a run folder; nothing in the files is executed.

    Raises
    ------
    FileError
        They are missing, damaged, exchanged, made by another version, or not of one run.
    """
    artifacts = run / "artifacts"
    of_forest, of_network = (learnt.read(artifacts, name) for name in (forest.NAME, MODEL))
    _check_same_run(of_forest, of_network)
    both, settings = (of_forest, of_network), learnt.network_settings(of_network)
    files = {one.file: learnt.read_stored(artifacts, one.file, one.sha256) for of in both for one in of.folds}
    return Models(
        cohort=of_forest.cohort,
        profile=_profile(of_forest),
        commit=of_forest.made_with.get("commit", "unknown"),
        performance=pd.DataFrame([_performance(one) for one in both]),
        versions={"mflib": of_forest.made_with.get("mflib", "unknown")} | of_forest.versions,
        files={one.file: one.sha256 for of in both for one in of.folds},
        run=run,
        forests=[(one, learnt.read_trees(one.file, files[one.file], len(one.features))) for one in of_forest.folds],
        networks=[(one, learnt.read_network(one.file, files[one.file], settings)) for one in of_network.folds],
        preprocessing=of_forest.preprocessing,
        texture=learnt.texture_settings(of_forest),
        network=settings,
        calibrations={one.model: applicability.fit_calibration(one.table) for one in both},
        seen=applicability.seen(learnt.reference(of_forest)),
    )


def remarks(seen: Seen, volume: Volume) -> tuple[str, ...]:
    """What the sidecar says of the machine that no training volume's does, and whether the volume is one of them."""
    learnt = (LEARNT,) if kept.voxels_digest(volume) in seen.reference.voxels else ()
    return learnt + tuple(
        f"{name} is {str(volume.sidecar[name])[:WORD]!r}, in training {', '.join(map(repr, known))}."
        for name, known in seen.reference.words.items()
        if known and name in volume.sidecar and str(volume.sidecar[name]) not in known
    )


def _check_same_run(one: Manifest, other: Manifest) -> None:
    """Forest and network must have learnt from the same segments with the same labels."""
    segments = [set(m.table[[*KEY, "y_true"]].itertuples(index=False, name=None)) for m in (one, other)]
    if segments[0] != segments[1] or one.preprocessing != other.preprocessing or one.run != other.run:
        found = f"{one.model} and {other.model} were not made from the same segments with the same settings"
        raise FileError(f"{found}; expected the models of one run, make the report again")


def _profile(of_forest: Manifest) -> dict[str, str]:
    predictions, run = of_forest.table, of_forest.run
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
    table = one.table
    pooled = performance.summary(table).set_index("metric")["pooled"][["sensitivity", "specificity"]]
    auc = performance.fold_mean_auc(table).iloc[0][["mean", "low", "high"]].rename({"mean": "auc"})
    sizes = {"segments": len(table), "patients": table["participant_id"].nunique()}
    return {"model": one.model, **sizes, **auc, **pooled}
