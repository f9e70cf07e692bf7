"""What one volume's voxels say of how it was recorded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mflib import preprocess
from mflib.preprocess import References, Settings
from mflib.volume import Annotation, Volume

# An 8-bit picture of a whole volume uses nearly all 256; half of them are what a squeezed or stretched one has left.
FEW_LEVELS = 128
SATURATED_ROI_PCT = 1.0
BLACK_ROI_PCT = 20.0  # holes that a reconstruction left, or a shadow
GREYS = np.arange(256, dtype=np.uint8)


def of_volume(volume: Volume) -> dict[str, Any]:
    """Grey levels, spacing and extent of a whole volume, and what its sidecar states.

    Returns
    -------
    dict
        Shares in percent of the voxels, lengths in mm; what the sidecar does not state, or not as a number, is NaN.
    """
    share = _histogram(volume.voxels)
    row: dict[str, Any] = {
        "grey_levels": int((share > 0).sum()),
        "black_pct": 100 * float(share[0]),
        "saturated_pct": 100 * float(share[255]),
        "dynamic_range_db": math.nan if volume.dynamic_range_db is None else volume.dynamic_range_db,
        "gain_percent": _stated(volume, "GainPercent"),
        "depth_mm": _stated(volume, "DepthMM"),
    }
    for axis, step, n in zip("ijk", volume.spacing_mm, volume.voxels.shape, strict=True):
        row |= {f"spacing_{axis}_mm": step, f"field_{axis}_mm": step * n}
    few = row["grey_levels"] < FEW_LEVELS
    return row | {"flags": (f"few grey levels ({row['grey_levels']} of 256)",) if few else ()}


def of_annotated(volume: Volume, annotation: Annotation, settings: Settings) -> dict[str, Any]:
    """Grey levels at the reference points and in the region of interest of one volume.

    Returns
    -------
    dict
        ``gain_db`` is half way between bone and shadow, in dB: a change of gain moves both by as much. ``roi_mean`` is
        NaN where the bone is not brighter than the shadow.

    Raises
    ------
    PreprocessError
        The ROI or a reference point leaves the volume.
    """
    preprocess.check_inside(volume.voxels.shape, annotation)
    references = preprocess.measure_references(volume, annotation, settings.patch_mm)
    share = _histogram(volume.voxels[annotation.roi])
    black, saturated = 100 * float(share[0]), 100 * float(share[255])
    flags = list(references.flags)
    if saturated > SATURATED_ROI_PCT:
        flags.append(f"saturated ROI ({saturated:.0f} % of its voxels are 255)")
    if black > BLACK_ROI_PCT:
        flags.append(f"black ROI ({black:.0f} % of its voxels are 0)")
    return {
        "bone": references.bone,
        "shadow": references.shadow,
        "gain_db": (references.bone + references.shadow) / 2 * preprocess.recorded_range(volume, settings) / 255,
        "shadow_mm": shadow_depth(volume, annotation, references.shadow, settings.patch_mm),
        "roi_mean_raw": float(share @ GREYS),
        "roi_mean": _normalised_mean(share, references, settings),
        "roi_black_pct": black,
        "roi_saturated_pct": saturated,
        "roi_grey_levels": int((share > 0).sum()),
        "flags": tuple(flags),
    }


def shadow_depth(volume: Volume, annotation: Annotation, shadow: float, patch_mm: float) -> float:
    """How far below the bone the dark column goes, in mm.

    Dark is what lies nearer to the shadow than to the mean of the region of interest. The column through the shadow
    point is as wide as a reference patch; 0 where the point itself is not dark.
    """
    depth = volume.spacing_mm[1]
    dark = _column(volume, annotation, patch_mm) < (shadow + volume.voxels[annotation.roi].mean()) / 2
    bright = np.flatnonzero(~dark[annotation.shadow[1] :])
    end = annotation.shadow[1] + bright[0] if len(bright) else len(dark)
    lit = end == annotation.shadow[1]
    return 0.0 if lit else max(0.0, float(end - annotation.bone[1]) * depth)


def _column(volume: Volume, annotation: Annotation, patch_mm: float) -> NDArray[np.float64]:
    """Median grey level (nj,) of the column through the shadow point, smoothed along depth over a patch."""
    (i, _, k), (step_i, step_j, step_k) = annotation.shadow, volume.spacing_mm
    reach_i, reach_j, reach_k = (max(1, round(patch_mm / step)) for step in (step_i, step_j, step_k))
    beside = volume.voxels[max(0, i - reach_i) : i + reach_i + 1, :, max(0, k - reach_k) : k + reach_k + 1]
    padded = np.pad(np.median(beside, axis=(0, 2)), reach_j, mode="edge")
    return np.convolve(padded, np.full(2 * reach_j + 1, 1 / (2 * reach_j + 1)), mode="valid")


def _normalised_mean(share: NDArray[np.float64], references: References, settings: Settings) -> float:
    """Mean of the normalised grey levels of voxels of which ``share`` (256,) have each level as recorded."""
    if references.bone <= references.shadow:  # the flag of weak contrast says it
        return math.nan
    return float(share @ preprocess.normalise_gain(GREYS, references, settings))


def _histogram(voxels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share (256,) of the voxels that have each grey level."""
    return np.bincount(voxels.ravel(order="K"), minlength=256) / voxels.size


def _stated(volume: Volume, field: str) -> float:
    value = volume.stated(field)
    return math.nan if value is None else value
