"""The watcher: predicts every event before it is applied, and exports how well that went.

It reads `events` in a group of its own and keeps its own state, so that "before the event" is exact and serving
waits for nothing. Above some rate it watches a fixed hash-sample of users; the share is exported.

Its state is not kept on disk: after a start it reads the topic again. The rule below then says by itself where
predicting begins, since events before a model's data offsets are applied and not predicted.

    A model never scores an event it was trained on: of the current model and the one before it, the first whose
    data offsets the watcher has passed predicts the batch. Where there is none, events count as unscored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from consumers.predictors import Models, past_its_data
from consumers.sampling import is_sampled
from consumers.watching.blocks import Arrival, BlockReader
from consumers.watching.prequential import PROTOCOLS, SOURCES, Prequential
from models.rivals.panel import RivalPanel, default_rivals
from monitoring.metrics import Metrics
from stream.admission import admit
from stream.events import BadEvent
from stream.kinds import DEFAULT_KINDS, EventKinds
from stream.log import Record
from stream.topics import EVENTS


@dataclass(frozen=True)
class WatcherSettings:
    """What is watched.

    Attributes:
        share: of the users, in (0, 1].
        window: events of the exported means, by source.
        max_batch: sequences scored in one call of the model.
        has_rivals: whether the rivals are judged on the same events; they learn from every user, so only with
            `share` 1.
        length: events by user that predictions are made from.
        max_seen: distinct items by user beyond those that count as seen.
    """

    share: float = 1.0
    window: int = 5_000
    max_batch: int = 256
    has_rivals: bool = False
    length: int = 50
    max_seen: int = 2_000

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} of users must be above 0 and at most 1")
        if self.has_rivals and self.share < 1:
            raise ValueError(f"share={self.share} with rivals: they learn from every user, set share=1")


class WatcherRole:
    """The role: poll by poll, predict, then apply. Handling a record twice changes nothing the second time."""

    name = "watcher"
    topic = EVENTS
    group = "watcher"

    def __init__(
        self,
        models: Models,
        *,
        log_id: str,
        metrics: Metrics,
        kinds: EventKinds = DEFAULT_KINDS,
        settings: WatcherSettings | None = None,
    ) -> None:
        self.n_unscored = 0
        self._models, self._log_id = models, log_id
        self._metrics = metrics
        self._kinds = kinds
        self._settings = settings = settings or WatcherSettings()
        panel = RivalPanel(default_rivals()) if settings.has_rivals else None
        self._reader = BlockReader(kinds, length=settings.length, max_seen=settings.max_seen, panel=panel)
        self._prequential = Prequential(window=settings.window, max_batch=settings.max_batch, panel=panel)
        self._next: dict[int, int] = {}
        self._lock = Lock()  # between the role's thread and whoever asks for a report
        metrics.prequential_share_ratio.set(settings.share)

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Begin at the start of partitions that are new, go on where the others stand."""
        with self._lock:
            for partition in partitions:
                self._reader.hold(partition)
                self._next.setdefault(partition, 0)
        return {partition: self._next[partition] for partition in partitions}

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Stand at these offsets with the state there is."""
        self._next.update(offsets)

    def lost(self, partitions: Sequence[int]) -> None:
        """Let the state of these partitions go."""
        with self._lock:
            for partition in partitions:
                self._reader.drop(partition)
                self._next.pop(partition, None)

    def positions(self) -> Mapping[int, int]:
        """Next offset by partition held."""
        return dict(self._next)

    def handle(self, records: list[Record]) -> None:
        """Predict what a model may, apply everything, export the means."""
        arrivals = self._arrivals(records)
        predictor = past_its_data(self._models, self._next, log_id=self._log_id)
        with self._lock:
            if predictor is None:
                self._absorb(arrivals)
            else:
                targets = self._reader.targets(arrivals)
                version = predictor.manifest.version
                n_ranked = self._prequential.rank(targets, predictor.scores, version=version)
                self._metrics.prequential_events_total.inc(n_ranked)
                self._export()
        for record in records:
            self._next[record.partition] = record.offset + 1

    def idle(self) -> None:
        """Nothing is due by time."""

    def close(self) -> None:
        """Nothing is kept."""

    def report(self) -> dict[str, Any]:
        """Everything measured so far: by source, by model and rival, filtered and unfiltered. Any thread."""
        with self._lock:
            return {
                "share": self._settings.share,
                "n_users": self._reader.n_users,
                "n_unscored": self.n_unscored,
                **self._prequential.report(),
            }

    def _arrivals(self, records: Sequence[Record]) -> list[Arrival]:
        """Events of sampled users; what is not admitted the sequences role sends to the dead letters."""
        arrivals = []
        for record in records:
            try:
                event = admit(record, self._kinds)
            except BadEvent:
                continue
            if is_sampled(event.user_id, self._settings.share):
                arrivals.append(Arrival(record.partition, event))
        return arrivals

    def _absorb(self, arrivals: Sequence[Arrival]) -> None:
        n_unscored = self._reader.absorb(arrivals)
        self.n_unscored += n_unscored
        self._metrics.prequential_unscored_total.inc(n_unscored)

    def _export(self) -> None:
        metrics = self._metrics
        gauges = {
            "recall_at_10": metrics.prequential_recall_at_10,
            "ndcg_at_10": metrics.prequential_ndcg_at_10,
            "mrr": metrics.prequential_mrr,
        }
        for source in SOURCES:
            for protocol in PROTOCOLS:
                for name, value in self._prequential.window_means(source, protocol).items():
                    gauges[name].labels(source=source, protocol=protocol).set(value)
