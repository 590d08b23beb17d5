"""What runs while the app is up: threads, the batcher, the exposure queue. The app's lifespan starts and stops it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request

from serving.batcher import Batcher
from serving.errors import Problem, publish_problem
from serving.exposures import Exposures
from serving.feed_maker import Feed, FeedMaker, FeedTask
from serving.forwarding import Forwarder
from serving.parts import ServingParts
from serving.pool import Pool, PoolFull
from serving.rates import EventRate
from serving.tokens import PositionToken
from stream.log import LogError, Message, Position
from stream.topics import EVENTS


def wall_ms() -> int:
    """Wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


class Serving:
    """The parts, and what answers requests with them."""

    def __init__(self, parts: ServingParts) -> None:
        settings = parts.settings
        self.parts = parts
        self.maker = FeedMaker(parts.slot, parts.sequences, parts.catalog, parts.counts, blend=parts.blend)
        self.forwarder = Forwarder(parts.replicas)
        self.pool = Pool("serving", n_threads=settings.n_threads, max_waiting=settings.max_waiting_jobs)
        self.stand_ins = Pool("stand-ins", n_threads=1, max_waiting=settings.max_waiting_feeds)  # no disk in its way
        self._publishing = Pool("publish", n_threads=settings.n_threads, max_waiting=settings.max_waiting_jobs)
        self.exposures = Exposures(parts.log, parts.metrics, max_waiting=settings.max_waiting_exposures)
        self.event_rate = EventRate(parts.metrics)
        self.n_partitions = len(parts.log.ends(EVENTS))
        self.batcher: Batcher[FeedTask, Feed] = Batcher(
            self._make_feeds,
            max_batch=settings.max_batch,
            max_waiting=settings.max_waiting_feeds,
        )

    def start(self) -> None:
        """Begin to answer; call on the event loop."""
        self.batcher.start()
        self.exposures.start()

    async def close(self) -> None:
        """Answer what is at work, publish the exposures that wait, end the threads."""
        await self.batcher.close()
        await self.forwarder.close()
        await asyncio.to_thread(self.exposures.close)
        for pool in (self.pool, self.stand_ins, self._publishing):
            await asyncio.to_thread(pool.close)

    async def publish(self, topic: str, messages: Sequence[Message]) -> list[Position]:
        """Publish and wait until it is durable.

        Raises:
            Problem: 503, not known to be durable: some of it may be written; 413, too large.
        """
        timeout_s = self.parts.settings.publish_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                durable = await self._publishing.run(self.parts.log.publish, topic, messages)
                return await asyncio.wrap_future(durable)
        except TimeoutError:
            detail = f"not confirmed: the log did not answer within {timeout_s} s; send the same again"
            raise Problem(503, detail) from None
        except (LogError, PoolFull) as exc:
            raise publish_problem(exc) from exc

    def token(self, topic: str, positions: Sequence[Position]) -> str:
        """A position token that covers these positions."""
        return PositionToken.after(self.parts.log.log_id, topic, positions).encode()

    def _make_feeds(self, tasks: Sequence[FeedTask]) -> list[Feed]:
        self.parts.metrics.feed_batch_requests.observe(len(tasks))
        return self.maker.make(tasks)


async def serving_of(request: Request) -> Serving:
    """The running app's state."""
    state = request.app.state.serving
    assert isinstance(state, Serving)
    return state


Running = Annotated[Serving, Depends(serving_of)]
