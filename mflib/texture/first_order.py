"""First-order statistics of a region: where its grey levels lie, not how they are arranged."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PROPERTIES = ("mean", "sd", "skewness", "kurtosis", "entropy")
NAMES = tuple(f"first_order_{name}" for name in PROPERTIES)


def features(voxels: NDArray[np.uint8]) -> pd.Series:
    """Mean, SD, skewness, kurtosis and entropy of the grey levels.

    Population moments (divided by n, no bias correction): SD with ``ddof=0``, skewness m3 / m2^1.5, kurtosis in
    excess of the normal distribution, m4 / m2^2 - 3. Entropy is Shannon's over the 256 grey levels, in bits.

    Parameters
    ----------
    voxels : uint8, any shape

    Returns
    -------
    Series
        Named as in `NAMES`.

    Raises
    ------
    ValueError
        Voxels are not uint8, or have fewer than two grey levels: a flat region has no skewness.
    """
    if voxels.dtype != np.uint8:
        raise ValueError(f"first-order statistics: found voxels of {voxels.dtype}, expected uint8")
    counts = np.bincount(voxels.ravel(), minlength=256)
    levels = np.flatnonzero(counts)
    if levels.size < 2:
        raise ValueError(f"first-order statistics: found {levels.size} grey level, expected at least two")
    weights = counts[levels] / voxels.size
    mean = weights @ levels
    second, third, fourth = (weights @ (levels - mean) ** power for power in (2, 3, 4))
    entropy = -(weights @ np.log2(weights))
    values = [mean, np.sqrt(second), third / second**1.5, fourth / second**2 - 3, entropy]
    return pd.Series(values, index=list(NAMES))
