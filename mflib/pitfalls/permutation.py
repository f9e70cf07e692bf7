"""The whole forest on labels that mean nothing."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib import folds as division
from mflib import forest
from mflib.performance import metrics_per_fold
from mflib.pitfalls import null
from mflib.pitfalls.results import COHORT, PERMUTED, Job, PitfallsError, Rows, collected, differences
from mflib.pitfalls.settings import Settings

CASE = "random forest"
WAYS = ("labels permuted by patient", "true labels")


@dataclass(frozen=True, eq=False)
class _Data:
    texture: pd.DataFrame
    labels: NDArray[np.integer]
    forest: forest.Settings
    n_folds: int


def permuted(
    texture: pd.DataFrame,
    labels: NDArray[np.integer],
    settings: Settings,
    seed: int,
    *,
    n_folds: int = 5,
    workers: int = 1,
) -> pd.DataFrame:
    """Would the whole pipeline find as much in labels that mean nothing?

    The forest with its choice of a combination inside each fold, on the true labels and on labels permuted by patient.
    It is a small one, with two inner folds and one leaf size, because it is made again for each permutation. Folds are
    made anew for the permuted labels too: they are part of the pipeline. Sources: Ojala & Garriga 2010, JMLR 11:1833;
    Phipson & Smyth 2010 (doi:10.2202/1544-6115.1585) on P.

    Parameters
    ----------
    texture : (n, ...) the texture table
    labels : (n,) 0 or 1
    settings : ``permutations`` and ``trees``
    seed : of permutations, folds and trees
    n_folds, workers : folds of each cross-validation; processes

    Returns
    -------
    DataFrame
        `results.COLUMNS`, the value being the AUC, mean over folds: one row with the true labels (right), then one for
        each permutation.
    """
    small = forest.Settings(
        trees=settings.trees, leaf_sizes=(5,), inner_folds=2, inner_trees=10, permutations=1, seed=seed
    )
    data = _Data(texture, labels, small, n_folds)
    jobs = [Job(COHORT, CASE, 0), *(Job(PERMUTED, CASE, n) for n in range(settings.permutations))]
    found = collected(_permuted, data, jobs, workers, WAYS, "forests on permuted labels")
    # A job has one way; where it failed it has left a row for both.
    return found[found["right"] == (found["data"] == COHORT)].reset_index(drop=True)


def _permuted(data: _Data, job: Job) -> Rows:
    labels, right = np.asarray(data.labels), job.data == COHORT
    if not right:
        labels = null.permuted_by_patient(
            data.texture, labels, np.random.default_rng([data.forest.seed, job.repetition])
        )
    patients = data.texture["participant_id"]
    made = division.make(labels, patients, n_folds=data.n_folds, seed=data.forest.seed, repeat=job.repetition)
    # Each of the forests would say that it is ready.
    with redirect_stdout(None):
        result = forest.out_of_fold(data.texture, labels, made, data.forest, "patient")
    auc = metrics_per_fold(result.predictions)["auc"].mean()
    return [job.row(WAYS[right], float(auc), right=right)]


def permutation_p(table: pd.DataFrame) -> tuple[float, int]:
    """P of the true labels, (1 + b) / (1 + n), b of n permutations being at least as good, and n.

    It is never 0, and never below 1 / (1 + n): twenty permutations cannot show more than P = 0.048.

    Parameters
    ----------
    table : of `permuted`

    Raises
    ------
    PitfallsError
        The true labels, or all of the permuted ones, have no value.
    """
    known = table.dropna(subset="value")
    true, null_values = (known.loc[known["right"] == kind, "value"].to_numpy() for kind in (True, False))
    if len(true) != 1 or len(null_values) == 0:
        reasons = "; ".join(dict.fromkeys(table["note"][table["note"] != ""]))
        raise PitfallsError(
            f"found {len(true)} values of true labels and {len(null_values)} of permuted ones, expected one and at "
            f"least one. {reasons}".strip()
        )
    return (1 + int((null_values >= true[0]).sum())) / (1 + len(null_values)), len(null_values)


def permuted_in_words(table: pd.DataFrame) -> str:
    """What the permutations say, as a sentence.

    Parameters
    ----------
    table : of `permuted`
    """
    try:
        p, n = permutation_p(table)
    except PitfallsError as error:
        return f"Not made: {error}"
    row = differences(table).iloc[0]
    return (
        f"The forest reaches an AUC of **{row['right']:.2f}** with the true labels, and {row['wrong']:.2f} on average "
        f"over {n} permutations of them. P = (1 + b) / (1 + n) is **{p:.3f}**; with {n} permutations it cannot be less "
        f"than {1 / (1 + n):.3f}. {row['note']}".rstrip()
    )
