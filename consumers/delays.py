"""How long records take to count, from their append to their effect; for the roles whose promise that is."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import Histogram


class Delays:
    """Observed from its making on: what was appended before is only read again, and its age says nothing.

    Args:
        histogram: of seconds.
    """

    def __init__(self, histogram: Histogram) -> None:
        self._histogram, self._started_ms = histogram, now_ms()

    def observe(self, appended_ms: Iterable[int]) -> None:
        """Records count from now on; when each was appended, milliseconds since 1970."""
        counts_ms = now_ms()
        for ts_ms in appended_ms:
            if ts_ms >= self._started_ms:
                self._histogram.observe(max(0.0, (counts_ms - ts_ms) / 1_000))


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
