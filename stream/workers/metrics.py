"""What a worker tells Prometheus: time in seconds, small label sets, never a user or an item."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from stream.topics import EVENTS, EXPOSURES

PREFIX = "freshet_worker_"
EVENT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600, 3_600)
RECOVERY_BUCKETS_S = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class WorkerMetrics:
    """All metrics of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.events_total = self._counter(
            "events_total", "Records handled, by topic and result: applied, ignored, rejected.", ["topic", "result"]
        )
        for topic in (EVENTS, EXPOSURES):  # from 0, so that the alert on rejected ones sees the first
            for result in ("applied", "ignored", "rejected"):
                self.events_total.labels(topic, result)
        self.outcomes_total = self._counter(
            "outcomes_total", "Outcomes made durable; those repeated after a crash count again."
        )
        self.dropped_total = self._counter(
            "dropped_total", "Exposures and events beyond what is kept of a user: the oldest, left out of the join."
        )
        self.event_seconds = self._histogram(
            "event_seconds", "From the append of a record to its place in the table.", EVENT_BUCKETS_S
        )
        self.recovering = self._gauge("recovering", "1 while partitions change hands and the table is not complete.")
        self.recovery_seconds = self._histogram(
            "recovery_seconds", "From losing partitions to handling records again.", RECOVERY_BUCKETS_S
        )
        self.lag_records = self._gauge("lag_records", "Records not handled yet, by topic.", ["topic"])
        self.partitions = self._gauge("partitions", "Partitions held.")
        self.closing_users = self._gauge("closing_users", "Users whose outcomes are on their way to the log.")
        self.damaged_total = self._counter("damaged_total", "Users whose value in the table could not be read.")

    def _counter(self, name: str, meaning: str, labels: list[str] | None = None) -> Counter:
        return Counter(PREFIX + name, meaning, labels or [], registry=self.registry)

    def _gauge(self, name: str, meaning: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(PREFIX + name, meaning, labels or [], registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets_s: tuple[float, ...]) -> Histogram:
        return Histogram(PREFIX + name, meaning, buckets=buckets_s, registry=self.registry)
