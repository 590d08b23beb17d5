"""Figures of the status bar that are read back from the metrics: a scrape and the page tell the same."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from prometheus_client import Counter, Gauge

from monitoring.metrics import Metrics

WINDOW_S = 5.0
MIN_SAMPLE_GAP_S = 0.25


def value_of(metric: Counter | Gauge, **labels: str) -> float | None:
    """The value a scrape would show; None when there is no series or no number yet. No labels: the sum of all."""
    values = [
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created") and labels.items() <= sample.labels.items()
    ]
    total = sum(values) if values else math.nan
    return None if math.isnan(total) else total


class EventRate:
    """Events applied per second over the last five seconds, from the counter's values at earlier questions."""

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, float]] = deque()

    def per_s(self) -> float:
        """The rate; 0 at the first question."""
        now_s = self._clock()
        n_events = value_of(self._metrics.events_applied_total, result="applied") or 0.0
        with self._lock:
            if not self._samples or now_s - self._samples[-1][0] >= MIN_SAMPLE_GAP_S:
                self._samples.append((now_s, n_events))
            while len(self._samples) > 1 and self._samples[1][0] <= now_s - WINDOW_S:
                self._samples.popleft()
            then_s, n_before = self._samples[0]
        return (n_events - n_before) / (now_s - then_s) if now_s > then_s else 0.0
