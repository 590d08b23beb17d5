"""Every metric of Freshet but those of workers, declared once, on a registry that is passed in.

Names are ``freshet_<thing>_<unit>`` in base units, ``_total`` for counters. Label values come from small
closed sets, never a user, an item or a path with an id in it; those that alerts count begin at 0, so that the
first is seen. Freshness has its own family: how old the newest event is when a feed is scored, how long an
event or an item takes to count, how old the model is, how far each role lags.
"""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Buckets lie round the promise each histogram watches, so that "how many met it" is one bucket, not a guess.
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
EVENT_TO_STATE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
ITEM_TO_SERVABLE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
AGE_SECONDS = (0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0)
CYCLE_SECONDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 3_600.0)
BATCH_REQUESTS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """All metrics of one process; roles get this object and touch their own attributes.

    Every ``Metrics`` needs a registry of its own: two on one registry raise ``ValueError``.

    Example:
        >>> registry = CollectorRegistry()
        >>> metrics = Metrics(registry)
        >>> metrics.feeds_total.labels(result="model").inc()
        >>> registry.get_sample_value("freshet_feeds_total", {"result": "model"})
        1.0
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._shown_version: str | None = None
        self._declare_http()
        self._declare_stream()
        self._declare_feeds()
        self._declare_model()
        self._declare_quality()

    def _declare_http(self) -> None:
        self.http_request_seconds = self._histogram(
            "http_request_seconds",
            "Seconds from the first byte of a request to the last of its answer, by route template.",
            ("route", "method", "status"),
            REQUEST_SECONDS,
        )
        self.http_in_flight_requests = self._gauge("http_in_flight_requests", "Requests being answered now.")
        self.events_ingested_total = self._counter(
            "events_ingested_total",
            "Well-formed events sent to POST /v1/events: accepted, rejected, or unconfirmed (503: on the log or not).",
            ("outcome",),
        )

    def _declare_stream(self) -> None:
        self.events_applied_total = self._counter(
            "events_applied_total",
            "Events seen by the sequences role: applied, duplicate, stale or rejected.",
            ("result",),
        )
        self.event_to_state_seconds = self._histogram(
            "event_to_state_seconds",
            "Seconds from an event's append to its being part of the user's sequence.",
            (),
            EVENT_TO_STATE_SECONDS,
        )
        self.item_to_servable_seconds = self._histogram(
            "item_to_servable_seconds",
            "Seconds from an item's append to its being recommendable.",
            (),
            ITEM_TO_SERVABLE_SECONDS,
        )
        self.consumer_lag_records = self._gauge(
            "consumer_lag_records",
            "Records a role has still to read of a topic; no number while it does not read.",
            ("role", "topic"),
        )
        self.role_step_age_seconds = self._gauge(
            "role_step_age_seconds", "Seconds since a role began the step it is at: a poll, and its records.", ("role",)
        )
        self.dead_letters_total = self._counter(
            "dead_letters_total",
            "Records rejected to the dead-letter topic, by their source topic.",
            ("topic",),
        )
        for topic in ("events", "items", "exposures"):
            self.dead_letters_total.labels(topic=topic)
        self.role_restarts_total = self._counter(
            "role_restarts_total",
            "Times a role was started again after an error; `trainer` is the trainer's process.",
            ("role",),
        )
        self.users = self._gauge("users", "Users with a sequence in this process.")
        self.items = self._gauge("items", "Items in the catalogue of this process.")
        self.outcomes_total = self._counter(
            "outcomes_total", "Outcomes published: items shown that something followed."
        )
        self.windows_late_total = self._counter(
            "windows_late_total",
            "Exposures and events too late for their attribution window, or beyond what is kept of a user, by topic.",
            ("topic",),
        )
        self.window_users = self._gauge("window_users", "Users with an open attribution window in this process.")
        self.event_to_memory_seconds = self._histogram(
            "event_to_memory_seconds",
            "Seconds from an event's append to its being part of the fast memory.",
            (),
            EVENT_TO_STATE_SECONDS,
        )
        self.memory_events_total = self._counter(
            "memory_events_total", "Events seen by the memory role: linked, or skipped as none to learn.", ("result",)
        )
        self.memory_items = self._gauge("memory_items", "Items that the fast memory of this process has numbered.")
        self.memory_rows_total = self._counter(
            "memory_rows_total", "Rows of the fast memory: published or followed.", ("result",)
        )
        self.blend_events_total = self._counter(
            "blend_events_total", "Events that the weights of the blend were learned from."
        )
        self.blend_weight = self._gauge(
            "blend_weight", "Weight of each part of a feed's scores, beside a fresh model.", ("part",)
        )
        self.blend_gain_ndcg_at_10 = self._gauge(
            "blend_gain_ndcg_at_10", "NDCG@10 of the blend less the model's alone, over the newest events learned from."
        )
        self.blend_on = self._gauge("blend_on", "1 while the blend pays, and feeds are made with it.")
        self.training_rows = self._gauge("training_rows", "Interactions in the training buffer.")

    def _declare_feeds(self) -> None:
        self.feeds_total = self._counter(
            "feeds_total", "Feeds answered, by the model or by the reason it was not asked.", ("result",)
        )
        self.feed_seconds = self._histogram("feed_seconds", "Seconds to make a feed.", (), REQUEST_SECONDS)
        self.feed_batch_requests = self._histogram(
            "feed_batch_requests", "Feed requests answered by one call of the ranker.", (), BATCH_REQUESTS
        )
        self.event_age_seconds = self._histogram(
            "event_age_seconds", "Age of the user's newest event when the feed was scored.", (), AGE_SECONDS
        )
        self.exposures_total = self._counter(
            "exposures_total",
            "Exposures logged, or dropped: the queue was full, or the log refused or did not answer in time.",
            ("result",),
        )

    def _declare_model(self) -> None:
        self.model_info = self._gauge("model_info", "1 for the version that answers now.", ("version",))
        self.model_age_seconds = self._gauge("model_age_seconds", "Age of the model that answers now.")
        self.model_age_seconds.set(math.nan)  # before the first
        self.model_swaps_total = self._counter("model_swaps_total", "Times a new model took over.")
        self.item_vector_age_seconds = self._gauge(
            "item_vector_age_seconds", "Age of the newest item vector that can be recommended."
        )
        self.learning_failed = self._gauge(
            "learning_failed", "1 while this process has to learn and cannot: /readyz says why."
        )
        self.cycles_total = self._counter("cycles_total", "Training cycles: published, refused or failed.", ("result",))
        for result in ("published", "refused", "failed"):
            self.cycles_total.labels(result=result)
        self.cycle_seconds = self._histogram(
            "cycle_seconds", "Seconds of a training cycle that was published or refused.", (), CYCLE_SECONDS
        )

    def _declare_quality(self) -> None:
        labels = ("source", "protocol")  # organic|exposed, filtered|unfiltered
        self.prequential_recall_at_10 = self._gauge(
            "prequential_recall_at_10", "Recall@10 of events predicted before they were applied.", labels
        )
        self.prequential_ndcg_at_10 = self._gauge(
            "prequential_ndcg_at_10", "NDCG@10 of events predicted before they were applied.", labels
        )
        self.prequential_mrr = self._gauge(
            "prequential_mrr", "Mean reciprocal rank of events predicted before they were applied.", labels
        )
        self.prequential_events_total = self._counter(
            "prequential_events_total", "Events predicted before they were applied."
        )
        self.prequential_unscored_total = self._counter(
            "prequential_unscored_total",
            "Events no model could predict, because all were trained on them or none was there.",
        )
        self.prequential_share_ratio = self._gauge(
            "prequential_share_ratio", "Share of users whose events are predicted before they are applied."
        )

    def count_cycle(self, result: str, seconds: float) -> None:
        """Count a training cycle that ended; how long one took that failed says nothing of the others."""
        self.cycles_total.labels(result=result).inc()
        if result != "failed":
            self.cycle_seconds.observe(seconds)

    def show_model(self, version: str | None) -> None:
        """Make ``version`` the one series of ``model_info``; None when there is no model.

        The old version's series is removed, so the label never grows with the number of cycles.
        """
        if self._shown_version is not None and self._shown_version != version:
            self.model_info.remove(self._shown_version)
        if version is not None:
            self.model_info.labels(version=version).set(1)
        self._shown_version = version

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"freshet_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"freshet_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"freshet_{name}", text, labels, registry=self.registry, buckets=buckets)
