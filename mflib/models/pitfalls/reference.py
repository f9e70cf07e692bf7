"""What a number is held against: patients instead of segments, prevalence, the readers of the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from mflib.base.errors import InputError
from mflib.base.words import READERS
from mflib.models.pitfalls import experiment
from mflib.models.pitfalls.experiment import COHORT, PREVALENCE, SIMULATED, PitfallsSettings
from mflib.stats import roc
from mflib.stats.performance import metrics

METHODS = ("naive DeLong", "clustered")
AREA = 0.75


def tests_under_null(
    settings: PitfallsSettings,
    seed: int,
    *,
    iccs: Sequence[float] = (0.0, 0.3, 0.6),
    patients: int = experiment.PATIENTS,
    segments: int = experiment.SEGMENTS,
) -> pd.DataFrame:
    """How often does a test find a difference that is not there, and how often does an interval hold the truth?

    Cohorts with labels and scores alike inside a patient are simulated. Two models are equally good, with an AUC of
    0.75 (binormal); each has its own patient effect. The paired test and the interval are DeLong's, which takes
    segments as independent, and Obuchowski's (1997, Biometrics 53:567), which takes patients.

    Parameters
    ----------
    settings : ``simulations``
    seed : of the simulated cohorts
    iccs : correlation between segments of a patient, of scores in a class and of the normal variable behind the labels
    patients, segments : size of a cohort, segments of each patient

    Returns
    -------
    DataFrame
        ``data``, ``icc``, ``method``, ``simulations``, ``type_one`` (share of P < 0.05), ``coverage`` (share of 95 %
        logit intervals of the first AUC that hold 0.75), ``type_one_se`` and ``coverage_se`` (of the simulation),
        ``note``. Cohorts with fewer than two patients of a class cannot be tested; the note counts them.

    Raises
    ------
    InputError
        No simulated cohort could be tested.
    """
    rows = []
    for icc in iccs:
        rng = np.random.default_rng([seed, round(1000 * icc)])
        drawn = [_simulated(icc, patients, segments, rng) for _ in range(settings.simulations)]
        tested = [found for found in drawn if found is not None]
        if not tested:
            raise InputError(f"none of {len(drawn)} cohorts of {patients} patients had two patients of each class")
        left_out = len(drawn) - len(tested)
        note = f"{left_out} cohorts with fewer than two patients of a class left out" if left_out else ""
        for method, (wrong, held) in zip(METHODS, np.mean(tested, axis=0), strict=True):
            rates = {"type_one": wrong, "coverage": held}
            errors = {f"{name}_se": np.sqrt(rate * (1 - rate) / len(tested)) for name, rate in rates.items()}
            case = {"data": SIMULATED, "icc": icc, "method": method, "simulations": len(tested)}
            rows.append({**case, **rates, **errors, "note": note})
    return pd.DataFrame(rows)


def _simulated(icc: float, patients: int, segments: int, rng: np.random.Generator) -> np.ndarray | None:
    """Of one cohort, by method: whether the test erred, and whether the interval held; None where neither exists."""
    labels = experiment.infiltrated(experiment.clustered_segments((patients, segments, 1), icc, rng)[:, 0])
    effects = experiment.clustered_segments((patients, segments, 2), icc, rng)
    score = effects + np.sqrt(2) * norm.ppf(AREA) * labels[:, None]
    groups = np.repeat(np.arange(patients), segments)
    if min(np.unique(groups[labels == kind]).size for kind in (0, 1)) < 2:
        return None
    found = []
    for clusters in (None, groups):
        auc, covariance = roc.auc_covariance(labels, score, clusters)
        z = (auc[0] - auc[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        low, high = roc.auc_interval(float(auc[0]), float(covariance[0, 0]))
        found.append([2 * norm.sf(abs(z)) < 1 - roc.CONFIDENCE, low <= AREA <= high])
    return np.array(found, dtype=float)


REFERENCES = ("one reader", "majority of three")
# A model whose AUC against the truth is this shows what the readers leave of it.
GOOD = 0.8
# A guess at how many segments are infiltrated where everybody is looked at.
SCREENING = 0.1
Floats = NDArray[np.float64]


def prevalence(
    sensitivity: float, specificity: float, prevalences: Sequence[float] = tuple(np.linspace(0.05, 0.6, 56))
) -> pd.DataFrame:
    """What does a call of the same test mean where the disease is rarer?

    Bayes' theorem, with sensitivity and specificity taken to be the same everywhere; in a milder spectrum of disease
    they are not (Ransohoff & Feinstein 1978, doi:10.1056/NEJM197810262991705).

    Parameters
    ----------
    sensitivity, specificity : in [0, 1]
    prevalences : shares of infiltrated segments, each inside (0, 1)

    Returns
    -------
    DataFrame
        ``prevalence``, ``ppv``, ``npv``, ``false_alarms`` (of 100 positive calls).

    Raises
    ------
    InputError
        A share outside its range, or a test that never calls one of the two.
    """
    share = np.asarray(prevalences, dtype=np.float64)
    positive = share * sensitivity + (1 - share) * (1 - specificity)
    if not (0 <= sensitivity <= 1 and 0 <= specificity <= 1 and ((share > 0) & (share < 1)).all()):
        found = f"sensitivity {sensitivity}, specificity {specificity}, prevalences {share.min()} to {share.max()}"
        raise InputError(f"found {found}; expected [0, 1], [0, 1] and inside (0, 1)")
    if ((positive == 0) | (positive == 1)).any():
        raise InputError(f"found a test of {sensitivity} and {specificity} that calls all segments the same")
    ppv, npv = share * sensitivity / positive, (1 - share) * specificity / (1 - positive)
    return pd.DataFrame({"prevalence": share, "ppv": ppv, "npv": npv, "false_alarms": 100 * (1 - ppv)})


def ceiling(
    grades: pd.DataFrame,
    settings: PitfallsSettings,
    seed: int,
    *,
    segments: int,
    kappas: Sequence[float] = tuple(np.linspace(0.2, 1, 17)),
) -> pd.DataFrame:
    """How good can a perfect model look where the reference is wrong now and then?

    Two readers err independently of each other and of the model, equally often in healthy and infiltrated segments; a
    third decides as often wrong where they differ. The error rate follows from kappa and the paper's prevalence. Of a
    reference with predictive values P and N (for the truth) an AUC of A is left as 0.5 + (A - 0.5) (P + N - 1).
    Readers who err on the same difficult segments agree more than they are right, and then the ceiling is lower.

    Parameters
    ----------
    grades : one row per segment: ``grade_reader1`` and ``grade_reader2`` (0-3, nullable), where they are recorded
    settings : ``simulations``
    seed : of the simulated readers
    segments : size of a simulated cohort, for the spread
    kappas : agreements of two readers on infiltrated or not, above 0

    Returns
    -------
    DataFrame
        ``data`` (simulated, or for the measured kappa of the cohort's readers: cohort), ``kappa``, ``reference``,
        ``error`` (of one reader), ``accuracy`` and ``auc`` of a perfect model, ``auc_sd`` (over simulated cohorts),
        ``auc_of_good`` (of a model with a true AUC of 0.8), ``note`` (why the cohort's row has no numbers).
    """
    measured, note = readers_kappa(grades)
    rng = np.random.default_rng(seed)
    rows = [_ceiling(SIMULATED, kappa, segments, settings.simulations, rng) for kappa in kappas]
    if note:
        blank = dict.fromkeys(("kappa", "error", "accuracy", "auc", "auc_sd", "auc_of_good"), np.nan)
        rows.append([{"data": COHORT, "reference": kind, **blank, "note": note} for kind in REFERENCES])
    else:
        rows.append(_ceiling(COHORT, measured, segments, settings.simulations, rng))
    return pd.DataFrame([row for pair in rows for row in pair])


UNKNOWN = "What this cohort's readers leave of a perfect model is not known: {note}. Read it off the curve."


def ceiling_in_words(table: pd.DataFrame) -> str:
    """What the cohort's own readers leave of a model, as a sentence; or why that is not known.

    Parameters
    ----------
    table : of `ceiling`
    """
    one, majority = (table[(table["data"] == COHORT) & (table["reference"] == kind)].iloc[0] for kind in REFERENCES)
    if one["note"]:
        return UNKNOWN.format(note=one["note"])
    return (
        f"This cohort's readers agree on infiltrated or not with a kappa of **{one['kappa']:.2f}**. If they err "
        f"independently, each is wrong in {100 * one['error']:.0f} % of the segments. Against one of them a perfect "
        f"model has an AUC of **{one['auc']:.2f}** and an accuracy of {100 * one['accuracy']:.0f} %, against the "
        f"majority of three {majority['auc']:.2f} and {100 * majority['accuracy']:.0f} %. Of a true AUC of {GOOD}, one "
        f"reader leaves **{one['auc_of_good']:.2f}**."
    )


def readers_kappa(grades: pd.DataFrame) -> tuple[float, str]:
    """Cohen's kappa of the two readers on infiltrated or not, or why there is none that a ceiling follows from."""
    both = grades.reindex(columns=READERS).astype("Int64").dropna()
    if both.empty:
        return np.nan, "no segment was graded by both readers"
    calls = ((both[name] > 0).to_numpy(int) for name in READERS)
    agreed = metrics.kappa(metrics.grade_pairs(*calls).sum(axis=0).reshape(4, 4))
    if agreed is None:
        return np.nan, "both readers gave every segment the same call, so kappa is undefined"
    return (agreed, "") if agreed > 0 else (np.nan, f"the readers' kappa is {agreed:.2f}, no better than chance")


def reader_error(kappa: float, share: float = PREVALENCE) -> float:
    """Share of segments that each of two equal, independent readers calls wrong.

    Parameters
    ----------
    kappa : their agreement, in (0, 1]
    share : of segments that are truly infiltrated

    Raises
    ------
    InputError
        A kappa outside (0, 1].
    """
    if not 0 < kappa <= 1:
        raise InputError(f"found a kappa of {kappa}, expected above 0, up to 1")

    def excess(error: float) -> float:
        called = share * (1 - error) + (1 - share) * error
        chance = called**2 + (1 - called) ** 2
        return ((1 - error) ** 2 + error**2 - chance) / (1 - chance) - kappa

    return float(brentq(excess, 0, 0.5))


def attenuated(auc: ArrayLike, error: ArrayLike, share: float = PREVALENCE) -> Floats:
    """AUC against a reference of this error rate, of a model whose AUC against the truth is ``auc``."""
    wrong = np.asarray(error, dtype=np.float64)
    ppv = share * (1 - wrong) / (share * (1 - wrong) + (1 - share) * wrong)
    npv = (1 - share) * (1 - wrong) / ((1 - share) * (1 - wrong) + share * wrong)
    return np.asarray(0.5 + (np.asarray(auc) - 0.5) * (ppv + npv - 1))


def _ceiling(
    data: str, kappa: float, segments: int, simulations: int, rng: np.random.Generator
) -> list[dict[str, object]]:
    error = reader_error(kappa)
    # Two wrong of three.
    errors = dict(zip(REFERENCES, (error, 3 * error**2 - 2 * error**3), strict=True))
    return [
        {"data": data, "reference": kind, "kappa": kappa, "error": error, "accuracy": 1 - wrong}
        | {"auc": float(attenuated(1, wrong)), "auc_sd": _spread(wrong, segments, simulations, rng)}
        | {"auc_of_good": float(attenuated(GOOD, wrong)), "note": ""}
        for kind, wrong in errors.items()
    ]


def _spread(error: float, segments: int, simulations: int, rng: np.random.Generator) -> float:
    """SD of a perfect model's AUC over simulated cohorts; one that the reference finds all alike is left out."""
    truth = rng.random((simulations, segments)) < PREVALENCE
    reference = truth ^ (rng.random(truth.shape) < error)
    positives, negatives = reference.sum(axis=1), (~reference).sum(axis=1)
    whole = (positives > 0) & (negatives > 0)
    sensitivity = (truth & reference).sum(axis=1)[whole] / positives[whole]
    specificity = (~truth & ~reference).sum(axis=1)[whole] / negatives[whole]
    return float(np.std((sensitivity + specificity) / 2))
