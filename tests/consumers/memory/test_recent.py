"""Counts over the last events, as offline."""

import numpy as np

from consumers.memory.recent import RecentItems
from models.rivals.popularity import WindowedPopularity


def test_only_the_last_events_count() -> None:
    recent = RecentItems(window=3)

    for item_id in ("a", "a", "b", "c"):
        recent.add(item_id)

    assert recent.most(5) == [("a", 1), ("b", 1), ("c", 1)]
    recent.add("c")
    assert recent.most(5) == [("c", 2), ("b", 1)]


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

    counts = dict(recent.most(20))
    assert [counts.get(f"item-{item}", 0) for item in range(20)] == offline.scores([], 20).tolist()
