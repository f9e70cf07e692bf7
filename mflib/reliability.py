"""How well measurements repeat: the intraclass correlation, and that of every feature under perturbation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

from mflib.volume import KEY

PERTURBATION, DIRECTION = "perturbation", "direction"
AS_ANNOTATED, ALL = "as annotated", "all"
# From here on Koo & Li 2016, doi:10.1016/j.jcm.2016.02.012, speak of good reliability.
GOOD = 0.75
_TINY = np.finfo(float).tiny

Bounds = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def icc(values: NDArray[np.float64], level: float = 0.95) -> Bounds:
    """ICC(2,1): absolute agreement of single measurements, two-way random effects.

    Shrout & Fleiss 1979 (doi:10.1037/0033-2909.86.2.420); the interval of McGraw & Wong 1996
    (doi:10.1037/1082-989X.1.1.30), ICC(A,1).

    Parameters
    ----------
    values : (cases, measurements, features)
    level : confidence

    Returns
    -------
    (features,) arrays
        Estimate, lower and upper bound. A feature that every measurement finds the same repeats perfectly: 1, 1, 1.

    Raises
    ------
    ValueError
        Fewer than two cases or measurements.
    """
    n, k, _ = values.shape
    if n < 2 or k < 2:
        raise ValueError(f"ICC: found {n} cases and {k} measurements of each, expected at least two of both")
    # Relative to the mean and its size, squares neither cancel nor overflow.
    centred = values - values.mean(axis=(0, 1))
    scale = np.abs(centred).max(axis=(0, 1))
    centred = centred / np.where(scale > 0, scale, 1)
    cases, measurements = centred.mean(axis=1), centred.mean(axis=0)
    ms_cases = k * (cases**2).sum(axis=0) / (n - 1)
    ms_measurements = n * (measurements**2).sum(axis=0) / (k - 1)
    residual = centred - cases[:, None] - measurements
    ms_error = (residual**2).sum(axis=(0, 1)) / ((n - 1) * (k - 1))
    # Where all agree, only rounding is left to divide by: any numbers do, the answer is known.
    perfect = (ms_error + ms_measurements) <= 1e-24
    ms_cases, ms_measurements, ms_error = (
        np.where(perfect, some, mean_square)
        for some, mean_square in ((2.0, ms_cases), (1.0, ms_measurements), (1.0, ms_error))
    )
    estimate = (ms_cases - ms_error) / (ms_cases + (k - 1) * ms_error + k / n * (ms_measurements - ms_error))
    # Both of McGraw and Wong's times n (1 - estimate), which may be 0; the degrees of freedom do not see a factor.
    a = k * estimate
    b = n * (1 - estimate) + k * estimate * (n - 1)
    spread = a * ms_measurements + b * ms_error
    parts = (a * ms_measurements) ** 2 / (k - 1) + (b * ms_error) ** 2 / ((n - 1) * (k - 1))
    freedom = np.maximum(spread**2 / np.maximum(parts, _TINY), 1.0)
    upper_f = f_distribution.ppf(0.5 + level / 2, n - 1, freedom)
    lower_f = f_distribution.ppf(0.5 + level / 2, freedom, n - 1)
    shared = k * ms_measurements + (k * n - k - n) * ms_error
    low = n * (ms_cases - upper_f * ms_error) / np.maximum(upper_f * shared + n * ms_cases, _TINY)
    high = n * (lower_f * ms_cases - ms_error) / np.maximum(shared + n * lower_f * ms_cases, _TINY)
    found = [np.where(perfect, 1.0, np.clip(bound, -1, 1)) for bound in (estimate, low, high)]
    return found[0], found[1], found[2]


def repeatability(perturbed: pd.DataFrame) -> pd.DataFrame:
    """ICC(2,1) of every feature for each kind of perturbation, and for all of them together.

    Parameters
    ----------
    perturbed : the table of `texture.robustness.measure`, or some patients' rows of it

    Returns
    -------
    DataFrame
        ``perturbation``, ``feature``, ``icc``, ``low``, ``high`` (95 %), ``segments``, ``measurements`` of each.
    """
    features = [name for name in perturbed.columns if name not in (*KEY, PERTURBATION, DIRECTION, "grey_levels")]
    kinds = [kind for kind in perturbed[PERTURBATION].unique() if kind != AS_ANNOTATED]
    tables = []
    for kind in (*kinds, ALL):
        rows = perturbed if kind == ALL else perturbed[perturbed[PERTURBATION].isin([AS_ANNOTATED, kind])]
        ordered = rows.sort_values([*KEY, PERTURBATION, DIRECTION])
        segments = ordered[KEY].drop_duplicates().shape[0]
        values = ordered[features].to_numpy(float).reshape(segments, -1, len(features))
        estimate, low, high = icc(values)
        found = {"feature": features, "icc": estimate, "low": low, "high": high}
        tables.append(
            pd.DataFrame({"perturbation": kind, **found, "segments": segments, "measurements": values.shape[1]})
        )
    return pd.concat(tables, ignore_index=True)
