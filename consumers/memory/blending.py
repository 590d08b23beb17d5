"""Learns the weights of the blend from the events that the memory links: each is predicted before it is linked.

    event of a sampled user -> what model, memory and counts say after what the user had -> weights move -> link

Learned from are events that followed no feed of ours: what was shown says as much of the ranker as of the user. The
model scores a batch in one call, and only events after those it was trained on (`consumers.predictors`). Four weights
need no more than so many events a second, whatever the stream brings: of a batch `max_batch` at most, or none.
Beside a new model version they go on from the weights kept with it (`models.memory.calibration`), where it has any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from consumers.memory.links import Link
from consumers.memory.quality import FEED, MEMORY, MODEL, FeedQuality
from consumers.memory.recent import RecentItems
from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import SharedBlend
from consumers.predictors import Models, past_its_data
from consumers.rests import rested
from consumers.sampling import is_sampled
from models.blending import BlendRows, FeedBlend
from models.memory.blend import PARTS, Blend, BlendWeights, Floats
from models.memory.calibration import kept_weights
from models.memory.judge import Judge, gain_of
from models.registry.bundle import Manifest
from monitoring.metrics import Metrics
from stream.events import MAX_TRENDING_ITEMS, BlendState, Interaction

_SAVED_S = 40.0  # of its rate that it may save up, so that a start, or what was missed, is learned from at once


@dataclass(frozen=True)
class BlendingSettings:
    """What is learned from, and how often it is said.

    Attributes:
        share: of the users, in (0, 1].
        max_batch: events predicted of one batch of records; the others are only linked.
        per_s: events learned from in a second, on average.
        publish_s: seconds between two publications.
    """

    share: float = 0.2
    max_batch: int = 256
    per_s: float = 20.0
    publish_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} of users must be above 0 and at most 1")
        if self.max_batch < 1:
            raise ValueError(f"max_batch={self.max_batch} must be at least 1; 256 is usual")
        if self.per_s <= 0:
            raise ValueError(f"per_s={self.per_s} events a second must be above 0; 20 is usual")

    @property
    def max_saved(self) -> float:
        """Events that may be learned from at once."""
        return max(self.max_batch, self.per_s * _SAVED_S)


class _Scored(NamedTuple):
    """What the model scored, as `models.blending` asks for it."""

    item_ids: Sequence[str] = ()


class BlendLearner:
    """Weights of the parts, learned beside the model that answers. By the memory's thread.

    Args:
        models: the slot.
        memory: linked here, and by nobody else.
        shared: gets the weights.
        log_id: of the log that the events are on.
        metrics: of this process.
        settings: what is learned from.
        quality: told how feeds, model and memory ranked each event; None where nobody asks.
        clock: seconds, never going back.
        now_s: seconds of the world. A number is at least those of its moment, so that what was published after the
            last snapshot, and lost with the process, is not given to other weights.
    """

    def __init__(
        self,
        models: Models,
        memory: SharedMemory,
        shared: SharedBlend,
        *,
        log_id: str,
        metrics: Metrics,
        settings: BlendingSettings | None = None,
        quality: FeedQuality | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._models, self._memory, self._shared, self._metrics = models, memory, shared, metrics
        self._settings, self._quality, self._clock = settings or BlendingSettings(), quality, clock
        self._now_s, self._log_id = now_s, log_id
        self._scored, self._column_of = _Scored(), dict[str, int]()
        self._rows = BlendRows(self._column_of.get)
        self._blend, self._judge, self._recent = Blend(), Judge(), RecentItems(clock=clock)
        self._age, self._model_version = 0.0, ""
        self._is_moved = False
        self._said_at = self._clock() - self._settings.publish_s
        self._allowed, self._allowed_at = self._settings.max_saved, self._clock()

    def is_asked(self, event: Interaction) -> bool:
        """Whether an event is to be learned from."""
        return event.feed_id is None and is_sampled(event.user_id, self._settings.share)

    def link(self, links: Sequence[Link], next_offsets: dict[int, int]) -> None:
        """Predict, learn and link events, one after the other.

        Args:
            links: of one batch, in order.
            next_offsets: of the events before them, by partition.
        """
        counts = self._recent.counts()  # before these events
        try:
            scores = self._model_scores(links, next_offsets)
        except Exception as exc:  # whatever a model does: read again, these events would be known, and never linked
            structlog.get_logger().warning("blend_not_predicted", n_events=len(links), reason=repr(exc))
            scores = {}
        for at, link in enumerate(rested(links)):
            if at in scores:
                self._learn(scores[at], link, counts)
            self._memory.link(link.history, link.item_id, link.ts_ms)
            self._recent.add(link.item_id)
        if scores:
            self._export()

    def due(self) -> BlendState | None:
        """The weights under a new number, in force in this process from now on; None while it is not time."""
        now = self._clock()
        if not self._is_moved or now - self._said_at < self._settings.publish_s:
            return None
        self._said_at = now
        now_s, weights, counts = self._now_s(), self._blend.weights, tuple(self._recent.counts().items())
        number = max(weights.number + 1, self._shared.number + 1, int(now_s))
        weights = self._blend.weights = replace(weights, number=number)
        state = BlendState(
            number=weights.number,
            steady=weights.steady,
            ageing=weights.ageing,
            age=self._age,
            model_version=self._model_version or None,
            is_on=self._judge.is_on,
            ts_ms=int(now_s * 1_000),
            trending=counts[:MAX_TRENDING_ITEMS],
            more_trending=counts[MAX_TRENDING_ITEMS:],
        )
        self._shared.put(state)
        return state

    def mark_published(self) -> None:
        """What was due is durable, or nobody else needs it."""
        self._is_moved = False

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights and judgement as arrays, for a snapshot; how fast each weight was moving is begun anew."""
        weights = np.array([self._blend.weights.steady, self._blend.weights.ageing])  # (2, P)
        number, version = np.array(self._blend.weights.number), np.frombuffer(self._model_version.encode(), np.uint8)
        return {
            "weights": weights,
            "number": number,
            "age": np.array(self._age),
            "model_version": version,
            **self._judge.state(),
            **self._recent.state(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave; anew where it is of a version with other parts, or nothing."""
        if not state:
            return
        if state["weights"].shape != (2, len(PARTS)):
            structlog.get_logger().warning("blend_begun_anew", reason=f"weights {state['weights'].shape} are saved")
            return
        steady, ageing = state["weights"].tolist()
        self._blend = Blend(weights=BlendWeights(int(state["number"]), tuple(steady), tuple(ageing)))
        self._judge = Judge.restored(state)
        self._recent.restore(state)
        self._age, self._model_version = float(state["age"]), state["model_version"].tobytes().decode()
        self._is_moved = True
        self._export()

    def _model_scores(self, links: Sequence[Link], next_offsets: dict[int, int]) -> dict[int, Floats]:
        """(N,) scores by place in `links`, of those that are to be predicted and whose user the model knows."""
        asked = [(at, one.known, one.known_ms) for at, one in enumerate(links) if one.known][: self._settings.max_batch]
        model = past_its_data(self._models, next_offsets, log_id=self._log_id) if asked else None
        if model is None or not self._is_allowed(len(asked)):
            return {}
        scores, item_ids = model.scores([known for _, known, _ in asked], [known_ms for *_, known_ms in asked])
        if not len(item_ids):
            return {}
        self._become(item_ids)
        self._stand_beside(model.manifest)
        trained_to = model.manifest.data.on(self._log_id).offsets
        n_events = sum(offset - trained_to.get(partition, 0) for partition, offset in next_offsets.items())
        self._age = self._blend.age(n_events)
        return {at: row for (at, *_), row in zip(asked, scores, strict=True) if row.max() > -np.inf}

    def _is_allowed(self, n_events: int) -> bool:
        """Whether so many may be learned from now; they are then taken off what was saved up."""
        now, most = self._clock(), self._settings.max_saved
        self._allowed = min(self._allowed + self._settings.per_s * (now - self._allowed_at), most)
        self._allowed_at = now
        if n_events > self._allowed:
            return False
        self._allowed -= n_events
        return True

    def _become(self, item_ids: Sequence[str]) -> None:
        """Of these items from now on; of an item with several columns the last one is live."""
        if item_ids != self._scored.item_ids:
            self._scored = _Scored(item_ids)
            self._column_of = {item_id: column for column, item_id in enumerate(item_ids)}
            self._rows = BlendRows(self._column_of.get)

    def _stand_beside(self, manifest: Manifest) -> None:
        """Learn beside this model version; a new one's kept weights are gone on from, the others where it has none."""
        if manifest.version == self._model_version:
            return
        self._model_version = manifest.version
        kept = manifest.blend
        if kept is None:
            return
        weights = kept_weights(kept, number=self._blend.weights.number)
        if weights is None:
            structlog.get_logger().warning("kept_weights_passed_over", version=manifest.version, weights=kept.steady)
            return
        judge = Judge(is_on=kept.gain_ndcg_at_10 > 0)
        self._blend, self._judge, self._is_moved = Blend(weights=weights), judge, True

    def _learn(self, model: Floats, link: Link, counts: Mapping[str, int]) -> None:
        """Learn that an item came, and judge what was thought of it."""
        target = self._column_of.get(link.item_id)
        if target is None or link.known is None or model[target] == -np.inf:
            return  # not to be had: a newcomer that the model has not placed yet, or removed
        blend = FeedBlend(self._blend.weights, self._age, self._memory, counts)
        blended = self._rows.blended(blend, model, link.known, self._scored, seen=link.seen)
        seen = blended.seen
        if self._quality is not None:
            ranked = {FEED: blended.utilities if self._judge.is_on else model, MODEL: model, MEMORY: blended.memory}
            self._quality.add(link.user_id, ranked, target, seen=seen)
        gain = gain_of(blended.utilities, model, seen, target)
        if gain is not None:
            self._judge.add(gain)
        self._blend.learn(blended.parts, target, age=self._age)
        self._is_moved = True
        self._metrics.blend_events_total.inc()

    def _export(self) -> None:
        for part, weight in zip(PARTS, self._blend.weights.steady, strict=True):
            self._metrics.blend_weight.labels(part=part).set(weight)
        self._metrics.blend_gain_ndcg_at_10.set(self._judge.gain)
        self._metrics.blend_on.set(self._judge.is_on)
