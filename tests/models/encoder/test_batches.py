from collections import Counter

import numpy as np
import pytest
import torch

from models.encoder.batches import Batch, SequenceData, epoch_batches, last_states


def histories(lengths: list[int]) -> SequenceData:
    """User u's events have the rows 100 * u, 100 * u + 1, ... one minute apart."""
    users = np.repeat(np.arange(len(lengths)), lengths)
    nth = np.concatenate([np.arange(n) for n in lengths])
    return SequenceData.from_events(users, 100 * users + nth, 60_000 * nth)


def pairs(batch: Batch) -> list[tuple[int, int]]:
    """(input, target) at every position where the loss is taken."""
    return list(zip(batch.rows[batch.is_target].tolist(), batch.targets[batch.is_target].tolist(), strict=True))


def test_every_event_but_the_first_is_a_target_once() -> None:
    data = histories([1, 2, 23, 7])

    batches = list(epoch_batches(data, window=5, batch_size=3, rng=np.random.default_rng(0)))

    found = Counter(pair for batch in batches for pair in pairs(batch))
    expected = [
        (100 * user + n, 100 * user + n + 1) for user, length in enumerate([1, 2, 23, 7]) for n in range(length - 1)
    ]
    assert found == Counter(expected)
    assert data.n_targets == len(expected) == 29


@pytest.mark.parametrize("n_users", [0, 3])
def test_histories_of_an_event_or_none_bring_no_batch(n_users: int) -> None:
    nothing = np.arange(n_users)
    data = SequenceData.from_events(nothing, nothing, nothing)

    assert list(epoch_batches(data, window=5, batch_size=3, rng=np.random.default_rng(0))) == []


def test_long_histories_are_cut_elsewhere_each_epoch() -> None:
    rng = np.random.default_rng(0)

    epochs = [
        [batch.rows.tolist() for batch in epoch_batches(histories([23]), window=5, batch_size=8, rng=rng)]
        for _ in range(4)
    ]

    assert len({tuple(sorted(rows[0] for rows in epoch[0])) for epoch in epochs}) > 1


def test_no_window_is_longer_than_asked_and_padding_is_at_the_right() -> None:
    for batch in epoch_batches(histories([23, 4]), window=5, batch_size=8, rng=np.random.default_rng(0)):
        assert batch.rows.shape[1] <= 5
        for row, length in zip(batch.is_target.tolist(), batch.lengths.tolist(), strict=True):
            assert row == [True] * length + [False] * (len(row) - length)


def test_events_of_one_second_are_ordered_anew_each_epoch_and_no_others() -> None:
    data = SequenceData.from_events(
        np.zeros(6, np.int64), np.arange(6), np.array([0, 5_000, 5_100, 5_200, 5_300, 9_000])
    )
    orders = set()
    for seed in range(20):
        (batch,) = epoch_batches(data, window=9, batch_size=1, rng=np.random.default_rng(seed))
        events = [*batch.rows[0].tolist(), int(batch.targets[0, -1])]
        assert events[0] == 0
        assert events[5] == 5
        assert sorted(events[1:5]) == [1, 2, 3, 4]
        orders.add(tuple(events))
    assert len(orders) > 10


def test_item_drop_keeps_the_first_event_and_drops_about_half_of_the_largest_share() -> None:
    data = histories([1_000] * 40)

    dropped = list(epoch_batches(data, window=2_000, batch_size=1, rng=np.random.default_rng(0), max_item_drop=0.2))

    assert all(int(batch.rows[0, 0]) % 100 == 0 for batch in dropped)
    kept = sum(int(batch.lengths[0]) + 1 for batch in dropped)
    assert kept / 40_000 == pytest.approx(0.9, abs=0.02)


def test_events_that_are_no_targets_stay_as_context() -> None:
    data = SequenceData.from_events(
        np.zeros(4, np.int64), np.arange(4), 60_000 * np.arange(4), is_target=np.array([True, False, True, True])
    )

    (batch,) = epoch_batches(data, window=9, batch_size=1, rng=np.random.default_rng(0))

    assert batch.rows.tolist() == [[0, 1, 2]]
    assert pairs(batch) == [(1, 2), (2, 3)]


def test_arrays_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="rows=2, ts_ms=1"):
        SequenceData(np.zeros(2, np.int64), np.zeros(1, np.int64), np.array([0, 2]), np.ones(2, np.bool_))


def test_padding_brings_no_item_into_a_batch() -> None:
    data = SequenceData.from_events(np.array([0, 0, 0, 1, 1]), np.array([7, 8, 9, 5, 6]), 60_000 * np.arange(5))

    (batch,) = epoch_batches(data, window=9, batch_size=2, rng=np.random.default_rng(0))

    assert sorted(zip(batch.rows.tolist(), batch.targets.tolist(), strict=True)) == [([5, 5], [6, 6]), ([7, 8], [8, 9])]


def test_last_state_is_taken_at_each_length() -> None:
    states = torch.arange(12.0).reshape(2, 3, 2)

    assert last_states(states, torch.tensor([1, 3])).tolist() == [[0.0, 1.0], [10.0, 11.0]]
