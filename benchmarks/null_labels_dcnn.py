"""What the network finds where there is nothing: labels permuted by patient, five times, by patients and by segments.

    .venv/bin/python benchmarks/null_labels_dcnn.py data/phantom-quick

As ``null_labels.py`` for the forest. A patient's labels still tell the levels apart, so an honest AUC may lie a little
above 0.5; the last line has the labels shuffled within patients too. What the split by segments adds to the split by
patients is what a network gets from having seen the patient.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

from null_labels import described, permuted_by_patient
from sklearn.metrics import roc_auc_score

from mflib.data import cohort as cohorts
from mflib.data.cohort import Cohort
from mflib.models import folds
from mflib.models.dcnn import training
from mflib.models.dcnn.inputs import Source
from mflib.models.folds import Split
from mflib.study.profile import choose

PERMUTATIONS = 5


def pooled_auc(cohort: Cohort, split: Split, seed: int, folder: Path) -> float:
    """AUC of the out-of-fold scores of one whole cross-validation with the quick profile's network."""
    profile, segments = choose("quick"), cohort.segments
    made = folds.make(segments["label"], segments["participant_id"], n_folds=5, split=split, seed=seed)
    settings = replace(profile.network, seed=seed)
    result = training.out_of_fold(
        Source(cohort, profile.preprocessing, folder), made, settings, place=f"{split}-{seed}"
    )
    return float(roc_auc_score(result.predictions["y_true"], result.predictions["score"]))


def main(cohort_folder: Path) -> None:
    """Print a line for each split."""
    cohort = cohorts.load(cohort_folder)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for split, within in [*((split, False) for split in get_args(Split)), ("patient", True)]:
            areas = []
            for seed in range(PERMUTATIONS):
                labels = permuted_by_patient(cohort.segments, seed, within=within)
                permuted = replace(cohort, segments=cohort.segments.assign(label=labels))
                areas.append(pooled_auc(permuted, split, seed, Path(folder)))
            also = ", labels shuffled within patients too" if within else ""
            lines.append(f"split by {split}{also}: {described(areas)}")
            print(lines[-1], flush=True)
        for split in get_args(Split):
            lines.append(f"true labels, split by {split}: {pooled_auc(cohort, split, 20, Path(folder)):.3f}")
    print(f"labels permuted by patient, {PERMUTATIONS} times: pooled AUC, mean, standard error of the mean, all values")
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
