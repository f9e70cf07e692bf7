"""Logistic regression of labels on one covariate, with patients as clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from mflib.performance.proportions import Floats

EPSILON = 1e-3

Labels = NDArray[np.integer]


def log_odds(scores: ArrayLike) -> tuple[Floats, str]:
    """Logit of scores (n,), those within ``EPSILON`` of 0 or 1 moved there, and a note of how many were."""
    given = np.asarray(scores, dtype=np.float64)
    moved = int(((given < EPSILON) | (given > 1 - EPSILON)).sum())
    note = f"{moved} scores moved to {EPSILON:g} from 0 or 1" if moved else ""
    return logit(np.clip(given, EPSILON, 1 - EPSILON)), note


def separated(x: Floats, labels: Labels) -> bool:
    """Whether one value parts the classes, so that no finite slope fits.

    With one covariate the likelihood has its maximum only where each class reaches beyond the other's end.
    """
    above, below = x[labels == 1], x[labels == 0]
    return bool(below.max() <= above.min() or above.max() <= below.min())


def regression(x: Floats, labels: Labels, *, slope: bool) -> GLM:
    """Model logit P = a + b x, or with b held at 1."""
    ones = np.ones((len(x), 1))
    if not slope:
        return GLM(labels, ones, family=Binomial(), offset=x)
    return GLM(labels, np.column_stack([ones, x]), family=Binomial())


def shift(x: Floats, labels: Labels) -> float:
    """The a at which the mean of P = expit(a + x) is the share of positives; from elsewhere a fit can run away."""
    share, centre = labels.mean(), logit(labels.mean())
    return float(brentq(lambda a: expit(a + x).mean() - share, centre - x.max() - 1, centre - x.min() + 1))


def clustered(model: GLM, patients: pd.Series, start: list[float] | None = None) -> Any:
    """The fitted model, its covariance the sandwich with patients as clusters."""
    return model.fit(start, cov_type="cluster", cov_kwds={"groups": pd.factorize(patients)[0]})
