"""Tied and clustered cases, and the formulas of the papers written as loops over pairs and clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mflib.stats import roc

WORKED = "A:1:3:2 A:1:5:4 A:0:2:3 B:1:4:4 B:0:1:1 B:0:4:2 C:0:3:1 D:1:2:5"
MRA = Path(__file__).parents[3] / "shared/reference/mra_obuchowski1997.csv"


def worked_example():
    rows = [case.split(":") for case in WORKED.split()]
    groups, y_true = [row[0] for row in rows], [int(row[1]) for row in rows]
    return y_true, np.array([row[2:] for row in rows], dtype=float), groups


def tied_sample(seed, n=60, n_groups=9):
    rng = np.random.default_rng(seed)
    groups = rng.integers(n_groups, size=n)
    y_true = (rng.random(n) < 0.2 + 0.6 * groups / n_groups).astype(int)
    scores = np.round(rng.normal(size=(n, 3)) + 0.8 * y_true[:, None] + 0.3 * groups[:, None] / n_groups, 1)
    return y_true, scores, groups


def drawn(groups, y_true, resamples, seed):
    """How often each case (resamples, n) is drawn."""
    return roc.resampled_sums(pd.Series(groups), y_true, np.eye(len(groups)), resamples, seed).astype(int)


def shares_by_loops(y_true, scores):
    """Share of rightly ordered pairs of each case (n, k), from all pairs."""
    positive, negative = np.flatnonzero(y_true == 1), np.flatnonzero(y_true == 0)

    def psi(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    share = np.zeros(scores.shape)
    for r in range(scores.shape[1]):
        for i in positive:
            share[i, r] = sum(psi(scores[i, r], scores[j, r]) for j in negative) / len(negative)
        for j in negative:
            share[j, r] = sum(psi(scores[i, r], scores[j, r]) for i in positive) / len(positive)
    return share


def obuchowski_by_loops(y_true, scores, groups):
    """The formulas of Obuchowski 1997 read line by line, in whole loops over pairs and clusters."""
    positive, negative = np.flatnonzero(y_true == 1), np.flatnonzero(y_true == 0)
    m, n, k = len(positive), len(negative), scores.shape[1]
    share = shares_by_loops(y_true, scores)
    theta = share[positive].mean(axis=0)
    clusters = sorted(set(groups))
    i10 = sum(any(groups[i] == c for i in positive) for c in clusters)
    i01 = sum(any(groups[j] == c for j in negative) for c in clusters)
    covariance = np.zeros((k, k))
    for r in range(k):
        for s in range(k):
            s10 = s01 = s11 = s11_back = 0.0
            for c in clusters:
                a, b = (
                    [sum(share[i, q] - theta[q] for i in cases if groups[i] == c) for q in (r, s)]
                    for cases in (positive, negative)
                )
                s10, s01 = s10 + a[0] * a[1], s01 + b[0] * b[1]
                s11, s11_back = s11 + a[0] * b[1], s11_back + a[1] * b[0]
            factor = len(clusters) / (len(clusters) - 1)
            covariance[r, s] = (
                i10 / ((i10 - 1) * m) * s10 / m + i01 / ((i01 - 1) * n) * s01 / n + factor * (s11 + s11_back) / (m * n)
            )
    return theta, covariance
