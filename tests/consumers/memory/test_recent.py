"""Counts over the last events, as offline."""

import numpy as np

from consumers.memory.recent import RecentItems
from models.memory.learner import N_TRENDING, most
from models.memory.popularity import WindowedPopularity
from stream.events import MAX_BLEND_BYTES, MAX_ID_LENGTH, MAX_MORE_TRENDING, MAX_TRENDING_ITEMS, BlendState, encode


def test_only_the_last_events_count() -> None:
    now_s = [0.0]
    recent = RecentItems(window=3, clock=lambda: now_s[0])

    for item_id in ("a", "a", "b", "c"):
        recent.add(item_id)

    assert recent.counts() == {"a": 1, "b": 1, "c": 1}
    recent.add("c")
    assert recent.counts() == {"a": 1, "b": 1, "c": 1}  # as they were within the last second
    now_s[0] = 1.0
    assert recent.counts() == {"b": 1, "c": 2}


def test_of_equals_the_first_by_id_are_said_after_a_restart_too() -> None:
    recent = RecentItems()
    for item in np.random.default_rng(0).permutation(2 * N_TRENDING).tolist():
        recent.add(f"item-{item:04}")
    again = RecentItems()
    again.restore(recent.state())

    assert list(recent.counts()) == [f"item-{item:04}" for item in range(N_TRENDING)]
    assert again.counts() == recent.counts()


def test_as_many_items_count_live_as_offline() -> None:
    recent, offline = RecentItems(), WindowedPopularity()
    for item in [*range(N_TRENDING + 500), *range(N_TRENDING + 500, 1_000, -1)]:
        recent.add(f"item-{item:05}")
        offline.update([], item)

    counts = recent.counts()

    expected = most(offline.scores([], N_TRENDING + 501))
    assert [counts.get(f"item-{item:05}", 0) for item in range(N_TRENDING + 501)] == expected.tolist()
    assert len(counts) == N_TRENDING == MAX_TRENDING_ITEMS + MAX_MORE_TRENDING


def test_items_whose_ids_a_state_does_not_hold_are_left_out_from_the_end() -> None:
    recent = RecentItems()
    for item in range(N_TRENDING):
        recent.add(f"{item:04}".ljust(MAX_ID_LENGTH, "\1"))

    counts = recent.counts()

    said = BlendState(
        number=1, steady=(), ageing=(), age=0.0, model_version=None, is_on=True, ts_ms=0, trending=tuple(counts.items())
    )
    assert 0.97 * MAX_BLEND_BYTES < len(encode(said)) <= MAX_BLEND_BYTES
    assert [item_id[:4] for item_id in counts] == [f"{item:04}" for item in range(len(counts))]


def test_what_was_saved_goes_on_as_if_nothing_had_happened() -> None:
    items = np.random.default_rng(0).integers(0, 20, 400)
    recent, offline = RecentItems(window=50), WindowedPopularity(window=50)

    for nth, item in enumerate(items.tolist()):
        recent.add(f"item-{item}")
        offline.update([], item)
        if nth % 37 == 0:
            again = RecentItems(window=50)
            again.restore(recent.state())
            recent = again

    counts = recent.counts()
    assert [counts.get(f"item-{item}", 0) for item in range(20)] == offline.scores([], 20).tolist()
