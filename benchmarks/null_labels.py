"""What the forest finds where there is nothing: labels permuted by patient, ten times.

    .venv/bin/mflib texture data/phantom-quick --out texture.parquet
    .venv/bin/python benchmarks/null_labels.py data/phantom-quick texture.parquet

Each patient gets the labels of another one, so that segments of a patient stay alike and labels say nothing about the
patient's volumes. One thing they still say: the lower levels are more often infiltrated, in every patient. Where
texture tells the levels apart, an honest AUC lies above 0.5, up to that of the level alone; so the same once more with
the labels shuffled within patients too, which is what notebook 7 does. Beside it: the split by segments. In the last
lines the same with the true labels, for comparison.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import joblib
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from mflib.data import cohort as cohorts
from mflib.models import folds, forest
from mflib.models.folds import Split

PERMUTATIONS = 10


def permuted_by_patient(segments: pd.DataFrame, seed: int, *, within: bool = False) -> np.ndarray:
    """Every patient's labels handed to another patient: level for level and side for side, or shuffled within too."""
    labels = segments.pivot(index="participant_id", columns=["level", "lat"], values="label")
    if labels.isna().any(axis=None):
        raise SystemExit("found a patient without all of the segments, expected the same of every patient")
    rng = np.random.default_rng(seed)
    shuffled = labels.set_axis(rng.permutation(labels.index))
    if within:
        shuffled = pd.DataFrame(rng.permuted(shuffled, axis=1), index=shuffled.index, columns=shuffled.columns)
    keys = zip(segments["participant_id"], segments["level"], segments["lat"], strict=True)
    return np.array([shuffled.loc[patient, (level, lat)] for patient, level, lat in keys])


def pooled_auc(texture: pd.DataFrame, labels: np.ndarray, split: Split, seed: int) -> float:
    """AUC of the out-of-fold scores of one whole cross-validation."""
    made = folds.make(labels, texture["participant_id"], split=split, seed=seed)
    settings = forest.ForestSettings(seed=seed)
    result = forest.out_of_fold(texture, labels, made, settings, workers=joblib.cpu_count())
    return float(roc_auc_score(result.predictions["y_true"], result.predictions["score"]))


def described(areas: list[float]) -> str:
    """Mean with its standard error, and all values."""
    error = np.std(areas, ddof=1) / np.sqrt(len(areas))
    return f"{np.mean(areas):.3f} ± {error:.3f}  ({' '.join(f'{area:.2f}' for area in areas)})"


def main(cohort_folder: Path, texture_file: Path) -> None:
    """Print a line for each way of doing it."""
    segments, texture = cohorts.load(cohort_folder).segments, pd.read_parquet(texture_file)
    found: dict[Split, list[float]] = {split: [] for split in get_args(Split)}
    levelled = []
    for seed in range(PERMUTATIONS):
        labels = permuted_by_patient(segments, seed)
        for split, areas in found.items():
            areas.append(pooled_auc(texture, labels, split, seed))
        levelled.append(pooled_auc(texture, permuted_by_patient(segments, seed, within=True), "patient", seed))
    print(f"labels permuted by patient, {PERMUTATIONS} times: pooled AUC, mean, standard error of the mean, all values")
    for split, areas in found.items():
        print(f"split by {split}: {described(areas)}")
    print(f"split by patient, labels shuffled within patients too: {described(levelled)}")
    for split in found:
        area = pooled_auc(texture, segments["label"].to_numpy(), split, 20)
        print(f"true labels, split by {split}: {area:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
