"""What the models of a run say of one volume, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.data.cohort import NAME
from mflib.data.preprocess import Region
from mflib.data.volume import Annotation, Volume

Verdict = Literal["inside", "at the edge", "outside"]


@dataclass(frozen=True)
class ModelResult:
    """One model on one volume.

    Parameters
    ----------
    model : its name in the predictions table
    score : mean over the folds' models
    threshold : mean over the folds' frozen thresholds
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


@dataclass(frozen=True)
class Applicability:
    """Whether a volume looks like those that the models have learnt from.

    Parameters
    ----------
    verdict : "inside", "at the edge", or "outside" what the models have seen
    distance : Mahalanobis distance of the texture to the training segments
    percentile : share of training segments, in percent, that lie nearer when their own patient is left out
    reasons : one sentence for each thing that is out of the ordinary
    features : feature, value, low, high (of the training segments), beyond (how many widths of that range the value
        lies beyond it, 0 inside), outside (True or False)
    """

    verdict: Verdict
    distance: float
    percentile: float
    reasons: tuple[str, ...]
    features: pd.DataFrame


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


@dataclass(frozen=True, eq=False)
class External:
    """A second cohort as the models of a run see it.

    Parameters
    ----------
    predictions : the predictions table with split "patient", repeat 0, fold 0
    probabilities : KEY, model, probability, low, high; missing where a model has none
    applicability : KEY, verdict, distance, percentile, reasons (sentences joined by a blank)
    features : KEY, feature, value, low, high, outside; the rows that are outside only
    failures : KEY, reason; segments that could not be assessed
    own_distances : distance of each training segment with its patient left out, to hold the others against
    """

    predictions: pd.DataFrame
    probabilities: pd.DataFrame
    applicability: pd.DataFrame
    features: pd.DataFrame
    failures: pd.DataFrame
    own_distances: NDArray[np.float64]


RESEARCH = "Research use only. Not a medical device; not for diagnosis."
CALLS = {0: "no infiltration", 1: "infiltration"}
VERDICTS: dict[Verdict, str] = {
    "inside": "Inside what the models have seen",
    "at the edge": "At the edge of what the models have seen",
    "outside": "Outside what the models have seen",
}
NOT_READ = "The scores below are not to be read."
INTERVAL = "95 % interval of the fit"
