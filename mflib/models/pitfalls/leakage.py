"""What the test part must not be told, and the whole forest on labels that mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base.errors import InputError
from mflib.models import forest
from mflib.models.folds import Labels, Split
from mflib.models.forest import COMBINATION, Values, glcm_columns, grown, univariate_auc
from mflib.models.pitfalls import experiment
from mflib.models.pitfalls.experiment import COHORT, PERMUTED, SIMULATED, Data, Job, PitfallsSettings, Rows, Segments
from mflib.stats.performance.metrics import metrics_per_fold, youden_threshold

FEATURES = 13
SPLITS: dict[str, Split] = {"split by segment (the paper's way)": "segment", "split by patient": "patient"}
CHOSEN = ("chosen on all segments (the paper's way)", "chosen in each training part")
TUNED = ("tuned on the test part", "frozen from the validation part")
CASE = "random forest"
WAYS = ("labels permuted by patient", "true labels")


def split_by(
    texture: pd.DataFrame,
    labels: Labels,
    settings: PitfallsSettings,
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
        `experiment.COLUMNS`, the value being the AUC, mean over folds.
    """
    data = Data(experiment.thirteen(texture), labels, texture, settings, seed, n_folds)
    jobs = [Job(COHORT, "true labels", n) for n in range(settings.repetitions)]
    jobs += [Job(SIMULATED, f"nothing to find, ICC {i:g}", n, i) for i in iccs for n in range(settings.repetitions)]
    label = "cross-validations of both splits"
    return experiment.collected(partial(_split_by, data), jobs, workers, tuple(SPLITS), label)


def _split_by(shared: Data, job: Job) -> Rows:
    found = shared.own
    if job.data == SIMULATED:
        found = experiment.simulated_cohort(job.detail, 1.0, shared.rng(job), features=FEATURES)
    model = grown(shared.settings.trees, 1, shared.seed + job.repetition)
    divided = (shared.folds(found, job, split) for split in SPLITS.values())
    areas = [experiment.mean_auc(model, found.values, found.labels, folds) for folds in divided]
    return job.rows(tuple(SPLITS), areas)


def selection(
    texture: pd.DataFrame, labels: Labels, settings: PitfallsSettings, seed: int, *, n_folds: int = 5, workers: int = 1
) -> pd.DataFrame:
    """How much does it flatter to choose the best GLCM combination before the data are divided?

    The combination whose properties separate the classes best, each alone, goes into a logistic regression that is
    cross-validated by patient. It is chosen once on all segments, test parts included, or in each training part again.
    With the true labels, a choice from more segments may be a better one too. With labels permuted by patient no
    combination is better than another. Combinations of real texture are nearly copies of each other; the same is done
    with a grid of as many independent random columns, where there is more to choose from. Sources: Cawley & Talbot
    2010, JMLR 11:2079; Demircioglu 2021 (doi:10.1186/s13244-021-01115-1).

    Parameters
    ----------
    texture, labels, seed, n_folds, workers : as in `split_by`
    settings : ``repetitions``

    Returns
    -------
    DataFrame
        `experiment.COLUMNS`, the value being the AUC, mean over folds.
    """
    columns = glcm_columns(texture)
    place = columns.groupby(COMBINATION, sort=False).ngroup().to_numpy()
    data = Data(texture[columns.index].to_numpy(float), labels, texture, settings, seed, n_folds)
    offered = f"{place.max() + 1} combinations"
    cases = ((COHORT, f"true labels, {offered}"), (PERMUTED, f"texture, {offered}"), (SIMULATED, f"noise, {offered}"))
    jobs = [Job(kind, case, n) for kind, case in cases for n in range(settings.repetitions)]
    return experiment.collected(partial(_selection, data, place), jobs, workers, CHOSEN, "choices outside and inside")


def _selection(data: Data, place: NDArray[np.intp], job: Job) -> Rows:
    rng = data.rng(job)
    labels = data.labels if job.data == COHORT else experiment.permuted_by_patient(data.keys, data.labels, rng)
    values = rng.standard_normal(data.values.shape) if job.data == SIMULATED else data.values
    folds = data.folds(Segments(values, labels, data.own.patients), job)
    outside, model, areas = _best(values, labels, place), experiment.logistic_model(), []
    for fold in folds:
        inside = _best(values[fold.train], labels[fold.train], place)
        areas.append([experiment.mean_auc(model, values[:, c], labels, [fold]) for c in (outside, inside)])
    return job.rows(CHOSEN, np.mean(areas, axis=0))


def _best(values: Values, labels: Labels, place: NDArray[np.intp]) -> NDArray[np.intp]:
    """Columns of the combination whose columns have the highest mean of max(AUC, 1 - AUC)."""
    apart = np.abs(univariate_auc(values, labels) - 0.5)
    return np.flatnonzero(place == np.argmax(np.bincount(place, apart) / np.bincount(place)))


def threshold(
    texture: pd.DataFrame, labels: Labels, settings: PitfallsSettings, seed: int, *, n_folds: int = 5, workers: int = 1
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
        `experiment.COLUMNS`, the value being sensitivity + specificity - 1, mean over folds.
    """
    data = Data(experiment.thirteen(texture), labels, texture, settings, seed, n_folds)
    cases = ((COHORT, "forest"), (SIMULATED, "noise as score"))
    jobs = [Job(kind, case, n) for kind, case in cases for n in range(settings.repetitions)]
    return experiment.collected(partial(_threshold, data), jobs, workers, TUNED, "thresholds tuned and frozen")


def _threshold(shared: Data, job: Job) -> Rows:
    found = shared.own
    if job.data == SIMULATED:
        found = experiment.simulated_cohort(0.0, 0.0, shared.rng(job), features=1)
    youden = []
    for fold in shared.folds(found, job):
        score = found.values[:, 0]
        if job.data == COHORT:
            model = grown(shared.settings.trees, 1, shared.seed + job.repetition)
            score = experiment.scores(model, found.values, found.labels, fold.train, np.arange(len(found.labels)))
        y, test = found.labels[fold.test], score[fold.test]
        frozen = youden_threshold(found.labels[fold.validation], score[fold.validation])
        youden.append([_youden(y, test, youden_threshold(y, test)), _youden(y, test, frozen)])
    return job.rows(TUNED, np.mean(youden, axis=0))


def _youden(labels: Labels, score: Values, limit: float) -> float:
    """Sensitivity + specificity - 1."""
    called = score >= limit
    return float(called[labels == 1].mean() - called[labels == 0].mean())


def permuted(
    texture: pd.DataFrame, labels: Labels, settings: PitfallsSettings, seed: int, *, n_folds: int = 5, workers: int = 1
) -> pd.DataFrame:
    """Would the whole pipeline find as much in labels that mean nothing?

    The forest with its choice of a combination inside each fold, on the true labels and on labels permuted by patient.
    It is a small one, with two inner folds and one leaf size, because it is made again for each permutation. Folds are
    made anew for the permuted labels too: they are part of the pipeline. Sources: Ojala & Garriga 2010, JMLR 11:1833;
    Phipson & Smyth 2010 (doi:10.2202/1544-6115.1585) on P.

    Parameters
    ----------
    texture : (n, ...) the texture table
    labels : (n,) 0 or 1
    settings : ``permutations`` and ``trees``
    seed : of permutations, folds and trees
    n_folds, workers : folds of each cross-validation; processes

    Returns
    -------
    DataFrame
        `experiment.COLUMNS`, the value being the AUC, mean over folds: one row with the true labels (right), then one
        for each permutation.
    """
    data = Data(experiment.thirteen(texture), labels, texture, settings, seed, n_folds)
    jobs = [Job(COHORT, CASE, 0), *(Job(PERMUTED, CASE, n) for n in range(settings.permutations))]
    found = experiment.collected(partial(_permuted, data), jobs, workers, WAYS, "forests on permuted labels")
    # A job has one way, and has left a row for both.
    return found[found["right"] == (found["data"] == COHORT)].reset_index(drop=True)


def _permuted(data: Data, job: Job) -> Rows:
    own = data.own
    if job.data == PERMUTED:
        own = replace(own, labels=experiment.permuted_by_patient(data.keys, own.labels, data.rng(job)))
    small = forest.ForestSettings(
        trees=data.settings.trees, leaf_sizes=(5,), inner_folds=2, inner_trees=10, permutations=1, seed=data.seed
    )
    folds = data.folds(own, job)
    # Each of the forests would say that it is ready.
    with redirect_stdout(None), experiment.dividing():
        result = forest.out_of_fold(data.keys, own.labels, folds, small)
    auc = metrics_per_fold(result.predictions)["auc"].mean()
    return job.rows(WAYS, (auc, auc))


def permutation_p(table: pd.DataFrame) -> tuple[float, int]:
    """P of the true labels, (1 + b) / (1 + n), b of n permutations being at least as good, and n.

    It is never 0, and never below 1 / (1 + n): twenty permutations cannot show more than P = 0.048.

    Parameters
    ----------
    table : of `permuted`

    Raises
    ------
    InputError
        The true labels, or all of the permuted ones, have no value.
    """
    known = table.dropna(subset="value")
    true, null_values = (known.loc[known["right"] == kind, "value"].to_numpy() for kind in (True, False))
    if len(true) != 1 or len(null_values) == 0:
        reasons = "; ".join(dict.fromkeys(table["note"][table["note"] != ""]))
        found = f"{len(true)} values of true labels and {len(null_values)} of permuted ones"
        raise InputError(f"found {found}, expected one and at least one. {reasons}".strip())
    return (1 + int((null_values >= true[0]).sum())) / (1 + len(null_values)), len(null_values)


def permuted_in_words(table: pd.DataFrame) -> str:
    """What the permutations say, as a sentence.

    Parameters
    ----------
    table : of `permuted`
    """
    try:
        p, n = permutation_p(table)
    except InputError as error:
        return f"Not made: {error}"
    row = experiment.differences(table).iloc[0]
    return (
        f"The forest reaches an AUC of **{row['right']:.2f}** with the true labels, and {row['wrong']:.2f} on average "
        f"over {n} permutations of them. P = (1 + b) / (1 + n) is **{p:.3f}**; with {n} permutations it cannot be less "
        f"than {1 / (1 + n):.3f}. {row['note']}".rstrip()
    )
