"""Whose turn it is, on partitions whose clocks the test moves."""

import asyncio
from collections.abc import Callable

from stream.topics import EVENTS, EXPOSURES
from stream.windows.attribution import AttributionSettings
from stream.workers.join import Join
from stream.workers.metrics import WorkerMetrics
from stream.workers.partition import JoinSettings
from stream.workers.turns import Turns
from tests.stream.workers.test_join import T0, WINDOW_MS, Sent, Table, World

SETTINGS = JoinSettings(AttributionSettings(window_ms=WINDOW_MS, lateness_ms=0))
DEADLINE_S = 5.0


class Site:
    """Two partitions of a join, and turns over them."""

    def __init__(self) -> None:
        self.join = Join(Table(), Sent(), settings=SETTINGS, metrics=WorkerMetrics())
        for partition in (0, 1):
            for _ in self.join.restore(partition):
                pass
        self.turns = Turns(self.join)

    def see(self, topic: str, ts_ms: int, partition: int = 0) -> None:
        self.join.partitions[partition]._clock.see(topic, ts_ms)

    def wait(
        self, topic: str, partition: int = 0, *, is_full: Callable[[], bool] = lambda: False
    ) -> asyncio.Task[bool]:
        return asyncio.create_task(self.turns.wait(topic, partition, is_full=is_full))


def run(scene: Callable[[Site], object]) -> None:
    async def play() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await scene(Site())  # type: ignore[misc]

    asyncio.run(play())


async def stays(task: asyncio.Task[bool]) -> bool:
    done, _ = await asyncio.wait([task], timeout=0.05)
    return not done


def test_topic_that_is_a_window_ahead_waits_until_the_other_has_come_on() -> None:
    async def scene(site: Site) -> None:
        site.see(EVENTS, T0)
        site.see(EXPOSURES, T0 + WINDOW_MS + 1)
        turn = site.wait(EXPOSURES)
        assert await stays(turn)
        assert await site.wait(EVENTS)

        site.see(EVENTS, T0 + 1)

        assert await turn

    run(scene)


def test_topic_does_not_wait_for_one_of_which_all_was_read() -> None:
    async def scene(site: Site) -> None:
        site.see(EXPOSURES, T0)
        turn = site.wait(EXPOSURES)
        assert await stays(turn)

        site.join.partitions[0].note_left(EVENTS, is_left=False)

        assert await turn

    run(scene)


def test_topics_never_wait_for_each_other() -> None:
    async def scene(site: Site) -> None:
        site.see(EXPOSURES, T0, partition=0)
        site.see(EVENTS, T0, partition=1)
        first = site.wait(EXPOSURES, 0)
        assert await stays(first)

        assert await site.wait(EVENTS, 1)

        assert await stays(first)
        first.cancel()

    run(scene)


def test_topic_whose_queue_is_full_goes_on() -> None:
    async def scene(site: Site) -> None:
        site.see(EXPOSURES, T0)

        assert await site.wait(EXPOSURES, is_full=lambda: True)

    run(scene)


def test_record_of_before_a_rebalance_is_dropped() -> None:
    async def scene(site: Site) -> None:
        site.see(EXPOSURES, T0)
        turn = site.wait(EXPOSURES)
        assert await stays(turn)

        site.join.pause()
        site.see(EVENTS, T0)

        assert not await turn

    run(scene)


def test_record_from_the_future_holds_nobody_up() -> None:
    world = World()
    world.event("e1", "a", T0)
    held = world.join.partitions[0]
    held._clock.see(EVENTS, held._clock.wall_ms())

    held._clock.see(EXPOSURES, held._clock.wall_ms() + 10 * WINDOW_MS)

    assert not held.is_ahead(EXPOSURES)
