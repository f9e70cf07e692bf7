"""How often intervals of an AUC cover the truth, and paired tests err, where the segments of a patient are alike.

    .venv/bin/python benchmarks/roc_coverage.py --simulations 4000

46 patients with 8 segments each by default. Labels and scores share a part of their variance within a patient. Scores
are normal, so the true area is known, and two models of equal area are compared. Each line has the share of 95 %
intervals that cover (naive DeLong and clustered, both Wald, and clustered on the logit scale), and the share of paired
tests with P < 0.05 where nothing differs (naive and clustered).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mflib.stats import roc

AUC = 0.75
PREVALENCE = 160 / 368
# Correlation of the errors of the two models that are compared.
BETWEEN_MODELS = 0.5

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]


class Scenario(NamedTuple):
    """How alike a patient's segments are."""

    labels: Callable[[np.random.Generator, int, int], Labels]
    correlation_of_scores: float


class Shares(NamedTuple):
    """Shares of the simulations: intervals that cover, and tests that find a difference where there is none."""

    naive: float
    wald: float
    logit: float
    naive_error: float
    clustered_error: float


def correlated(rng: np.random.Generator, patients: int, segments: int, correlation: float) -> Floats:
    """Standard normal values (patients, segments), correlated within a patient."""
    shared = rng.normal(size=(patients, 1))
    return np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(size=(patients, segments))


def labels_alike(correlation: float) -> Callable[[np.random.Generator, int, int], Labels]:
    """Labels (patients, segments) of a correlated normal trait above a cut-off; 1 gives all segments the same."""

    def draw(rng: np.random.Generator, patients: int, segments: int) -> Labels:
        return (correlated(rng, patients, segments, correlation) > norm.isf(PREVALENCE)).astype(np.int64)

    return draw


def labels_balanced(rng: np.random.Generator, patients: int, segments: int) -> Labels:
    """Half of the segments of every patient are positive."""
    return np.tile(np.arange(segments) % 2, (patients, 1))


SCENARIOS = {
    "independent segments": Scenario(labels_alike(0), 0),
    "labels .3, scores .3": Scenario(labels_alike(0.3), 0.3),
    "labels .6, scores .5": Scenario(labels_alike(0.6), 0.5),
    "labels by patient, scores .5": Scenario(labels_alike(1), 0.5),
    "half of each patient, scores .5": Scenario(labels_balanced, 0.5),
}


def simulate(scenario: Scenario, simulations: int, patients: int = 46, segments: int = 8, seed: int = 0) -> Shares:
    """Shares of simulated cohorts; a draw in which fewer than two patients have a class is drawn again."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), segments)
    found = []
    while len(found) < simulations:
        y_true = scenario.labels(rng, patients, segments)
        if min((y_true == 1).any(axis=1).sum(), (y_true == 0).any(axis=1).sum()) < 2:
            continue
        shared, first, second = (
            correlated(rng, patients, segments, scenario.correlation_of_scores).ravel() for _ in range(3)
        )
        mixed = [np.sqrt(BETWEEN_MODELS) * shared + np.sqrt(1 - BETWEEN_MODELS) * own for own in (first, second)]
        scores = np.sqrt(2) * norm.ppf(AUC) * y_true.ravel()[:, None] + np.stack(mixed, axis=1)
        found.append(_one(y_true.ravel(), scores, groups))
    return Shares(*np.mean(found, axis=0))


def _one(y_true: Labels, scores: Floats, groups: NDArray[np.intp]) -> list[bool]:
    auc, naive = roc.auc_covariance(y_true, scores)
    _, clustered = roc.auc_covariance(y_true, scores, groups)
    intervals = [
        roc.auc_interval(auc[0], naive[0, 0], "wald"),
        roc.auc_interval(auc[0], clustered[0, 0], "wald"),
        roc.auc_interval(auc[0], clustered[0, 0], "logit"),
    ]
    z = [(auc[0] - auc[1]) / np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]) for c in (naive, clustered)]
    return [low < AUC < high for low, high in intervals] + [abs(value) > norm.isf(0.025) for value in z]


def main() -> None:
    """Print a line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=46)
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    error = np.sqrt(0.95 * 0.05 / asked.simulations)
    print(f"{asked.patients} patients x {asked.segments} segments, {asked.simulations} simulations, area {AUC},")
    print(f"standard error of a share of .95: {error:.4f}")
    print(f"{'correlation within a patient':32} {'coverage':>24} {'type I error':>20}")
    print(f"{'':32} {'naive':>8}{'Wald':>8}{'logit':>8} {'naive':>9} {'clustered':>10}")
    for name, scenario in SCENARIOS.items():
        shares = simulate(scenario, asked.simulations, asked.patients, asked.segments, asked.seed)
        covered = f"{shares.naive:8.3f}{shares.wald:8.3f}{shares.logit:8.3f}"
        print(f"{name:32} {covered} {shares.naive_error:9.3f} {shares.clustered_error:10.3f}", flush=True)


if __name__ == "__main__":
    main()
