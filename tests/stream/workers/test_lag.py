"""How much is left to read, of brokers that answer when the test says so."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from stream.topics import EVENTS, EXPOSURES
from stream.windows.attribution import AttributionSettings
from stream.workers.acks import Source
from stream.workers.chain import Chain
from stream.workers.join import Join
from stream.workers.lag import Lag
from stream.workers.metrics import WorkerMetrics
from stream.workers.partition import JoinSettings
from tests.stream.workers.test_join import WINDOW_MS, Sent, Table

SETTINGS = JoinSettings(AttributionSettings(window_ms=WINDOW_MS, lateness_ms=0))
PREFIX = "shop-"


class Brokers:
    """The part of Faust's consumer that asks them; 10 records in every partition, of which none was read."""

    def __init__(self) -> None:
        self.ends: dict[TP, int] = {TP(PREFIX + topic, 0): 10 for topic in (EVENTS, EXPOSURES)}
        self.sought = dict.fromkeys(self.ends, 0)
        self.passed: dict[TP, int] = {}
        self.is_there = True
        self.on_asked: Callable[[], Awaitable[None]] | None = None

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        if self.on_asked is not None:
            await self.on_asked()
        if not self.is_there:
            raise KafkaConnectionError("no broker")
        return {tp: self.ends[tp] for tp in partitions if tp in self.ends}


class Site:
    """One partition of a join; `now_s` is what a watch shows."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.brokers, self.chain, self.metrics = Brokers(), Chain(), WorkerMetrics()
        self.join = Join(Table(), Sent(), settings=SETTINGS, metrics=self.metrics)
        for _ in self.join.restore(0):
            pass
        app = SimpleNamespace(consumer=self.brokers, chain=self.chain)
        self.lag = Lag(app, self.join, prefix=PREFIX, metrics=self.metrics, clock=lambda: self.now_s)

    def look(self) -> None:
        asyncio.run(self.lag.look())

    def fetched(self, topic: str, offset: int) -> None:
        self.chain.fetched(Source(PREFIX + topic, 0), offset)

    def handled(self, topic: str, offset: int) -> None:
        self.chain.handled(Source(PREFIX + topic, 0), offset)
        self.join.next_offsets[Source(topic, 0)] = offset + 1

    def read_all(self) -> None:
        for topic in (EVENTS, EXPOSURES):
            self.fetched(topic, 9)
            self.handled(topic, 9)

    def held(self) -> list[str]:
        clock = self.join.partitions[0]._clock
        return [topic for topic in (EVENTS, EXPOSURES) if clock.is_held(topic)]


@pytest.fixture
def site() -> Site:
    return Site()


def test_input_of_which_all_was_handled_may_be_idle_and_the_other_may_not(site: Site) -> None:
    site.fetched(EVENTS, 9)
    site.handled(EVENTS, 9)

    site.look()

    assert site.held() == [EXPOSURES]
    assert [site.metrics.lag_records.labels(topic)._value.get() for topic in (EVENTS, EXPOSURES)] == [0, 10]


def test_no_input_is_idle_while_brokers_are_asked(site: Site) -> None:
    site.read_all()
    site.look()
    before = site.held()
    meanwhile: list[list[str]] = []

    async def note() -> None:
        meanwhile.append(site.held())

    site.brokers.on_asked = note
    site.look()

    assert (before, meanwhile, site.held()) == ([], [[EVENTS, EXPOSURES]], [])


def test_no_input_is_idle_when_brokers_do_not_answer(site: Site) -> None:
    site.read_all()
    site.look()

    site.brokers.is_there = False
    site.look()

    assert site.held() == [EVENTS, EXPOSURES]


def test_answer_that_lacks_a_partition_leaves_its_input_held(site: Site) -> None:
    site.read_all()

    del site.brokers.ends[TP(PREFIX + EVENTS, 0)]
    site.look()

    assert site.held() == [EVENTS]


def test_answer_of_before_a_rebalance_lets_nothing_be_idle(site: Site) -> None:
    site.brokers.sought = dict.fromkeys(site.brokers.ends, 10)

    async def rebalance() -> None:
        site.join.pause()

    site.brokers.on_asked = rebalance
    site.look()

    assert site.held() == [EVENTS, EXPOSURES]


def test_end_without_records_that_come_is_read_once_all_before_it_were_handled(site: Site) -> None:
    """Behind a transaction's last record lies its marker, which nobody is given."""
    for topic in (EVENTS, EXPOSURES):
        site.fetched(topic, 8)
        site.brokers.passed[TP(PREFIX + topic, 0)] = 10
    site.handled(EVENTS, 8)

    site.look()

    assert site.held() == [EXPOSURES]


def test_partition_with_no_record_that_comes_is_read(site: Site) -> None:
    site.brokers.passed = dict(site.brokers.ends)

    site.look()

    assert site.held() == []


def test_brokers_are_silent_from_the_first_question_without_an_answer_until_the_next_answer(site: Site) -> None:
    site.brokers.is_there = False
    silent_s = [site.lag.unanswered_s]
    for _ in range(2):
        site.look()
        site.now_s += 1.5
        silent_s.append(site.lag.unanswered_s)

    site.brokers.is_there = True
    site.look()

    assert [*silent_s, site.lag.unanswered_s] == [0.0, 1.5, 3.0, 0.0]


def test_brokers_are_silent_from_when_an_answer_was_expected(site: Site) -> None:
    site.lag.expect()
    site.now_s += 2.0
    site.lag.expect()

    assert site.lag.unanswered_s == 2.0
