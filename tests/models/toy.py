"""Toy textures that a small network learns in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mflib.data.cohort import Cohort
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.folds import Fold

SIZE = (16, 16, 8)
QUICK = NetworkSettings(width=4, size=SIZE, epochs=5, learning_rate=1e-2)
FOLD = Fold(0, 1, np.arange(0, 48), np.arange(48, 72), np.arange(72, 96))
LABELS = np.tile([0, 1], 48)


def textures(labels: NDArray[np.int64] = LABELS) -> NDArray[np.float32]:
    """Z-scored speckle, coarser in the second class."""
    rng = np.random.default_rng(5)
    found = [gaussian_filter(rng.standard_normal(SIZE), 0.7 + 0.5 * label) for label in labels]
    return np.array([(t - t.mean()) / t.std() for t in found], dtype=np.float32)


def evenly_labelled(cohort: Cohort) -> Cohort:
    """The cohort with about as many healthy as infiltrated segments, so that few patients are enough for folds."""
    return replace(cohort, segments=cohort.segments.assign(label=(cohort.segments["grade"] > 1).astype(int)))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)


def same_weights(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
