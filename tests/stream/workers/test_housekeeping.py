"""A worker without Faust and brokers: what its agents are given, and what it does by the clock."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

import pytest
from faust.types import TP

from stream.events import Exposure, Interaction, encode
from stream.topics import COUNTS, EVENTS, EXPOSURES, OUTCOMES
from stream.workers.acks import Source
from stream.workers.chain import Chain
from stream.workers.housekeeping import Housekeeping
from stream.workers.intake import Intake
from stream.workers.join import CLOSE_AT_ONCE, Join
from stream.workers.lag import Lag
from stream.workers.metrics import WorkerMetrics
from tests.stream.workers.test_join import T0, WINDOW_MS, Sent, Table
from tests.stream.workers.test_lag import PREFIX, SETTINGS, Brokers


class Consumer(Brokers):
    """Faust's; nothing is on the log but what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = dict.fromkeys(self.ends, 0)
        self.n_asked = 0
        self.let_go_of: list[int] = []

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        self.n_asked += 1
        return await super().highwaters(*partitions)

    def let_go(self, message: Any) -> None:
        self.let_go_of.append(message.offset)


class Stream:
    """What Faust gives an agent; ends after these."""

    def __init__(self, records: list[Any]) -> None:
        self._records = records

    def noack(self) -> Self:
        return self

    async def events(self) -> AsyncIterator[Any]:
        for record in self._records:
            yield record


class Site:
    """One partition of a join behind an open intake."""

    def __init__(self) -> None:
        self.consumer, self.sent, metrics = Consumer(), Sent(), WorkerMetrics()
        app = SimpleNamespace(consumer=self.consumer, chain=Chain())
        self.join = Join(Table(), self.sent, settings=SETTINGS, metrics=metrics)
        for _ in self.join.restore(0):
            pass
        self.intake = Intake(app, self.join, prefix=PREFIX)
        self.intake.open()
        lag = Lag(app, self.join, prefix=PREFIX, metrics=metrics)
        self.house = Housekeeping(self.join, self.intake, lag=lag, metrics=metrics)

    def say(self, topic: str, *values: bytes) -> None:
        tp = TP(PREFIX + topic, 0)
        begin = self.consumer.ends[tp]
        self.consumer.ends[tp] += len(values)
        records = [record(tp, offset, value) for offset, value in enumerate(values, begin)]
        asyncio.run(self.intake.take(topic, Stream(records)))

    def keep_house(self) -> None:
        asyncio.run(self.house.keep_house())

    def n_handled(self, topic: str) -> int:
        return self.join.next_offsets.get(Source(topic, 0), 0)


def record(tp: TP, offset: int, value: bytes) -> Any:
    place = {"tp": tp, "partition": tp.partition, "offset": offset}
    message = SimpleNamespace(**place, key=b"ada", value=value, timestamp=T0 / 1_000)
    return SimpleNamespace(message=message, ack=lambda: None)


def exposure(ts_ms: int, user_id: str = "ada") -> bytes:
    return encode(Exposure(feed_id=f"feed-{user_id}-{ts_ms}", user_id=user_id, ts_ms=ts_ms, item_ids=("a",)))


def event(ts_ms: int, user_id: str) -> bytes:
    return encode(Interaction(event_id=f"event-{user_id}", user_id=user_id, item_id="a", ts_ms=ts_ms))


@pytest.fixture
def site() -> Site:
    return Site()


def test_records_that_wait_are_handled_once_the_other_topic_turns_out_to_be_read_to_its_end(site: Site) -> None:
    site.say(EXPOSURES, *(exposure(T0 + i * WINDOW_MS) for i in range(5)))
    at_first = site.n_handled(EXPOSURES)

    site.keep_house()

    assert (at_first, site.n_handled(EXPOSURES)) == (1, 5)


def test_windows_of_more_users_than_one_record_closes_are_closed_by_the_clock(site: Site) -> None:
    users = [f"user-{i}" for i in range(20)]
    site.say(EVENTS, *(event(T0, user_id) for user_id in users), event(T0 + 2 * WINDOW_MS, "bob"))
    site.say(EXPOSURES, *(exposure(T0, user_id) for user_id in users), exposure(T0 + 2 * WINDOW_MS, "bob"))
    at_first = len(site.sent.values(OUTCOMES))

    site.keep_house()

    assert (at_first, len(site.sent.values(OUTCOMES))) == (CLOSE_AT_ONCE, 20)


def test_nobody_is_asked_and_nothing_published_while_partitions_change_hands(site: Site) -> None:
    site.intake.close()

    site.keep_house()

    assert (site.consumer.n_asked, site.sent.records) == (0, [])


def test_nothing_is_published_when_partitions_are_lost_while_brokers_are_asked(site: Site) -> None:
    async def lose() -> None:
        site.intake.close()

    site.consumer.on_asked = lose
    site.keep_house()

    assert site.sent.values(COUNTS) == []


def test_counts_are_published_by_the_clock(site: Site) -> None:
    site.keep_house()

    assert len(site.sent.values(COUNTS)) == 1


def test_what_waits_and_what_still_comes_is_let_go_when_partitions_are_given_back(site: Site) -> None:
    site.say(EXPOSURES, exposure(T0), exposure(T0 + WINDOW_MS))

    site.intake.close()
    site.say(EXPOSURES, exposure(T0 + 2 * WINDOW_MS))

    assert (site.n_handled(EXPOSURES), site.consumer.let_go_of) == (1, [1, 2])
