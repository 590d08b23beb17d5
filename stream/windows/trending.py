"""What is popular now, as a pure core: events of the last 24 event-time hours by item.

Counted are the events in the users' rings: one that enters is added, one that falls out is removed. So a duplicate
never counts, the order of arrival does not matter, and the counts can be made again from the rings alone.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

HOUR_MS = 60 * 60 * 1_000
N_HOURS = 24


class TrendingCounts:
    """Integer counts in buckets of event-time hours. Stream time is the newest hour added.

    >>> counts = TrendingCounts()
    >>> counts.add_all([("a", 0), ("b", 0), ("b", 0)])
    >>> counts.top(2)
    ['b', 'a']
    >>> counts.add("c", 24 * HOUR_MS)  # a day later
    >>> counts.top(2)
    ['c']
    """

    def __init__(self) -> None:
        self.newest_hour = 0  # hours since 1970
        self._buckets: dict[int, Counter[str]] = {}
        self._totals: Counter[str] = Counter()

    @property
    def oldest_ms(self) -> int:
        """Event time before which nothing counts any more."""
        return (self.newest_hour - N_HOURS + 1) * HOUR_MS

    def add(self, item_id: str, ts_ms: int) -> None:
        """Count one event that entered a ring; one older than the window is left out.

        Args:
            item_id: what it was about.
            ts_ms: event time, milliseconds since 1970.
        """
        self.add_counts(ts_ms // HOUR_MS, {item_id: 1})

    def add_all(self, events: Iterable[tuple[str, int]]) -> None:
        """Count many events, each an item id and its time: the same as one after the other, and quicker."""
        for hour, item_ids in _by_hour(events).items():
            self.add_counts(hour, Counter(item_ids))

    def add_counts(self, hour: int, counts: Mapping[str, int]) -> None:
        """Count events of one hour, given by item."""
        if hour <= self.newest_hour - N_HOURS:
            return
        if hour > self.newest_hour:
            self.newest_hour = hour
            self._expire()
        self._buckets.setdefault(hour, Counter()).update(counts)
        self._totals.update(counts)

    def remove_all(self, events: Iterable[tuple[str, int]]) -> None:
        """Take out events that fell from a ring, each an item id and its time, as they were added."""
        for hour, item_ids in _by_hour(events).items():
            bucket = self._buckets.get(hour)
            if bucket is not None:
                removed = Counter(item_ids)
                _subtract(bucket, removed)
                _subtract(self._totals, removed)

    def merge(self, other: TrendingCounts) -> None:
        """Add the counts of other users; the newer of both says what the last day is."""
        for hour in sorted(other._buckets, reverse=True):
            self.add_counts(hour, other._buckets[hour])

    def top(self, k: int) -> list[str]:
        """The k items with most events, most first; ties by id. Fewer when fewer were seen."""
        return [item_id for item_id, _ in self.most(k)]

    def most(self, k: int) -> list[tuple[str, int]]:
        """As `top`, with the number of events of each."""
        counts = list(self._totals.items())  # one step: a reader may ask while the role adds
        return heapq.nsmallest(k, counts, key=lambda pair: (-pair[1], pair[0]))

    def by_hour(self) -> dict[int, dict[str, int]]:
        """All counts: hour since 1970, item, events."""
        return {hour: dict(bucket) for hour, bucket in sorted(self._buckets.items()) if bucket}

    def _expire(self) -> None:
        for hour in [hour for hour in self._buckets if hour <= self.newest_hour - N_HOURS]:
            _subtract(self._totals, self._buckets.pop(hour))


def _by_hour(events: Iterable[tuple[str, int]]) -> dict[int, list[str]]:
    by_hour: defaultdict[int, list[str]] = defaultdict(list)
    for item_id, ts_ms in events:
        by_hour[ts_ms // HOUR_MS].append(item_id)
    return by_hour


def _subtract(counts: Counter[str], removed: Mapping[str, int]) -> None:
    for item_id, count in removed.items():
        left = counts[item_id] - count
        if left:
            counts[item_id] = left
        else:
            del counts[item_id]
