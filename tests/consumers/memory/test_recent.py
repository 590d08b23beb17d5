"""Counts over the last events, as offline."""

import numpy as np

from consumers.memory.recent import RecentItems
from models.rivals.popularity import WindowedPopularity
from stream.events import MAX_TRENDING_ITEMS


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
    for item in np.random.default_rng(0).permutation(2 * MAX_TRENDING_ITEMS).tolist():
        recent.add(f"item-{item:04}")
    again = RecentItems()
    again.restore(recent.state())

    assert list(recent.counts()) == [f"item-{item:04}" for item in range(MAX_TRENDING_ITEMS)]
    assert again.counts() == recent.counts()


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
