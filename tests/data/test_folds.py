import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold

from causalopt.data.folds import external_folds, group_folds, inner_folds, row_codes
from causalopt.errors import CausalOptWarning, ConfigError, DataError


def test_groups_stay_whole_and_every_row_is_held_out_once():
    group = np.random.default_rng(0).integers(0, 40, size=500)
    fold = group_folds(group, 5, seed=0)
    assert set(fold) == {0, 1, 2, 3, 4}
    assert all(len(set(fold[group == g])) == 1 for g in range(40))
    splitter = GroupKFold(5, shuffle=True, random_state=0)
    for k, (_, test) in enumerate(splitter.split(group, groups=group)):
        np.testing.assert_array_equal(np.flatnonzero(fold == k), test)
    assert (fold != group_folds(group, 5, seed=1)).any()


def test_folds_follow_the_rows_when_they_are_permuted():
    rng = np.random.default_rng(0)
    group, order = rng.integers(0, 40, size=200), rng.permutation(200)
    np.testing.assert_array_equal(group_folds(group, 5, seed=3)[order], group_folds(group[order], 5, seed=3))


def test_fewer_groups_than_folds_names_both_numbers():
    with pytest.raises(DataError, match=r"3 groups .* for 5 folds: use at most 3 folds, or name a group column"):
        group_folds(np.array([0, 1, 2, 0, 1, 2]), 5, seed=0)
    with pytest.raises(DataError, match="at least 2 folds, not 1"):
        group_folds(np.arange(5), 1, seed=0)


def test_row_codes_know_equal_rows():
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    for codes in (row_codes(rows), row_codes(rows.astype(np.float32)[:, ::-1])):
        assert codes[0] == codes[1] == codes[3] != codes[2]
        assert set(codes) == {0, 1}
    moved = np.array([[1.0, 5.0], [0.0, 7.0]])
    for last_bit in (moved, np.nextafter(moved, -9.0), -moved):
        assert row_codes(last_bit).tolist() == [0, 1], "codes go by first appearance, not by size"
    assert row_codes(np.zeros((3, 0))).tolist() == [0, 0, 0]
    drawn = np.random.default_rng(0).integers(0, 3, size=(200, 4)).astype(float)
    seen: list[list[float]] = []
    for row in drawn.tolist():
        seen += [] if row in seen else [row]
    assert row_codes(drawn).tolist() == [seen.index(row) for row in drawn.tolist()]


def test_inner_folds_keep_a_text_together():
    text = np.repeat(np.arange(6), 10)
    fold = inner_folds(text, 5, seed=0)
    assert all(len(set(fold[10 * i : 10 * i + 10])) == 1 for i in range(6))
    assert inner_folds(text[:20], 5, seed=0).max() == 1
    assert inner_folds(text[:10], 5, seed=0) is None


def test_lists_from_outside():
    group = np.arange(12)
    pairs = list(KFold(3, shuffle=True, random_state=0).split(group))
    labels = external_folds(pairs, group)
    assert labels.shape == (1, 12)
    for k, (_, test) in enumerate(pairs):
        np.testing.assert_array_equal(np.flatnonzero(labels[0] == k), test)
    np.testing.assert_array_equal(external_folds(["a", "b"] * 6, group), [[0, 1] * 6])
    np.testing.assert_array_equal(external_folds(np.array([[7, 3] * 6, [1, 1, 2, 2] * 3]), group)[0], [1, 0] * 6)


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ([0, 1, 0], r"shape \(3,\); it must hold one label for each of the 4 rows"),
        ([0, 0, 0, 0], "a single fold"),
        ([0.0, 1.0, np.nan, 0.0], "no label at row 2"),
        ([([2, 3], [0, 1]), ([0, 1], [1, 2, 3])], "row 1 is held out in folds 0 and 1"),
        ([([2, 3], [0, 1]), ([0, 1], [2])], "fold 1 trains on 2 rows, not on the 3"),
        ([([1, 2, 3], [0]), ([0, 2, 3], [1])], r"2 rows \(first: 2\) are held out in no fold"),
        ([([1, 2, 3], [4]), ([0, 2, 3], [1])], "fold 0 must hold row positions from 0 to 3"),
    ],
)
def test_lists_that_do_not_fit(fold, message):
    with pytest.raises(DataError, match=message):
        external_folds(fold, np.arange(4))


def test_split_groups_are_reported_with_their_number():
    with pytest.warns(CausalOptWarning, match="split 2 of 3 groups"):
        external_folds([0, 1, 0, 1, 0], np.array([0, 0, 1, 1, 2]))


@pytest.mark.parametrize(("folds", "seed"), [(2.5, 0), ("two", 0), (None, 0), (2, -1), (2, 2**32), (2, 1.5), (2, "x")])
def test_folds_and_seeds_that_are_none(folds, seed):
    with pytest.raises(ConfigError, match="must be a whole number"):
        group_folds(np.arange(6), folds, seed)
