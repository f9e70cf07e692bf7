"""Small predictions tables with a patient effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from mflib.base.words import KEY, LEVELS


def predictions(model: str, seed: int = 0, n_patients: int = 20, repeat: int = 0) -> pd.DataFrame:
    """Eight segments of each of some patients in five folds by patient; the scores hold a patient effect."""
    rng = np.random.default_rng([7, seed])
    keys = [(f"sub-{p:03}", level, lat) for p in range(n_patients) for level in LEVELS for lat in "LR"]
    patient = np.repeat(np.arange(n_patients), 8)
    y_true = (np.random.default_rng(1).random(len(keys)) < 0.45).astype(int)  # the same for every model
    scores = 0.5 * y_true + 0.4 * rng.normal(size=n_patients)[patient] + 0.4 * rng.normal(size=len(keys))
    return pd.DataFrame(keys, columns=KEY).assign(
        model=model, split="patient", repeat=repeat, fold=patient % 5 + 1, y_true=y_true, score=scores, threshold=0.25
    )


def probabilities(model: str, seed: int = 0, n_patients: int = 20) -> pd.DataFrame:
    """The same with scores in (0, 1)."""
    table = predictions(model, seed, n_patients)
    return table.assign(score=expit(3 * table["score"] - 0.75), threshold=0.5)


def simulated(intercept: float, slope: float, n_patients: int) -> pd.DataFrame:
    """Labels drawn so that the log odds are ``intercept + slope`` x those that the scores claim."""
    table = predictions("dcnn", n_patients=n_patients)
    rng = np.random.default_rng(5)
    claimed = rng.normal(0, 1.2, len(table))
    drawn = rng.random(len(table)) < expit(intercept + slope * claimed)
    return table.assign(score=expit(claimed), y_true=drawn.astype(int))


def alone(table: pd.DataFrame) -> pd.DataFrame:
    """Every segment as a patient of its own."""
    ids = table.groupby(KEY).ngroup()
    return table.assign(participant_id=[f"sub-{number}" for number in ids])
