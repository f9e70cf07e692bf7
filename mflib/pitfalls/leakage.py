"""What the test part must not be told: its patients, the choice of features, the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib import folds as division
from mflib.folds import Split
from mflib.forest import grid, univariate_auc
from mflib.performance import youden_threshold
from mflib.pitfalls import null, scoring
from mflib.pitfalls.results import COHORT, PERMUTED, SIMULATED, Job, Rows, collected
from mflib.pitfalls.settings import Settings

FEATURES = 13
SPLITS: tuple[tuple[str, Split], ...] = (("split by segment", "segment"), ("split by patient", "patient"))
CHOSEN = ("chosen on all segments", "chosen in each training part")
TUNED = ("tuned on the test part", "frozen from the validation part")

Floats = NDArray[np.float64]
Labels = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class _Data:
    """What every repetition of an experiment needs."""

    values: Floats
    labels: Labels
    keys: pd.DataFrame
    settings: Settings
    seed: int
    n_folds: int

    def cohort(self) -> null.Cohort:
        """The study's segments in the form of simulated ones."""
        patients = pd.factorize(self.keys["participant_id"])[0]
        return null.Cohort(self.values, self.labels.astype(np.int64), patients)

    def rng(self, job: Job) -> np.random.Generator:
        """Random numbers of one repetition."""
        return np.random.default_rng([self.seed, job.repetition, round(1000 * job.detail)])

    def folds(self, data: null.Cohort, job: Job, split: Split = "patient") -> list[division.Fold]:
        """The folds of one repetition."""
        return division.make(
            data.labels, data.patients, n_folds=self.n_folds, split=split, seed=self.seed, repeat=job.repetition
        )


def split_by(
    texture: pd.DataFrame,
    labels: Labels,
    settings: Settings,
    seed: int,
    *,
    iccs: Sequence[float] = (0.3, 0.6, 0.9),
    n_folds: int = 5,
    workers: int = 1,
) -> pd.DataFrame:
    """How much does it flatter to split segments instead of patients?

    The same forest is cross-validated with both splits: on the cohort's texture (the grid's middle combination and the
    seven other features), and on simulated null data of 13 features and one label for all segments of a patient, where
    only recognising the patient can raise the AUC. Sources: Yagis 2021 (doi:10.1038/s41598-021-01681-w); Kapoor &
    Narayanan 2023, Patterns 4:100804.

    Parameters
    ----------
    texture : (n, ...) the texture table
    labels : (n,) 0 or 1
    settings : ``repetitions`` and ``trees``
    seed : of folds, trees and simulated data
    iccs : intraclass correlations of the simulated features
    n_folds, workers : folds of each cross-validation; processes

    Returns
    -------
    DataFrame
        `results.COLUMNS`, the value being the AUC, mean over folds.
    """
    data = _Data(scoring.thirteen(texture), labels, texture, settings, seed, n_folds)
    jobs = [Job(COHORT, "true labels", n) for n in range(settings.repetitions)]
    jobs += [Job(SIMULATED, f"nothing to find, ICC {i:g}", n, i) for i in iccs for n in range(settings.repetitions)]
    return collected(_split_by, data, jobs, workers, [way for way, _ in SPLITS], "cross-validations of both splits")


def _split_by(shared: _Data, job: Job) -> Rows:
    found = shared.cohort()
    if job.data == SIMULATED:
        found = null.simulated(job.detail, 1.0, shared.rng(job), features=FEATURES)
    rows = []
    for way, split in SPLITS:
        model = scoring.forest(shared.settings.trees, shared.seed + job.repetition)
        auc = scoring.mean_auc(model, found.values, found.labels, shared.folds(found, job, split))
        rows.append(job.row(way, auc, right=split == "patient"))
    return rows


def selection(
    texture: pd.DataFrame, labels: Labels, settings: Settings, seed: int, *, n_folds: int = 5, workers: int = 1
) -> pd.DataFrame:
    """How much does it flatter to choose the best GLCM combination before the data are divided?

    The combination whose properties separate the classes best, each alone, goes into a logistic regression that is
    cross-validated by patient. It is chosen once on all segments, test parts included, or in each training part again.
    Labels are permuted by patient, so that no combination is better than another. Combinations of real texture are
    nearly copies of each other; the same is done with a grid of as many independent random columns, where there is
    more to choose from. Sources: Cawley & Talbot 2010, JMLR 11:2079; Demircioglu 2021 (doi:10.1186/s13244-021-01115-1).

    Parameters
    ----------
    texture, labels, seed, n_folds, workers : as in `split_by`
    settings : ``repetitions``

    Returns
    -------
    DataFrame
        `results.COLUMNS`, the value being the AUC, mean over folds.
    """
    columns = grid.columns(texture)
    place = columns.groupby(grid.COMBINATION, sort=False).ngroup().to_numpy()
    data = _Data(texture[columns.index].to_numpy(float), labels, texture, settings, seed, n_folds)
    cases = (
        (PERMUTED, f"texture, {place.max() + 1} combinations"),
        (SIMULATED, f"noise, {place.max() + 1} combinations"),
    )
    jobs = [Job(kind, case, n) for kind, case in cases for n in range(settings.repetitions)]
    return collected(_selection, (data, place), jobs, workers, CHOSEN, "choices outside and inside")


def _selection(shared: tuple[_Data, NDArray[np.intp]], job: Job) -> Rows:
    data, place = shared
    rng = data.rng(job)
    labels = null.permuted_by_patient(data.keys, data.labels, rng)
    values = data.values if job.data == PERMUTED else rng.standard_normal(data.values.shape)
    folds = data.folds(null.Cohort(values, labels, data.cohort().patients), job)
    outside = _best(values, labels, place)
    areas = []
    for fold in folds:
        inside = _best(values[fold.train], labels[fold.train], place)
        areas.append([scoring.mean_auc(scoring.logistic(), values[:, c], labels, [fold]) for c in (outside, inside)])
    means = np.mean(areas, axis=0)
    return [job.row(way, float(auc), right=way == CHOSEN[1]) for way, auc in zip(CHOSEN, means, strict=True)]


def _best(values: Floats, labels: Labels, place: NDArray[np.intp]) -> NDArray[np.intp]:
    """Columns of the combination whose columns have the highest mean of max(AUC, 1 - AUC)."""
    apart = np.abs(univariate_auc(values, labels) - 0.5)
    return np.flatnonzero(place == np.argmax(np.bincount(place, apart) / np.bincount(place)))


def threshold(
    texture: pd.DataFrame, labels: Labels, settings: Settings, seed: int, *, n_folds: int = 5, workers: int = 1
) -> pd.DataFrame:
    """How much does it flatter to tune the threshold where it is judged?

    Youden's threshold is read off the test part itself, or off the validation part of the same fold and frozen. The
    scores are a forest's on the cohort, and pure noise, for which no threshold is worth anything. Source: Leeflang
    2008 (doi:10.1373/clinchem.2007.096032).

    Parameters
    ----------
    texture, labels, seed, n_folds, workers : as in `split_by`
    settings : ``repetitions`` and ``trees``

    Returns
    -------
    DataFrame
        `results.COLUMNS`, the value being sensitivity + specificity - 1, mean over folds.
    """
    data = _Data(scoring.thirteen(texture), labels, texture, settings, seed, n_folds)
    cases = ((COHORT, "forest"), (SIMULATED, "noise as score"))
    jobs = [Job(kind, case, n) for kind, case in cases for n in range(settings.repetitions)]
    return collected(_threshold, data, jobs, workers, TUNED, "thresholds tuned and frozen")


def _threshold(shared: _Data, job: Job) -> Rows:
    found = shared.cohort()
    if job.data == SIMULATED:
        found = null.simulated(0.0, 0.0, shared.rng(job), features=1)
    youden = []
    for fold in shared.folds(found, job):
        score = found.values[:, 0]
        if job.data == COHORT:
            model = scoring.forest(shared.settings.trees, shared.seed + job.repetition)
            score = scoring.scores(model, found.values, found.labels, fold.train, np.arange(len(found.labels)))
        y, test = found.labels[fold.test], score[fold.test]
        frozen = youden_threshold(found.labels[fold.validation], score[fold.validation])
        youden.append([_youden(y, test, youden_threshold(y, test)), _youden(y, test, frozen)])
    means = np.mean(youden, axis=0)
    return [job.row(way, float(value), right=way == TUNED[1]) for way, value in zip(TUNED, means, strict=True)]


def _youden(labels: Labels, score: Floats, limit: float) -> float:
    """Sensitivity + specificity - 1."""
    called = score >= limit
    return float(called[labels == 1].mean() - called[labels == 0].mean())
