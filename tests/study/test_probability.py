"""The calibration against a sandwich by hand, and where there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from mflib.study import applicability


def predictions(rng: np.random.Generator, slope: float = 1.5, patients: int = 40, segments: int = 8) -> pd.DataFrame:
    """Probabilities whose log odds tell the label with a known slope, alike within patients."""
    who = np.repeat(np.arange(patients), segments)
    x = rng.normal(scale=0.8, size=patients)[who] + rng.normal(scale=0.3, size=len(who))
    labels = (rng.random(len(who)) < expit(0.2 + slope * x)).astype(int)
    return pd.DataFrame({"participant_id": who.astype(str), "y_true": labels, "probability": expit(x)})


def test_probability_and_interval_are_those_of_a_sandwich_by_hand() -> None:
    table = predictions(np.random.default_rng(3))
    y, x = table["y_true"].to_numpy(), logit(table["probability"].to_numpy())
    x = np.column_stack([np.ones(len(y)), x])
    beta = minimize(lambda b: np.sum(np.logaddexp(0, x @ b) - y * (x @ b)), np.zeros(2), tol=1e-12).x
    fitted = expit(x @ beta)
    bread = np.linalg.inv(x.T @ (x * (fitted * (1 - fitted))[:, None]))
    by_patient = pd.DataFrame(x * (y - fitted)[:, None]).groupby(table["participant_id"]).sum().to_numpy()
    clusters, n = len(by_patient), len(y)
    correction = clusters / (clusters - 1) * (n - 1) / (n - 2)
    covariance = correction * bread @ (by_patient.T @ by_patient) @ bread

    calibration = applicability.fit_calibration(table)
    for at in (0.2, 0.5, 0.7):
        point = np.array([1, logit(at)])
        reach = 1.959963985 * np.sqrt(point @ covariance @ point)
        expected = expit(point @ beta + np.array([0, -reach, reach]))
        assert calibration(at) == pytest.approx(tuple(expected), rel=1e-5)
    assert logit(calibration(0.6)[0]) > logit(calibration(0.5)[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_true": 1}, "label 1 only"),
        ({"participant_id": "one"}, "one patient only"),
        ({"probability": lambda table: table["y_true"] * 0.5 + 0.2}, "one score parts the classes"),
        ({"probability": lambda table: 1 - table["probability"]}, "does not mean infiltration more often"),
    ],
)
def test_where_scores_say_nothing_there_is_no_probability_but_a_reason(changes: dict[str, object], said: str) -> None:
    calibration = applicability.fit_calibration(predictions(np.random.default_rng(3)).assign(**changes))
    assert calibration(0.1) is None
    assert said in calibration.note
