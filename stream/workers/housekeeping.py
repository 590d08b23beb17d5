"""What a worker does by the clock, when no record makes it: an idle input lets go, windows close, counts go out."""

from __future__ import annotations

import time

from stream.workers.intake import MAX_PENDING, Intake
from stream.workers.join import Join
from stream.workers.lag import Lag
from stream.workers.metrics import WorkerMetrics

KEEP_HOUSE_S = 0.5
COUNTS_SHARE = 20  # at most a twentieth of the time goes into publishing counts


class Housekeeping:
    """`keep_house` is called every KEEP_HOUSE_S.

    Args:
        join: whose windows and counts these are.
        intake: with what waits.
        lag: how much is left to read.
        metrics: to be kept.
    """

    def __init__(self, join: Join, intake: Intake, *, lag: Lag, metrics: WorkerMetrics) -> None:
        self._join, self._intake, self._lag, self._metrics = join, intake, lag, metrics
        self._counts_at = 0.0

    async def keep_house(self) -> None:
        """First what is left to read, since what waits and what is due depend on it."""
        if self._intake.is_open:
            await self._lag.look()
            await self._intake.handle_waiting()
        if self._intake.is_open:  # still: partitions may have been lost while the brokers were asked
            self._close_due()
            self._publish_counts()

    def _close_due(self) -> None:
        for partition in self._join.partitions.values():
            self._join.close_due(partition, limit=MAX_PENDING)
        self._metrics.closing_users.set(sum(p.n_closing for p in self._join.partitions.values()))

    def _publish_counts(self) -> None:
        started = time.monotonic()
        if started >= self._counts_at:
            self._join.publish_counts()
            self._counts_at = started + max(2 * KEEP_HOUSE_S, COUNTS_SHARE * (time.monotonic() - started))
