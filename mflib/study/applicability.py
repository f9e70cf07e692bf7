"""What may be read from a score: whether the volume looks like those of the training, and how probable fat is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mflib.models.texture import bank
from mflib.stats.performance import probability
from mflib.study.learnt import Reference

Values = NDArray[np.float64]
Verdict = Literal["inside", "at the edge", "outside"]
# How far beyond the training range a value may lie, in widths of that range: it is named, and it decides.
NAMED, DECIDES = 0.1, 1.0
# Where all training values are nearly the same, a range is as wide as this share of them.
LEAST_WIDTH = 0.1
# Texture features beyond their range that are told one by one.
FARTHEST = 3
# Percentile of the training segments' own distances from which on a distance is out of the ordinary.
EDGE = 95.0


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
class Seen:
    """What the models have seen.

    Parameters
    ----------
    reference : the training segments
    names : texture features that the distance is made of; one that never varied is left to the ranges
    own : (n,) distance of each training segment to those of the other patients
    """

    reference: Reference
    names: list[str]
    own: Values


def distances(training: Values, values: Values) -> Values:
    """Mahalanobis distance (n,) of segments (n, p) to the centre of others (m, p).

    Features are standardised and their covariance is shrunk, as Ledoit & Wolf 2004 do.
    """
    cloud = make_pipeline(StandardScaler(), LedoitWolf()).fit(training)
    return np.asarray(np.sqrt(cloud[-1].mahalanobis(cloud[:-1].transform(values))))


def seen(reference: Reference) -> Seen:
    """What the training segments look like, and how far each lies from those of the other patients."""
    texture = reference.texture.drop(columns=bank.GREY_LEVELS)
    names = [str(name) for name in texture.columns[texture.std() > 0]]
    values, own = texture[names].to_numpy(), np.empty(len(texture))
    for patient in set(reference.patients):
        his = np.array([other == patient for other in reference.patients])
        own[his] = distances(values[~his], values[his])
    return Seen(reference, names, own)


def judge(
    known: Seen, texture: pd.Series, acquisition: Mapping[str, float | None], doubts: tuple[str, ...]
) -> Applicability:
    """Hold one volume against the training segments.

    "outside": farther from the training segments than any of them from the others, or a value beyond the training range
    by more than that range is wide. "at the edge": farther than 95 % of them, a value beyond its range by more than a
    tenth, or a doubt. The Mahalanobis distance sees combinations that no single range does, and the ranges see what the
    distance dilutes.

    Parameters
    ----------
    known : of `seen`
    texture : every texture feature of the volume, and its number of grey levels
    acquisition : of `kept.acquisition`
    doubts : sentences on what cannot be trusted in this volume
    """
    training = known.reference.texture[known.names].to_numpy()
    distance = float(distances(training, texture[known.names].to_numpy(float)[None])[0])
    features = _ranges(known.reference, dict(texture) | dict(acquisition))
    reasons = [*_far(known, distance), *_beyond(known.reference, features), *doubts]
    verdict: Verdict = "at the edge" if reasons else "inside"
    if distance > known.own.max() or (features["beyond"] > DECIDES).any():
        verdict = "outside"
    percentile = float(100 * np.mean(known.own < distance))
    return Applicability(verdict, distance, percentile, tuple(reasons), features)


def _ranges(reference: Reference, values: Mapping[str, float | None]) -> pd.DataFrame:
    """Each value beside its training range; see ``Applicability.features``."""
    training = pd.concat([reference.texture, reference.acquisition], axis=1).dropna(axis=1, how="all")
    names = [name for name in training if values.get(str(name)) is not None]
    value = np.array([float(values[str(name)] or 0) for name in names])
    low, high = training[names].min().to_numpy(), training[names].max().to_numpy()
    width = np.maximum(high - low, LEAST_WIDTH * np.maximum(np.abs(low), np.abs(high)))
    beyond = np.maximum(np.maximum(low - value, value - high), 0)
    excess = np.divide(beyond, width, out=np.where(beyond > 0, np.inf, 0.0), where=width > 0)
    columns = {"feature": names, "value": value, "low": low, "high": high, "beyond": excess, "outside": excess > NAMED}
    return pd.DataFrame(columns)


def _far(known: Seen, distance: float) -> list[str]:
    """The distance as a sentence, where it is out of the ordinary."""
    largest, usual = known.own.max(), np.percentile(known.own, EDGE)
    if distance > largest:
        return [f"The texture lies {distance:.1f} from the training segments, whose own distances reach {largest:.1f}."]
    if distance > usual:
        return [f"The texture lies {distance:.1f} from the training segments, farther than {EDGE:.0f} % of them do."]
    return []


def _beyond(reference: Reference, features: pd.DataFrame) -> list[str]:
    """What is beyond its training range: each quantity of the recording; of many texture features the farthest."""
    rows = features[features["outside"]].sort_values("beyond", ascending=False, kind="stable")
    is_texture = rows["feature"].isin(reference.texture.columns)
    texture, recording = rows[is_texture], rows[~is_texture]
    sentences = [
        f"{row.feature} is {row.value:.3g}, in training {row.low:.3g} to {row.high:.3g}."
        for row in pd.concat([recording, texture.head(FARTHEST)]).itertuples()
    ]
    if len(texture) > FARTHEST:
        count = f"{len(texture)} of {reference.texture.shape[1]} texture features are beyond their training range"
        sentences.append(f"{count}; these are the farthest.")
    return sentences


LEVEL = 0.95
SINGLE = (
    "The probability is fitted on the scores of single models; their mean spreads less, so it is rather too near to "
    "the share of infiltrated segments in training."
)
BACKWARDS = "No probability: in the run's own patients a higher score does not mean infiltration more often."


@dataclass(frozen=True, eq=False)
class Calibration:
    """P = expit(a + b logit(score)).

    Parameters
    ----------
    fit : of a and b, as statsmodels gives it; None where there is none
    note : why there is none, or what to know of it
    """

    fit: Any
    note: str

    def __call__(self, score: float) -> tuple[float, float, float] | None:
        """Probability of infiltration at a score on the folds' common scale, with the 95 % interval of the fit.

        None where there is no fit. The interval says how sure the fit is, not how sure this patient's label is.
        """
        if self.fit is None:
            return None
        at = self.fit.get_prediction([[1.0, *probability.to_log_odds([score])[0]]])
        mean, low, high = at.summary_frame(alpha=1 - LEVEL).iloc[0][["mean", "mean_ci_lower", "mean_ci_upper"]]
        return float(mean), float(low), float(high)


def fit_calibration(predictions: pd.DataFrame) -> Calibration:
    """Calibrate by the run's out-of-fold predictions, each on the scale that its fold's validation part set.

    Every score is of one fold's model, and the mean over the folds' models that a new patient is scored by spreads
    less. So probabilities of an ensemble are rather too near to the run's share of infiltrated segments than too far
    from it. Patients are clusters (sandwich covariance), as in ``performance.calibration``.

    Parameters
    ----------
    predictions : one model's predictions table, with ``probability``
    """
    labels = predictions["y_true"].to_numpy()
    log_odds = probability.to_log_odds(predictions["probability"])[0]
    patients = predictions["participant_id"]
    if len(np.unique(labels)) < 2:
        return Calibration(None, f"No probability: the run has segments of label {labels[0]} only.")
    if patients.nunique() < 2:
        return Calibration(None, "No probability: the run has one patient only.")
    if probability.separated(log_odds, labels):
        return Calibration(None, "No probability: one score parts the classes of the run, so no finite slope fits.")
    fitted = probability.fit_clustered(probability.logistic_regression(log_odds, labels, slope=True), patients)
    if not (np.isfinite(fitted.params).all() and np.isfinite(fitted.cov_params()).all()):
        return Calibration(None, "No probability: the fit of the run's own scores has no finite solution.")
    if fitted.params[1] <= 0:
        return Calibration(None, BACKWARDS)
    return Calibration(fitted, SINGLE)
