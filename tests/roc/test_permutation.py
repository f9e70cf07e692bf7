"""The permutation test of whole curves against all exchanges and orders of ties of a tiny example."""

from itertools import permutations, product

import numpy as np
import pytest

from mflib import roc


def wrong_calls(ranks, y_true, cut):
    return sum(rank <= cut if y else rank > cut for rank, y in zip(ranks, y_true, strict=True))


def statistic_by_loops(first, second, y_true):
    cuts = range(1, len(y_true) + 1)
    return sum(abs(wrong_calls(first, y_true, c) - wrong_calls(second, y_true, c)) for c in cuts)


def ranked(values, order):
    ordered = sorted(range(len(values)), key=lambda i: (values[i], order[i]))
    return [ordered.index(i) + 1 for i in range(len(values))]


@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4], [0, 0, 1, 1, 2]])
def test_equals_all_exchanges_of_a_tiny_example(groups):
    y_true, first, second = [1, 0, 1, 0, 1], [5, 1, 4, 2, 3], [2, 3, 5, 4, 1]
    observed = statistic_by_loops(first, second, y_true)
    as_large = [
        statistic_by_loops(
            ranked([b if exchange[g] else a for a, b, g in zip(first, second, groups, strict=True)], order),
            ranked([a if exchange[g] else b for a, b, g in zip(first, second, groups, strict=True)], order),
            y_true,
        )
        >= observed
        for exchange in product([False, True], repeat=max(groups) + 1)
        for order in permutations(range(5))
    ]
    scores = np.exp(np.column_stack([first, second]))
    found = roc.venkatraman(y_true, scores, groups, permutations=40_000, seed=1)
    assert found.statistic == observed
    # Five standard errors of a share of 40 000.
    assert abs(found.p - np.mean(as_large)) < 5 * 0.5 / np.sqrt(40_000)


def test_curves_that_cross_differ_though_their_areas_are_equal():
    rng = np.random.default_rng(3)
    y_true = np.tile([0, 1], 200)
    # Equal areas by symmetry: wide positives and wide negatives mirror each other.
    wide = np.where(y_true, 2.5, 0.5) * rng.normal(size=400) + 1.2 * y_true
    narrow = np.where(y_true, 0.5, 2.5) * rng.normal(size=400) + 1.2 * y_true
    scores = np.column_stack([wide, narrow])
    assert roc.compare(y_true, scores)["p"].iloc[0] > 0.05
    found = roc.venkatraman(y_true, scores, permutations=199)
    assert found.p == 1 / 200
    assert found == roc.venkatraman(y_true, np.column_stack([np.exp(wide), 5 * narrow]), permutations=199)


def test_models_that_rank_alike_do_not_differ_even_with_ties():
    y_true, score = [0, 1, 0, 1, 1, 0], np.array([1, 1, 2, 2, 2, 3])
    assert roc.venkatraman(y_true, np.column_stack([score, score**3]), permutations=20) == roc.Venkatraman(0.0, 1.0)


def test_it_errs_as_often_as_it_says_where_the_curves_are_equal():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(20), 3)
    p = []
    for seed in range(300):
        y_true = (rng.random(60) < 0.45).astype(int)
        scores = y_true[:, None] + 0.7 * (rng.normal(size=(20, 2))[groups] + rng.normal(size=(60, 2)))
        p.append(roc.venkatraman(y_true, scores, groups, permutations=99, seed=seed).p)
    # Four standard errors of a share of 300.
    for level in (0.1, 0.5):
        assert abs(np.mean(np.array(p) <= level) - level) < 4 * np.sqrt(level * (1 - level) / 300)


def test_wrong_input_is_named():
    with pytest.raises(roc.RocError, match="found 1 columns of scores, expected two"):
        roc.venkatraman([0, 1], [1, 2])
    with pytest.raises(roc.RocError, match="found 0 permutations"):
        roc.venkatraman([0, 1], [[1, 2], [2, 1]], permutations=0)
    with pytest.raises(roc.RocError, match="found 1 group, expected at least 2"):
        roc.venkatraman([0, 1], [[1, 2], [2, 1]], ["a", "a"])
