"""Are two ROC curves the same everywhere, and not only in their area.

References
----------
Venkatraman ES, Begg CB. A distribution-free procedure for comparing receiver operating characteristic curves from a
paired experiment. Biometrika 1996;83:835-848.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mflib.roc.cases import Bools, Floats, RocError, check, clusters

# Cases ranked at once, so that many permutations of many cases need little memory.
BLOCK = 1_000_000


@dataclass(frozen=True)
class Venkatraman:
    """Permutation test of the equality of two ROC curves.

    Parameters
    ----------
    statistic : E: over all n cut-offs by rank, the sum of the differences between the two models' numbers of wrongly
        called cases, as absolute values
    p : (1 + permutations with a statistic at least as large) / (1 + permutations)
    """

    statistic: float
    p: float


def venkatraman(
    y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None, *, permutations: int = 2000, seed: int = 0
) -> Venkatraman:
    """Test that two models on the same cases have the same ROC curve.

    If they have, a case's ranks by the two models can be exchanged. Each permutation exchanges them for half of the
    cases, at random, ranks again, and computes the statistic. Tied scores and tied ranks are put in an order at random,
    the same for both models; so with ties the statistic itself depends on the seed.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n, 2); only the ranks count
    groups : (n,) the patient of each case, or None where the cases are independent. The ranks of all cases of a patient
        are exchanged together, as they are alike.
    permutations, seed : how many, and what decides them

    Raises
    ------
    RocError
        As ``check``, not two columns of scores, fewer than one permutation, or cases of one group only.
    """
    positive, columns = check(y_true, scores)
    if columns.shape[1] != 2:
        raise RocError(f"found {columns.shape[1]} columns of scores, expected two")
    if permutations < 1:
        raise RocError(f"found {permutations} permutations, expected at least one")
    cluster, n_clusters = clusters(groups, len(positive))
    if n_clusters < 2:
        raise RocError(f"found {n_clusters} group, expected at least 2 whose ranks can be exchanged")
    rng = np.random.default_rng(seed)
    ranks = _ranks(columns.T, rng.random(len(positive)))
    statistic = int(_statistics(positive, ranks[:, None])[0])
    as_large = sum(
        np.count_nonzero(_statistics(positive, exchanged) >= statistic)
        for exchanged in _permutations(ranks, cluster, n_clusters, permutations, rng)
    )
    return Venkatraman(float(statistic), (1 + as_large) / (1 + permutations))


def _permutations(
    ranks: NDArray[np.intp], cluster: NDArray[np.intp], n_clusters: int, permutations: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """Ranks (2, b, n) of the two models after exchanges, some permutations at a time."""
    n = len(cluster)
    size = max(1, BLOCK // n)
    for start in range(0, permutations, size):
        rows = min(size, permutations - start)
        exchange = rng.integers(2, size=(rows, n_clusters), dtype=np.int8).astype(bool)[:, cluster]
        first, second = np.where(exchange, ranks[1], ranks[0]), np.where(exchange, ranks[0], ranks[1])
        # Ranks are whole numbers: a fraction orders those that are tied.
        yield np.stack([first, second]) + rng.random((rows, n))


def _statistics(positive: Bools, values: NDArray[Any]) -> NDArray[np.int64]:
    """Statistic (b,) of models' values (2, b, n) without ties.

    Below the cut-off at rank k lie p_k positives, wrongly called, and k - p_k negatives, rightly called. So the numbers
    of wrong calls of two models differ by twice the difference of their p_k.
    """
    first, second = (positive[np.argsort(model, axis=1)].cumsum(axis=1) for model in values)
    return 2 * np.abs(first - second).sum(axis=1)


def _ranks(scores: Floats, tie_breaker: Floats) -> NDArray[np.intp]:
    """Ranks (2, n) from 0, ties in the order of the tie breaker."""
    return np.stack([np.argsort(np.lexsort((tie_breaker, row))) for row in scores])
