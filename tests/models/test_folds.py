"""Folds as promises: disjoint by patient, complete, both classes everywhere, or an error that helps."""

from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.models import folds


def cohort(n_patients=46, seed=0, sizes=(8,)):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_patients), rng.choice(sizes, n_patients))
    inclination = rng.beta(0.8, 1.0, n_patients)
    return (rng.random(groups.size) < inclination[groups]).astype(int), np.char.add("sub-", groups.astype(str))


def parts_of(fold):
    return {"train": fold.train, "validation": fold.validation, "test": fold.test}


def assert_sound(made, labels, units):
    assert sorted(np.concatenate([fold.test for fold in made])) == list(range(len(labels)))
    for fold in made:
        parts = parts_of(fold).values()
        assert sorted(np.concatenate(list(parts))) == list(range(len(labels)))
        assert all(set(labels[positions]) == {0, 1} for positions in parts)
        members = [set(units[positions]) for positions in parts]
        assert sum(map(len, members)) == len(set().union(*members))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_patient_split_is_sound_for_patients_of_unequal_size(seed, n_folds):
    labels, groups = cohort(24, seed, sizes=(1, 2, 6, 8))
    made = folds.make(labels, groups, n_folds=n_folds, seed=seed, repeat=1)
    assert_sound(made, labels, groups)
    assert [(fold.repeat, fold.number) for fold in made] == [(1, n) for n in range(1, n_folds + 1)]


def test_segment_split_divides_patients():
    labels, groups = cohort()
    made = folds.make(labels, groups, split="segment", seed=1)
    assert_sound(made, labels, np.arange(len(labels)))
    assert all(set(groups[fold.train]) & set(groups[fold.test]) for fold in made)


def test_paper_sized_cohort_has_the_papers_shares_and_rates():
    labels, groups = cohort()
    for fold in folds.make(labels, groups, seed=3):
        assert 0.1 < fold.validation.size / (fold.train.size + fold.validation.size) < 0.3
        assert abs(labels[fold.test].mean() - labels.mean()) < 0.15


def test_seed_and_repeat_decide_everything():
    labels, groups = cohort()

    def tests(**arguments):
        return [fold.test.tolist() for fold in folds.make(labels, groups, **arguments)]

    assert tests(seed=1) == tests(seed=1)
    assert tests(seed=1) != tests(seed=2)
    assert tests(seed=1) != tests(seed=1, repeat=1)


def test_one_patient_without_positives_and_few_with_them():
    groups = np.repeat(np.arange(6), 6)
    labels = np.tile([1, 0, 0, 0, 0, 0], 6)
    labels[groups == 5] = 0
    assert_sound(folds.make(labels, groups, n_folds=5, seed=0), labels, groups)


def test_four_patients_carry_two_folds():
    labels, groups = np.tile([0, 1], 8), np.repeat(list("abcd"), 4)
    assert_sound(folds.make(labels, groups, n_folds=2, seed=0), labels, groups)


@pytest.mark.parametrize("split", ["patient", "segment"])
def test_all_labels_equal_is_explained(split):
    with pytest.raises(InputError, match=r"Found 40 \w+: 40 .* infiltrated.*, 0 "):
        folds.make(np.ones(40, int), np.arange(40), split=split, seed=0)


def test_four_patients_do_not_carry_five_folds():
    with pytest.raises(InputError, match="Found 4 patients: 4 with an infiltrated") as caught:
        folds.make(np.tile([0, 1], 16), np.repeat(list("abcd"), 8), n_folds=5, seed=0)
    assert "at least 5 patients" in str(caught.value)


def test_the_advice_is_what_was_tried():
    # Four patients of each kind: where more than one of them is tested and one validates, inner folds have one left.
    labels, groups = np.repeat([1, 1, 1, 1, 0, 0, 0, 0], 2), np.repeat(np.arange(8), 2)
    with pytest.raises(InputError, match=r"With these, 4 folds can be had \(") as caught:
        folds.make(labels, groups, n_folds=5, seed=0)
    assert "fewer" not in str(caught.value)
    for number in (2, 3, 4):
        made = folds.make(labels, groups, n_folds=number, seed=0)
        assert_sound(made, labels, groups)
        with nullcontext() if number == 4 else pytest.raises(InputError, match="of the patients of a training part"):
            assert all(folds.inner(labels[fold.train], groups[fold.train], 5, 0) for fold in made)
    with pytest.raises(InputError, match="Take more patients: no number of folds from 2 to 10"):
        folds.make(labels[2:-2], groups[2:-2], n_folds=2, seed=0)
    with pytest.raises(InputError, match="Found 1 patient: 1 with"):
        folds.make([0, 1], ["a", "a"], n_folds=2, seed=0)


def test_table_lists_every_segment_once_in_every_fold():
    labels, groups = cohort(12)
    keys = pd.DataFrame({"participant_id": groups, "level": "L45", "lat": np.arange(len(groups)).astype(str)})
    made = folds.make(labels, groups, n_folds=3, seed=0)
    splits = folds.table(made, keys)
    assert list(splits) == [*KEY, "repeat", "fold", "part"]
    assert not splits.duplicated([*KEY, "repeat", "fold"]).any()
    assert len(splits) == 3 * len(labels)
    assert (splits.groupby(["participant_id", "fold"])["part"].nunique() == 1).all()
    tested = splits[(splits["part"] == "test") & (splits["fold"] == 2)]
    assert tested["lat"].tolist() == keys["lat"].iloc[made[1].test].tolist()


def test_a_small_cohort_that_balance_alone_cannot_divide_is_divided():
    # Eight patients, almost all with both classes: the balanced shuffles put the two one-sided patients badly.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 8)[2:]
    for trial in range(40):
        labels = (rng.random(groups.size) < 0.75).astype(int)
        labels[groups == 1] = 0
        for fold in folds.make(labels, groups, n_folds=2, seed=trial):
            for part in (fold.train, fold.validation, fold.test):
                assert set(labels[part]) == {0, 1}


def test_inner_folds_divide_patients_and_have_both_classes():
    labels, groups = cohort(12, seed=3)
    for seed in range(5):
        divided = folds.inner(labels, groups, 5, seed)
        assert sorted(np.concatenate([held_out for _, held_out in divided])) == list(range(len(labels)))
        for learn, held_out in divided:
            assert not set(groups[learn]) & set(groups[held_out])
            assert set(labels[learn]) == set(labels[held_out]) == {0, 1}
    pairs = zip(folds.inner(labels, groups, 5, 1), folds.inner(labels, groups, 5, 1), strict=True)
    assert all(np.array_equal(a, c) and np.array_equal(b, d) for (a, b), (c, d) in pairs)


def test_inner_folds_of_few_patients_are_fewer_or_refused():
    groups = np.repeat(list("abcd"), 4)
    labels = np.where(np.isin(groups, ["a", "b"]), 1, 0)
    assert len(folds.inner(labels, groups, 5, 0)) == 2
    with pytest.raises(InputError, match="1 with an infiltrated segment and 4 with a healthy one"):
        folds.inner(np.tile([1, 0], 8) * (groups == "a"), groups, 5, 0)


def test_fewer_training_patients_are_nested_and_have_both_classes():
    labels, groups = cohort()
    (fold, *_) = folds.make(labels, groups, n_folds=5, seed=4)
    shares = (0.01, 0.25, 0.5, 0.9, 1.0)
    less = [folds.with_fewer(fold, labels, groups, share, seed=3) for share in shares]
    patients = [set(groups[one.train]) for one in less]
    everyone = set(groups[fold.train])
    assert all(small <= large for small, large in pairwise(patients))
    assert [len(some) for some in patients[1:]] == [round(share * len(everyone)) for share in shares[1:]]
    for one, some in zip(less, patients, strict=True):
        assert set(labels[one.train]) == {0, 1}
        assert np.array_equal(one.train, fold.train[np.isin(groups[fold.train], sorted(some))])
        assert one.test is fold.test and one.validation is fold.validation
    assert patients[1] != set(groups[folds.with_fewer(fold, labels, groups, 0.25, seed=4).train])


@pytest.mark.parametrize("seed", range(20))
def test_training_parts_of_a_small_cohort_leave_room_for_inner_folds(seed):
    # Eight patients, one of them without infiltration: a validation part can easily take all but one of those with.
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(8), 8)
    labels = (rng.random(64) < 0.6).astype(int)
    labels[groups == 1] = 0
    for fold in folds.make(labels, groups, n_folds=2, seed=seed):
        assert folds.inner(labels[fold.train], groups[fold.train], 5, seed)
