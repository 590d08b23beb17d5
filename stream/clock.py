"""Stream time: how far the events have come, in replay as live. It stamps, decays and closes windows."""

from __future__ import annotations

import time
from collections.abc import Callable


def wall_ms() -> int:
    """The wall clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class StreamClock:
    """The highest event time seen less an allowed lateness; never ahead of the wall clock, never back.

    >>> clock = StreamClock(allowed_lateness_ms=100)
    >>> clock.observe(5_000)
    >>> clock.observe(4_000)
    >>> clock.now_ms()
    4900
    """

    def __init__(self, allowed_lateness_ms: int, wall: Callable[[], int] = wall_ms) -> None:
        if allowed_lateness_ms < 0:
            raise ValueError(f"allowed_lateness_ms={allowed_lateness_ms} must be at least 0")
        self._allowed_lateness_ms = allowed_lateness_ms
        self._wall = wall
        self._highest_ms: int | None = None

    def observe(self, ts_ms: int) -> None:
        """An event was seen. One from the future does not move the clock."""
        if (self._highest_ms is None or ts_ms > self._highest_ms) and ts_ms <= self._wall():
            self._highest_ms = ts_ms

    def now_ms(self) -> int | None:
        """Stream time, milliseconds since 1970; None before the first event."""
        return None if self._highest_ms is None else max(0, self._highest_ms - self._allowed_lateness_ms)

    def is_late(self, ts_ms: int) -> bool:
        """Whether an event comes after its window may have closed."""
        now_ms = self.now_ms()
        return now_ms is not None and ts_ms < now_ms
