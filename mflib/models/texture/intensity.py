"""Features of the grey levels themselves: first-order statistics and Nakagami parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq
from scipy.special import digamma
from scipy.stats import gamma

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
        Fewer than two grey levels: a flat region has no skewness.
    """
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


Input = Literal["intensity", "grey"]


@dataclass(frozen=True)
class Fit:
    """Nakagami parameters of one region.

    Parameters
    ----------
    m : shape; 1 is fully developed speckle (Rayleigh), less is clumped or sparse scatterers
    omega : mean intensity, 1 at grey level 255; mean grey level where the input is ``"grey"``
    grey_levels : number of distinct grey levels that entered the fit
    """

    m: float
    omega: float
    grey_levels: int


def fit(voxels: NDArray[np.uint8], dynamic_range_db: float, input: Input = "intensity") -> Fit:
    """Fit a Gamma distribution to the flattened region by maximum likelihood.

    The shape solves ln m - digamma(m) = ln mean(I) - mean(ln I), as ``scipy.stats.gamma.fit`` with ``floc=0`` does.

    Parameters
    ----------
    voxels : uint8, any shape
    dynamic_range_db : range of the log compression in dB; ``"grey"`` does not use it
    input : ``"intensity"`` fits I = 10^((g / 255 - 1) DR / 10) of all voxels. ``"grey"`` is the paper's words taken
        literally: the grey levels themselves, zeros dropped

    Raises
    ------
    ValueError
        Fewer than two grey levels enter the fit, or a dynamic range that is not a positive number.
    """
    levels = np.arange(256)
    counts = np.bincount(voxels.ravel(), minlength=256)
    if input == "grey":
        counts[0] = 0
    present = counts > 0
    if present.sum() < 2:
        kind = "grey level other than 0" if input == "grey" else "grey level"
        raise ValueError(f"Nakagami: found a flat region ({present.sum()} {kind}), expected at least two")
    values = levels[present].astype(float) if input == "grey" else decompress(levels[present], dynamic_range_db)
    weights = counts[present] / counts.sum()
    return Fit(_shape(values, weights), float(weights @ values), int(present.sum()))


def decompress(grey: NDArray[np.integer], dynamic_range_db: float) -> NDArray[np.float64]:
    """Intensity of log-compressed grey levels: 10^((g / 255 - 1) DR / 10), so 1 at grey level 255.

    Raises
    ------
    ValueError
        The dynamic range is not a positive number.
    """
    if not (np.isfinite(dynamic_range_db) and dynamic_range_db > 0):
        raise ValueError(f"Nakagami: found a dynamic range of {dynamic_range_db} dB, expected a positive number")
    return np.asarray(10.0 ** ((grey / 255 - 1) * dynamic_range_db / 10))


# Lines and sheets along the fascicles: grey levels above what is around, of a voxel smoothed by ALONG_MM (lateral,
# depth, along the spine); what is around is a Gaussian of AROUND_MM. For looking, no feature of a model.
LINE, ALONG_MM, AROUND_MM = 30.0, (0.3, 0.15, 1.0), 1.2


def lines(voxels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Grey levels by which each voxel (ni, nj, nk) stands out of what is around; above `LINE` it belongs to a line."""
    grey, spacing = voxels.astype(float), np.array(spacing_mm)
    return np.asarray(gaussian_filter(grey, ALONG_MM / spacing) - gaussian_filter(grey, AROUND_MM / spacing))


# Grey levels that are counted together where a peak is sought: a stretched histogram has gaps.
CLASS = 8
PEAKS = (
    "The histogram peaks near {histogram:.0f} {unit}, the Gamma density near {density:.0f} {unit}, {apart:.0f} {unit} "
    "apart; the SD of the region is {sd:.0f} {unit}. {so}"
)
FOLLOWS = "That is at most half an SD: the two peak in one place."
MISSES = (
    "That is more than half an SD: **one Gamma distribution does not describe this region**, and m says how uneven its "
    "echo is, not what its scatterers are."
)


def densities(
    voxels: NDArray[np.uint8], found: Fit, dynamic_range_db: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The histogram that a fit saw, and the density that it found.

    Parameters
    ----------
    voxels : uint8, any shape: the region that was fitted
    found : of `fit`
    dynamic_range_db : of the fit to intensities, told in dB re grey level 255. None for the fit to grey levels

    Returns
    -------
    (256,) arrays
        Places in dB or grey levels, density of the histogram, density of the fit; NaN at grey level 0 where it is out.
    """
    counts, levels = np.bincount(voxels.ravel(), minlength=256), np.arange(256.0)
    if dynamic_range_db is None:
        counts[0], levels[0] = 0, np.nan
        return np.arange(256.0), counts / counts.sum(), gamma.pdf(levels, found.m, scale=found.omega / found.m)
    intensity, step = decompress(np.arange(256), dynamic_range_db), dynamic_range_db / 255
    # The density of 10 log10(I) is that of I times dI/d(dB).
    curve = gamma.pdf(intensity, found.m, scale=found.omega / found.m) * intensity * np.log(10) / 10
    return (levels - 255) * step, counts / counts.sum() / step, curve


def in_words(voxels: NDArray[np.uint8], found: Fit, dynamic_range_db: float | None) -> str:
    """Where histogram and density peak and what follows, as sentences; parameters as in `densities`."""
    x, share, curve = densities(voxels, found, dynamic_range_db)
    histogram = x.reshape(-1, CLASS).mean(axis=1)[share.reshape(-1, CLASS).sum(axis=1).argmax()]
    density, sd = x[np.nanargmax(curve)], np.sqrt(np.cov(x, aweights=share, ddof=0))
    apart, unit = abs(histogram - density), "grey levels" if dynamic_range_db is None else "dB"
    so = MISSES if apart > sd / 2 else FOLLOWS
    return PEAKS.format(histogram=histogram, density=density, apart=apart, sd=sd, unit=unit, so=so)


def _shape(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    spread = np.log(weights @ values) - weights @ np.log(values)
    # 1 / (2m) < ln m - digamma(m) < 1 / m: the root lies between 0.5 and 1 over the spread. The margin keeps the
    # signs apart where a nearly flat region leaves only rounding between them.
    low, high = 0.4 / spread, 1.1 / spread
    return float(brentq(lambda m: np.log(m) - digamma(m) - spread, low, high, xtol=1e-12 * low, rtol=1e-12))
