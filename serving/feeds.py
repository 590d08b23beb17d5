"""Feeds: for a user, or for a session's items. What was shown is logged as an exposure."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from serving.cards import card
from serving.errors import Problem
from serving.feed_maker import DEADLINE, Feed, FeedTask
from serving.media_type import TAKES_JSON
from serving.openapi import problems
from serving.schemas import MAX_K, MAX_TIMEOUT_MS, FeedOut, PathId, SessionIn
from serving.state import Running, Serving, wall_ms
from serving.tokens import MAX_TOKEN_LENGTH, BadToken, PositionToken
from stream.events import Exposure
from stream.topics import EVENTS

router = APIRouter(tags=["feeds"])
REFUSALS = problems(422, 503)
K = Annotated[int, Query(ge=1, le=MAX_K, description="items wanted")]
After = Annotated[
    str | None,
    Query(max_length=MAX_TOKEN_LENGTH, description="`position` of an earlier answer: reflect at least that"),
]
TimeoutMs = Annotated[
    int | None,
    Query(ge=1, le=MAX_TIMEOUT_MS, description="longest wait for `after`, and then for the model"),
]


@router.get("/v1/feeds/{user_id}", response_model=FeedOut, responses=REFUSALS)
async def user_feed(
    user_id: PathId,
    request: Request,
    serving: Running,
    k: K = 20,
    after: After = None,
    exclude_seen: bool = True,
    timeout_ms: TimeoutMs = None,
) -> FeedOut | Response:
    """What to show a user now. Always answers; `degraded` and `stale` say when it is less than it could be."""
    timeout_s = (timeout_ms or serving.parts.settings.feed_timeout_ms) / 1_000
    partition = serving.parts.sequences.partition_of(user_id)
    needed = _needed(after, serving, partition)
    is_here = partition in serving.parts.sequences.held()
    if not is_here:
        answer = await serving.forwarder.forward(request, partition, timeout_s=2 * timeout_s)
        if answer is not None:
            return answer
    sequences = serving.parts.sequences
    if needed is not None:  # also where the partition is just being taken over
        is_current = await sequences.applied.wait_async(partition, needed, timeout_s)
    else:
        is_current = sequences.is_current(partition)
    return await _answer(FeedTask(user_id, k, exclude_seen), serving, timeout_s, stale=not is_current)


@router.post("/v1/feeds", response_model=FeedOut, responses=problems(415, 422, 503), dependencies=[TAKES_JSON])
async def session_feed(body: SessionIn, serving: Running) -> FeedOut:
    """What to show after a session's items, when no user is known."""
    task = FeedTask(None, body.k, body.exclude_seen, tuple(body.items))
    timeout_s = serving.parts.settings.feed_timeout_ms / 1_000
    return await _answer(task, serving, timeout_s, session_id=body.session_id)


def _needed(after: str | None, serving: Serving, partition: int) -> int | None:
    """The next offset of the user's partition that the feed has to reflect; of others it reflects nothing.

    Raises:
        Problem: 400 for a token of another log, or none at all.
    """
    if after is None:
        return None
    try:
        token = PositionToken.decode(after)
        token.check(serving.parts.log.log_id, EVENTS)
    except BadToken as exc:
        raise Problem(400, f"after: {exc}", field="after") from exc
    if any(named >= serving.n_partitions for named in token.next_offsets):
        detail = f"after: it names a partition beyond {serving.n_partitions - 1}; leave `after` away"
        raise Problem(400, detail, field="after", limit=serving.n_partitions - 1)
    return token.next_offsets.get(partition)


async def _answer(
    task: FeedTask, serving: Serving, timeout_s: float, *, stale: bool = False, session_id: str | None = None
) -> FeedOut:
    metrics = serving.parts.metrics
    with metrics.feed_seconds.time():
        try:
            feed = await serving.batcher.ask(task, timeout_s=timeout_s)
        except TimeoutError:
            feed = await serving.stand_ins.run(serving.maker.popular, task, DEADLINE)
    now_ms = wall_ms()
    metrics.feeds_total.labels(result=feed.degraded or "model").inc()
    if feed.newest_event_ms is not None:
        metrics.event_age_seconds.observe(max(0, now_ms - feed.newest_event_ms) / 1_000)
    out = _out(task, feed, serving, now_ms, stale)
    serving.exposures.add(_exposure(out, feed, session_id))
    return out


def _out(task: FeedTask, feed: Feed, serving: Serving, now_ms: int, stale: bool) -> FeedOut:
    return FeedOut(
        feed_id=uuid.uuid4().hex,
        user_id=task.user_id,
        items=[
            card(serving.parts.catalog, item.item_id, item.score, is_new=item.is_new, brought_by=item.brought_by)
            for item in feed.items
        ],
        model_version=feed.version,
        blend=feed.blend,
        degraded=feed.degraded,
        stale=stale,
        position=_token(feed, serving),
        newest_event_ms=feed.newest_event_ms,
        generated_ms=now_ms,
    )


def _token(feed: Feed, serving: Serving) -> str | None:
    if feed.position is None:
        return None
    return PositionToken(serving.parts.log.log_id, EVENTS, dict([feed.position])).encode()


def _exposure(out: FeedOut, feed: Feed, session_id: str | None) -> Exposure:
    """Everything the feed was made from, so that it can be made again."""
    return Exposure(
        feed_id=out.feed_id,
        user_id=out.user_id or session_id or f"session-{out.feed_id}",
        ts_ms=out.generated_ms,
        item_ids=tuple(item.item_id for item in out.items),
        model_version=out.model_version,
        newest_item_ts_ms=feed.newest_item_ms,
        position="{}:{}".format(*feed.position) if feed.position else None,
        degraded=out.degraded,
        blend=out.blend,
    )
