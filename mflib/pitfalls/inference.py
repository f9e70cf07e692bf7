"""Segments counted as patients: the error rate of a test and the coverage of an interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from mflib import roc
from mflib.pitfalls import null
from mflib.pitfalls.results import SIMULATED, PitfallsError
from mflib.pitfalls.settings import Settings

METHODS = ("naive DeLong", "clustered")
AREA, LEVEL = 0.75, 0.95


def tests_under_null(
    settings: Settings,
    seed: int,
    *,
    iccs: Sequence[float] = (0.0, 0.3, 0.6),
    patients: int = null.PATIENTS,
    segments: int = null.SEGMENTS,
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
    PitfallsError
        No simulated cohort could be tested.
    """
    rows = []
    for icc in iccs:
        rng = np.random.default_rng([seed, round(1000 * icc)])
        drawn = [_simulated(icc, patients, segments, rng) for _ in range(settings.simulations)]
        tested = [found for found in drawn if found is not None]
        if not tested:
            raise PitfallsError(f"none of {len(drawn)} cohorts of {patients} patients had two patients of each class")
        left_out = len(drawn) - len(tested)
        note = f"{left_out} cohorts with fewer than two patients of a class left out" if left_out else ""
        for method, (wrong, held) in zip(METHODS, np.mean(tested, axis=0), strict=True):
            rates = {"type_one": wrong, "coverage": held}
            errors = {f"{name}_se": np.sqrt(rate * (1 - rate) / len(tested)) for name, rate in rates.items()}
            rows.append({"data": SIMULATED, "icc": icc, "method": method, "simulations": len(tested)} | rates | errors)
            rows[-1]["note"] = note
    return pd.DataFrame(rows)


def _simulated(icc: float, patients: int, segments: int, rng: np.random.Generator) -> np.ndarray | None:
    """Of one cohort, by method: whether the test erred, and whether the interval held; None where neither exists."""
    labels = null.infiltrated(null.clustered((patients, segments, 1), icc, rng)[:, 0])
    score = null.clustered((patients, segments, 2), icc, rng) + np.sqrt(2) * norm.ppf(AREA) * labels[:, None]
    groups = np.repeat(np.arange(patients), segments)
    if min(np.unique(groups[labels == kind]).size for kind in (0, 1)) < 2:
        return None
    found = []
    for clusters in (None, groups):
        auc, covariance = roc.auc_covariance(labels, score, clusters)
        z = (auc[0] - auc[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        low, high = roc.auc_interval(float(auc[0]), float(covariance[0, 0]), level=LEVEL)
        found.append([2 * norm.sf(abs(z)) < 1 - LEVEL, low <= AREA <= high])
    return np.array(found, dtype=float)
