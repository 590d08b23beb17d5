"""A batch of feed requests to feeds, on one thread, by one model version.

The newest state of each user is read here, just before scoring. Without a model, or for somebody it knows nothing
of, popular items stand in and the feed says why. Nothing here knows HTTP.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import structlog

from consumers.catalog.catalog import Catalog
from consumers.sequences.user_sequences import UserSequences
from models.blending import FeedBlend
from models.memory.blend import Part
from models.ranker import FeedRequest, ScoredItem
from serving.blended import LiveBlend
from serving.parts import Ranker, Slot, Trending
from serving.popular import Newcomers, Popular
from stream.log import Position

NO_MODEL: Final = "no_model"
UNKNOWN_USER: Final = "unknown_user"
NO_CANDIDATES: Final = "no_candidates"  # the model knows none of the user's items, or nothing is left to show
DEADLINE: Final = "deadline"
MODEL_FAILED: Final = "model_failed"
ELSEWHERE: Final = "elsewhere"  # another replica holds the user, and it is not known or did not answer
Degraded = Literal["no_model", "unknown_user", "no_candidates", "deadline", "model_failed", "elsewhere"]


@dataclass(frozen=True)
class FeedTask:
    """Who wants a feed.

    Attributes:
        user_id: whose sequence counts; None for a session.
        items: of a session, oldest first.
        k: items wanted.
        exclude_seen: leave out what the user has seen.
    """

    user_id: str | None
    k: int
    exclude_seen: bool = True
    items: tuple[str, ...] = ()


class Scored(NamedTuple):
    """One item of a feed; no score where no model answered."""

    item_id: str
    score: float | None
    is_new: bool = False
    brought_by: Part | None = None


@dataclass(frozen=True)
class Feed:
    """What to show, best first, and why it is so.

    Attributes:
        version: of the model that answered; None when none did.
        blend: number of the weights that its scores were blended with; None when they were not.
        degraded: why popular items stand in; None when the model answered.
        newest_event_ms: event time of the newest event in the sequence.
        newest_item_ms: time of the newest item that could have been shown.
        position: partition and next offset of `events` that the user's sequence stood at; None for a session.
    """

    items: tuple[Scored, ...]
    version: str | None
    blend: int | None
    degraded: Degraded | None
    newest_event_ms: int | None
    newest_item_ms: int | None
    position: Position | None


class _State(NamedTuple):
    """What a feed is made from, read once."""

    task: FeedTask
    items: Sequence[str]
    times_ms: Sequence[int]  # of the items; empty for a session
    exclude: frozenset[str]
    newest_event_ms: int | None
    newest_item_ms: int | None
    position: Position | None


class _Ranked(NamedTuple):
    """What a model version answered.

    Attributes:
        answers: by place in the batch.
        version: of the model.
        blend: number of the weights.
    """

    answers: dict[int, Sequence[ScoredItem]]
    version: str
    blend: int | None


class FeedMaker:
    """Makes feeds from the sequences, the catalogue and the ranker of the slot.

    Args:
        slot: where the ranker is.
        sequences: of the users.
        catalog: of the items.
        counts: what is popular among all users; None where all users are here.
        blend: what is blended with the ranker's scores, if anything.
    """

    def __init__(
        self,
        slot: Slot,
        sequences: UserSequences,
        catalog: Catalog,
        counts: Trending | None = None,
        *,
        blend: LiveBlend | None = None,
    ) -> None:
        self._slot = slot
        self._sequences = sequences
        self._catalog = catalog
        self._blend = blend
        self._stand_in = Popular(sequences, catalog, counts)
        self._newcomers = Newcomers(catalog)

    def make(self, tasks: Sequence[FeedTask]) -> list[Feed]:
        """Feeds of a batch, in order. Slot and weights are read once: all come from one version of either."""
        ranker = self._slot.current()
        states = [self._state(task) for task in tasks]
        if ranker is None:
            return [self._popular(state, NO_MODEL) for state in states]
        ranked = self._ranked(ranker, states)
        if ranked is None:
            return [self._popular(state, MODEL_FAILED) for state in states]
        return [self._feed(state, ranked, ranked.answers.get(at)) for at, state in enumerate(states)]

    def popular(self, task: FeedTask, reason: Degraded) -> Feed:
        """A feed without the model."""
        return self._popular(self._state(task), reason)

    def _state(self, task: FeedTask) -> _State:
        newest_item_ms = self._catalog.newest_ts_ms
        if task.user_id is None:
            exclude = frozenset(task.items if task.exclude_seen else ())
            return _State(task, task.items, (), exclude, None, newest_item_ms, None)
        view = self._sequences.view(task.user_id)
        seen = frozenset(view.seen if task.exclude_seen else ())
        return _State(task, view.items, view.times_ms, seen, view.newest_ts_ms, newest_item_ms, view.position)

    def _ranked(self, ranker: Ranker, states: Sequence[_State]) -> _Ranked | None:
        """The answers for states with items: blended, by the model alone when that fails; None when it fails too."""
        places = [at for at, state in enumerate(states) if state.items]
        if not places:
            return _Ranked({}, ranker.version, None)
        newcomers = self._newcomers.ids()
        requests = [_request(states[at], newcomers) for at in places]
        for blend in self._tries(ranker.version):
            try:
                answers = ranker.recommend(requests, blend=blend)
            except Exception as exc:  # whatever a model does, feeds go on, marked
                is_blended = blend is not None
                structlog.get_logger().error("ranker_failed", version=ranker.version, blended=is_blended, exc_info=exc)
            else:
                number = None if blend is None else blend.weights.number
                return _Ranked(dict(zip(places, answers, strict=True)), ranker.version, number)
        return None

    def _tries(self, version: str) -> Sequence[FeedBlend | None]:
        blend = None if self._blend is None else self._blend.beside(version)
        return (None,) if blend is None else (blend, None)

    def _feed(self, state: _State, ranked: _Ranked, answer: Sequence[ScoredItem] | None) -> Feed:
        if answer is None:
            return self._popular(state, UNKNOWN_USER if self._is_here(state) else ELSEWHERE)
        if not answer:
            return self._popular(state, NO_CANDIDATES)
        items = tuple(Scored(item.item_id, item.score, item.is_newcomer, item.brought_by) for item in answer)
        return _made(items, ranked, None, state)

    def _is_here(self, state: _State) -> bool:
        return state.position is None or state.position.partition in self._sequences.held()

    def _popular(self, state: _State, reason: Degraded) -> Feed:
        items = self._stand_in.top(state.task.k, state.exclude)
        return _made(tuple(Scored(item_id, None) for item_id in items), None, reason, state)


def _request(state: _State, newcomers: Collection[str]) -> FeedRequest:
    return FeedRequest(state.items, state.times_ms, exclude=state.exclude, k=state.task.k, newcomers=newcomers)


def _made(items: tuple[Scored, ...], ranked: _Ranked | None, degraded: Degraded | None, state: _State) -> Feed:
    return Feed(
        items,
        version=None if ranked is None else ranked.version,
        blend=None if ranked is None else ranked.blend,
        degraded=degraded,
        newest_event_ms=state.newest_event_ms,
        newest_item_ms=state.newest_item_ms,
        position=state.position,
    )
