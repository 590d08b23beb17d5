"""What comes out of the merge, on partitions whose clocks the test moves."""

import time

import pytest

from stream.topics import EVENTS, EXPOSURES
from stream.windows.attribution import AttributionSettings
from stream.workers.acks import Source
from stream.workers.join import Join
from stream.workers.merge import FEW_WAITING, MAX_WAITING, Merge
from stream.workers.metrics import WorkerMetrics
from stream.workers.partition import JoinSettings
from tests.stream.workers.test_join import T0, WINDOW_MS, Sent, Table

SETTINGS = JoinSettings(AttributionSettings(window_ms=WINDOW_MS, lateness_ms=0))


class Site:
    """Two partitions of a join and a merge before it; a record is its event time."""

    def __init__(self) -> None:
        self.join = Join(Table(), Sent(), settings=SETTINGS, metrics=WorkerMetrics())
        for partition in (0, 1):
            for _ in self.join.restore(partition):
                pass
        self.paused: list[Source] = []
        self.resumed: list[Source] = []
        self.merge = Merge(self.join, pause=self.paused.append, resume=self.resumed.append)

    def add(self, topic: str, *times_ms: int, partition: int = 0) -> None:
        for ts_ms in times_ms:
            self.merge.add(Source(topic, partition), ts_ms)

    def applied(self, partition: int = 0, limit: int = 10_000) -> list[tuple[str, int]]:
        done = []
        for topic, ts_ms in self.merge.ready(partition, limit):
            self.join.partitions[partition]._clock.see(topic, ts_ms)
            done.append((topic, ts_ms - T0))
        return done

    def is_read(self, topic: str) -> None:
        self.join.partitions[0].note_left(topic, is_left=False)


@pytest.fixture
def site() -> Site:
    return Site()


def test_topic_that_is_a_window_ahead_waits_until_the_other_has_come_on(site: Site) -> None:
    site.add(EVENTS, T0)
    site.add(EXPOSURES, T0, T0 + WINDOW_MS, T0 + WINDOW_MS + 1, T0 + WINDOW_MS + 2)
    first = site.applied()

    site.add(EVENTS, T0 + 1)

    assert first == [(EVENTS, 0), (EXPOSURES, 0), (EXPOSURES, WINDOW_MS), (EXPOSURES, WINDOW_MS + 1)]
    assert site.applied() == [(EVENTS, 1), (EXPOSURES, WINDOW_MS + 2)]


def test_topic_does_not_wait_for_one_of_which_all_was_read(site: Site) -> None:
    site.add(EXPOSURES, T0, T0 + 1)
    first = site.applied()

    site.is_read(EVENTS)

    assert first == [(EXPOSURES, 0)]
    assert site.applied() == [(EXPOSURES, 1)]


def test_partitions_do_not_wait_for_each_other(site: Site) -> None:
    site.add(EXPOSURES, T0, T0 + 1, partition=0)
    site.add(EVENTS, T0, T0 + 1, partition=1)
    site.applied(0), site.applied(1)

    site.add(EXPOSURES, T0 + 1, partition=1)

    assert site.applied(1) == [(EXPOSURES, 1), (EVENTS, 1)]
    assert site.applied(0) == []


def test_no_more_is_taken_out_than_was_asked_for(site: Site) -> None:
    site.add(EVENTS, T0, T0, T0)
    site.is_read(EXPOSURES)

    assert site.applied(limit=2) == [(EVENTS, 0), (EVENTS, 0)]
    assert site.applied(limit=2) == [(EVENTS, 0)]


def test_partition_of_which_too_many_wait_is_fetched_no_further_until_few_are_left(site: Site) -> None:
    source = Source(EXPOSURES, 0)
    site.add(EXPOSURES, T0)
    site.applied()
    site.add(EXPOSURES, *[T0] * (MAX_WAITING - 1))
    assert site.paused == []

    site.add(EXPOSURES, T0, T0)

    assert site.paused == [source]
    site.is_read(EVENTS)
    site.applied(limit=MAX_WAITING - FEW_WAITING)
    assert site.resumed == []
    site.applied()
    assert site.resumed == [source]


def test_nothing_that_waits_outlives_a_rebalance(site: Site) -> None:
    site.add(EXPOSURES, *[T0] * (MAX_WAITING + 1))

    assert site.merge.clear() == [T0] * (MAX_WAITING + 1)

    site.is_read(EVENTS)
    assert site.applied() == []
    assert site.resumed == [Source(EXPOSURES, 0)]


def test_record_from_the_future_holds_nobody_up(site: Site) -> None:
    held = site.join.partitions[0]
    now_ms = time.time_ns() // 1_000_000
    held._clock.see(EVENTS, now_ms)

    held._clock.see(EXPOSURES, now_ms + 1_000 * WINDOW_MS)

    assert not held.is_ahead(EXPOSURES)
