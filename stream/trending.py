"""What is popular now: counts of the last 24 hours of stream time, as a pure core.

Counts are integers in buckets of event-time hours, so any order of the same events gives the same counts, as
long as none is a day late.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypedDict

HOUR_MS = 60 * 60 * 1_000
N_HOURS = 24


class TrendingState(TypedDict):
    """What survives a restart; JSON."""

    newest_hour: int
    buckets: dict[str, dict[str, int]]  # hour -> item -> count


class TrendingCounts:
    """Counts an item's events. Stream time is the newest hour added: keep events of the future out.

    Not idempotent: add an event only where the sequences accepted it.

    >>> counts = TrendingCounts()
    >>> for item_id in ["a", "b", "b"]:
    ...     counts.add(item_id, 0)
    >>> counts.top(2)
    ['b', 'a']
    >>> counts.add("c", 24 * HOUR_MS)  # a day later
    >>> counts.top(2)
    ['c']
    """

    def __init__(self) -> None:
        self._newest_hour = 0
        self._buckets: dict[int, Counter[str]] = {}
        self._totals: Counter[str] = Counter()

    def add(self, item_id: str, ts_ms: int) -> None:
        """Count one event; one older than the window is left out.

        Args:
            item_id: what it was about.
            ts_ms: event time, milliseconds since 1970.
        """
        self._add_hour(ts_ms // HOUR_MS, [item_id])

    def add_all(self, events: Iterable[tuple[str, int]]) -> None:
        """Count many events, each an item id and its time: the same as one after the other, and quicker."""
        by_hour: defaultdict[int, list[str]] = defaultdict(list)
        for item_id, ts_ms in events:
            by_hour[ts_ms // HOUR_MS].append(item_id)
        for hour, item_ids in by_hour.items():
            self._add_hour(hour, item_ids)

    def top(self, k: int) -> list[str]:
        """The k items with most events, most first; ties by id. Fewer when fewer were seen."""
        counts = list(self._totals.items())  # one step: a reader may ask while the role adds
        return [item_id for item_id, _ in heapq.nsmallest(k, counts, key=lambda pair: (-pair[1], pair[0]))]

    def to_dict(self) -> TrendingState:
        """The state as plain JSON data."""
        buckets = {str(hour): dict(counts) for hour, counts in self._buckets.items()}
        return {"newest_hour": self._newest_hour, "buckets": buckets}

    @classmethod
    def from_dict(cls, state: TrendingState) -> TrendingCounts:
        """The counts that to_dict() gave."""
        counts = cls()
        counts._newest_hour = state["newest_hour"]
        counts._buckets = {int(hour): Counter(bucket) for hour, bucket in state["buckets"].items()}
        for bucket in counts._buckets.values():
            counts._totals.update(bucket)
        return counts

    def _add_hour(self, hour: int, item_ids: list[str]) -> None:
        if hour <= self._newest_hour - N_HOURS:
            return
        if hour > self._newest_hour:
            self._newest_hour = hour
            self._expire()
        self._buckets.setdefault(hour, Counter()).update(item_ids)
        self._totals.update(item_ids)

    def _expire(self) -> None:
        for hour in [hour for hour in self._buckets if hour <= self._newest_hour - N_HOURS]:
            for item_id, count in self._buckets.pop(hour).items():
                self._totals[item_id] -= count
                if not self._totals[item_id]:
                    del self._totals[item_id]
