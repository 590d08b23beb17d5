from __future__ import annotations

import numpy as np
import pytest

from benchmarks.libraries.pieces import Pieces
from models.encoder.batches import SequenceData

SEVEN_AND_TWO_AND_ONE = SequenceData.from_events(
    np.array([0] * 7 + [1] * 2 + [2]), np.arange(10), np.arange(10) * 1_000
)


def items_of(pieces: Pieces) -> list[list[int]]:
    return [pieces.rows[pieces.users == user].tolist() for user in range(pieces.users.max(initial=-1) + 1)]


def test_pieces_are_cut_from_the_end_and_share_one_event() -> None:
    pieces = Pieces.of(SEVEN_AND_TWO_AND_ONE, 3, newest_only=False)

    assert items_of(pieces) == [[3, 4, 5, 6], [0, 1, 2, 3], [7, 8]]


def test_newest_only_keeps_the_last_piece_of_each_history() -> None:
    pieces = Pieces.of(SEVEN_AND_TWO_AND_ONE, 3, newest_only=True)

    assert items_of(pieces) == [[3, 4, 5, 6], [7, 8]]


@pytest.mark.parametrize(("window", "newest_only", "n_targets"), [(3, False, 7), (3, True, 4), (50, True, 7)])
def test_every_event_but_the_first_of_a_history_is_a_target_once(
    window: int, newest_only: bool, n_targets: int
) -> None:
    pieces = Pieces.of(SEVEN_AND_TWO_AND_ONE, window, newest_only=newest_only)

    assert pieces.n_targets == n_targets
    assert len(set(pieces.rows[pieces.is_target].tolist())) == n_targets


def test_an_event_that_is_no_target_stays_none() -> None:
    data = SequenceData(np.array([4, 5, 6]), np.zeros(3, np.int64), np.array([0, 3]), np.array([True, False, True]))

    pieces = Pieces.of(data, 50, newest_only=False)

    assert pieces.is_target.tolist() == [False, False, True]


def test_no_history_makes_no_pieces() -> None:
    empty = SequenceData.from_events(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))

    assert Pieces.of(empty, 3, newest_only=False).n_targets == 0


def test_whole_histories_keep_the_numbers_of_their_users() -> None:
    whole = Pieces.whole(SEVEN_AND_TWO_AND_ONE, [1, 2])

    assert whole.users.tolist() == [1, 1, 2]
    assert whole.rows.tolist() == [7, 8, 9]
