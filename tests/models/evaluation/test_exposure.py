import math

import numpy as np
import pytest

from models.evaluation.exposure import Popularity, coverage, exposures, gini, group_shares, list_values

COUNTS = Popularity(np.array([40, 9, 1, 0, 0]))


def test_lists_are_described_by_the_popularity_of_training() -> None:
    shown = np.array([[0, 2], [3, -1], [-1, -1]])
    histories = [np.array([0]), np.array([1, 2]), np.array([1])]

    novelty, popularity, lift, tail, new = list_values(shown, histories, COUNTS).T

    bits = [math.log2(55 / 41), math.log2(55 / 2), math.log2(55)]
    assert novelty.tolist() == pytest.approx([(bits[0] + bits[1]) / 2, bits[2], math.nan], nan_ok=True)
    assert popularity.tolist() == pytest.approx([(0.9 + 0.5) / 2, 0.2, math.nan], nan_ok=True)
    assert lift.tolist() == pytest.approx([0.7 - 0.9, 0.2 - 0.6, math.nan], nan_ok=True)
    assert tail.tolist() == pytest.approx([0.5, 1.0, math.nan], nan_ok=True)
    assert new.tolist() == pytest.approx([0.0, 1.0, math.nan], nan_ok=True)


def test_the_head_is_the_most_popular_fifth() -> None:
    assert COUNTS.is_head.tolist() == [True, False, False, False, False]
    assert COUNTS.is_new.tolist() == [False, False, False, True, True]


def test_coverage_and_exposure_count_filled_places_only() -> None:
    shown = np.array([[0, 2], [2, -1]])

    assert exposures(shown, 4).tolist() == [1, 0, 2, 0]
    assert coverage(shown, 4) == 0.5


def test_gini_of_hand_made_exposures() -> None:
    assert gini(np.array([1, 2, 3])) == pytest.approx(2 / 9)
    assert gini(np.array([0, 0])) == 0.0


def test_items_of_unknown_group_count_to_none() -> None:
    assert group_shares(np.array([5, 3]), [[], ["war"]]) == {"war": 1.0}
    assert group_shares(np.array([5, 3]), [[], []]) == {}
