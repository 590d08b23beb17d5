import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.encoder.batches import SequenceData
from models.evaluation.ranks import IntArray
from models.evaluation.validation import NoQuestions, ValidationSet

ALL = np.ones(5, np.bool_)


def histories(is_target: list[bool], ts_ms: list[int], rows: list[int]) -> SequenceData:
    users = np.array([0, 0, 0, 1, 1])
    return SequenceData.from_events(users, np.array(rows), np.array(ts_ms), is_target=np.array(is_target))


def falling(seen: Sequence[IntArray], times_ms: Sequence[IntArray]) -> NDArray[np.float32]:
    """Item 0 is best, item 4 worst, for everybody."""
    return np.tile(np.array([4, 3, 2, 1, 0], np.float32), (len(seen), 1))


def test_the_items_of_the_history_are_taken_out_before_the_target_is_ranked() -> None:
    data = histories([False, False, True, False, True], [0, 1_000, 2_000, 0, 1_000], [0, 1, 2, 4, 3])
    questions = ValidationSet(data, candidates=ALL, seed=0)

    # user 0: item 2 behind nothing once 0 and 1 are gone; user 1: item 3 behind 0, 1, 2
    assert questions.ndcg_at_10(falling) == pytest.approx((1 + 1 / math.log2(5)) / 2)


def test_a_target_the_user_had_before_is_left_out() -> None:
    data = histories([False, False, True, False, True], [0, 1_000, 2_000, 0, 1_000], [0, 1, 0, 4, 3])

    assert ValidationSet(data, candidates=ALL, seed=0).ndcg_at_10(falling) == pytest.approx(1 / math.log2(5))


def test_events_of_one_second_do_not_know_of_each_other() -> None:
    data = histories([False, True, True, False, False], [0, 1_100, 1_900, 0, 1_000], [0, 1, 2, 4, 3])
    asked: list[list[int]] = []

    def listening(seen: Sequence[IntArray], times_ms: Sequence[IntArray]) -> NDArray[np.float32]:
        asked.extend(history.tolist() for history in seen)
        return falling(seen, times_ms)

    ValidationSet(data, candidates=ALL, seed=0).ndcg_at_10(listening)

    assert asked == [[0], [0]]


def test_withheld_items_are_neither_candidates_nor_targets() -> None:
    data = histories([False, False, True, False, True], [0, 1_000, 2_000, 0, 1_000], [1, 3, 4, 3, 2])
    candidates = np.array([False, True, False, True, True])

    # user 0: item 4 is all that is left; user 1's target is withheld
    assert ValidationSet(data, candidates=candidates, seed=0).ndcg_at_10(falling) == pytest.approx(1.0)


def test_no_event_to_ask_is_refused() -> None:
    data = histories([True, False, False, True, False], [0, 1_000, 2_000, 0, 1_000], [0, 1, 2, 4, 3])

    with pytest.raises(NoQuestions, match="none of 2 validation events can be asked"):
        ValidationSet(data, candidates=ALL, seed=0)


def test_events_that_are_all_of_items_their_users_had_met_are_refused() -> None:
    data = histories([False, False, True, False, True], [0, 1_000, 2_000, 0, 1_000], [0, 1, 0, 3, 3])

    with pytest.raises(
        NoQuestions, match="none of 2 validation events can be ranked: each is of an item that its user"
    ):
        ValidationSet(data, candidates=ALL, seed=0)


def test_what_else_came_in_the_targets_second_is_taken_out_too() -> None:
    data = histories([False, False, True, False, False], [0, 1_100, 1_900, 0, 1_000], [0, 1, 2, 4, 3])

    assert ValidationSet(data, candidates=ALL, seed=0).ndcg_at_10(falling) == pytest.approx(1.0)
