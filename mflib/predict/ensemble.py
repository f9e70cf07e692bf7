"""What scores a region: the models of all folds, whose mean is the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from mflib import forest, preprocess
from mflib.dcnn import inputs, training
from mflib.dcnn.settings import Settings as NetworkSettings
from mflib.predict import networks
from mflib.predict.applicability import Seen
from mflib.predict.manifest import GLCM, StoredFold
from mflib.predict.networks import Input
from mflib.predict.probability import Calibration
from mflib.predict.results import PredictError, Result
from mflib.predict.trees import Trees
from mflib.preprocess import Region
from mflib.texture import bank


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
    preprocessing: preprocess.Settings
    texture: bank.Settings
    network: NetworkSettings
    calibrations: dict[str, Calibration]
    seen: Seen

    def complete(self, texture: pd.Series) -> pd.Series:
        """The texture features that the run asks for, of one region.

        Raises
        ------
        PredictError
            The region is too small for one of them, or one is no number.
        """
        names = self.seen.reference.texture.columns
        missing = [name for name in names if name not in texture]
        if missing:
            raise PredictError(f"the region is too small for {', '.join(missing)}, which the models were trained with")
        asked = texture[names].astype(float)
        if not np.isfinite(asked.to_numpy()).all():
            raise PredictError(f"found {', '.join(asked.index[~np.isfinite(asked)])} that is no number")
        return asked

    def results(self, texture: pd.Series, voxels: Input) -> dict[str, Result]:
        """What both ensembles say of one region.

        Parameters
        ----------
        texture : of `complete`
        voxels : the network's input, see `input`
        """
        by_forest = [
            float(trees.scores(texture[list(fold.features)].to_numpy(float)[None])[0]) for fold, trees in self.forests
        ]
        by_network = networks.scores([model for _, model in self.networks], voxels, self.network)
        return {
            forest.NAME: self._together(forest.NAME, by_forest, [fold for fold, _ in self.forests]),
            training.MODEL: self._together(training.MODEL, by_network, [fold for fold, _ in self.networks]),
        }

    def input(self, region: Region) -> Input:
        """The network's input from a region."""
        return inputs.of_region(region, self.preprocessing, self.network)

    def saliency(self, voxels: Input, towards: int, region: Region) -> Input:
        """Mean of the networks' Grad-CAMs, on the voxels of the region."""
        models = [model for _, model in self.networks]
        return networks.saliency_map(models, voxels, towards, region, self.network)

    def _together(self, model: str, scores: Sequence[float], folds: Sequence[StoredFold]) -> Result:
        """Mean score against mean threshold, which is the mean margin against zero."""
        thresholds = [fold.threshold for fold in folds]
        score, threshold = float(np.mean(scores)), float(np.mean(thresholds))
        called = int(score >= threshold)
        votes = sum(int(one >= its) == called for one, its in zip(scores, thresholds, strict=True))
        calibration = self.calibrations[model]
        said = calibration(score - threshold)
        probability, low, high = said if said else (None, None, None)
        return Result(model, score, threshold, votes, len(folds), called, probability, low, high, calibration.note)


def texture_settings(values: Mapping[str, Any], folds: Sequence[StoredFold]) -> bank.Settings:
    """What of the run's texture the forests ask for: a few of many combinations, each with the same numbers.

    Raises
    ------
    PredictError
        A setting or combination that does not exist.
    """
    found = {match.groups() for fold in folds for name in fold.features if (match := GLCM.fullmatch(name))}
    levels, steps = ({int(combination[part]) for combination in found} for part in (0, 1))
    grid = {"levels": tuple(sorted(levels)), "steps": tuple(sorted(steps))}
    try:
        return bank.Settings(**{**values, **grid})
    except (TypeError, ValueError) as error:
        raise PredictError(f"texture settings: {error}") from error
