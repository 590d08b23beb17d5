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

HourCounts = dict[int, Counter[str]]  # hour since 1970, item, events


def hours_of(events: Iterable[tuple[str, int]]) -> HourCounts:
    """Events, each an item id and its time, counted by hour and item."""
    item_ids: defaultdict[int, list[str]] = defaultdict(list)
    for item_id, ts_ms in events:
        item_ids[ts_ms // HOUR_MS].append(item_id)
    return {hour: Counter(of_hour) for hour, of_hour in item_ids.items()}


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
        self.add_hours({ts_ms // HOUR_MS: Counter([item_id])})

    def add_all(self, events: Iterable[tuple[str, int]]) -> None:
        """Count many events, each an item id and its time: the same as one after the other, and quicker."""
        self.add_hours(hours_of(events))

    def remove_all(self, events: Iterable[tuple[str, int]]) -> None:
        """Take out events that fell from a ring, each an item id and its time, as they were added."""
        self.remove_hours(hours_of(events))

    def add_hours(self, hours: HourCounts) -> None:
        """Count events that entered rings, given by hour and item."""
        newest_hour = max(hours, default=0)
        if newest_hour > self.newest_hour:
            self.newest_hour = newest_hour
            self._expire()
        for hour, counts in hours.items():
            if hour > self.newest_hour - N_HOURS:
                self._buckets.setdefault(hour, Counter()).update(counts)
                self._totals.update(counts)

    def remove_hours(self, hours: HourCounts) -> None:
        """Take out events that fell from rings; what no longer counts is left alone."""
        for hour, counts in hours.items():
            if hour in self._buckets:
                _subtract(self._buckets[hour], counts)
                _subtract(self._totals, counts)

    def merge(self, other: TrendingCounts) -> None:
        """Add the counts of other users; the newer of both says what the last day is."""
        self.add_hours(other._buckets)

    def top(self, k: int) -> list[str]:
        """The k items with most events, most first; ties by id. Fewer when fewer were seen."""
        return [item_id for item_id, _ in self.most(k)]

    def most(self, k: int) -> list[tuple[str, int]]:
        """As `top`, with the number of events of each."""
        counts = list(self._totals.items())  # one step: a reader may ask while the role adds
        return heapq.nsmallest(k, counts, key=lambda pair: (-pair[1], pair[0]))

    def hours(self) -> HourCounts:
        """All counts, by hour and item."""
        return {hour: Counter(bucket) for hour, bucket in sorted(self._buckets.items()) if bucket}

    def _expire(self) -> None:
        for hour in [hour for hour in self._buckets if hour <= self.newest_hour - N_HOURS]:
            _subtract(self._totals, self._buckets.pop(hour))


def _subtract(counts: Counter[str], removed: Mapping[str, int]) -> None:
    for item_id, count in removed.items():
        left = counts[item_id] - count
        if left:
            counts[item_id] = left
        else:
            del counts[item_id]
