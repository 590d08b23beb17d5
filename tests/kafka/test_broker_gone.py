"""A broker of the test's own goes away and comes back; nothing acknowledged is lost, and nobody waits for ever."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from broker.cluster import Cluster
from stream.kafka.connect import connected
from stream.kafka.consumer import GroupConsumer
from stream.kafka.log import KafkaLog
from stream.kafka.reader import KafkaReader
from stream.kafka.settings import KafkaSettings
from stream.log import LogUnavailable, Message, Record
from stream.requests import Subscription
from stream.topics import Topic
from tests.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
TOPICS = {"events": Topic("events", 2), "one": Topic("one", 1)}


@pytest.fixture(scope="module")
def cluster(broker_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("kafka"), cache=broker_jars) as cluster:
        yield cluster


@pytest.fixture
def settings(cluster: Cluster, request: pytest.FixtureRequest) -> KafkaSettings:
    servers = (cluster.addresses,)
    prefix = f"t{abs(hash(request.node.name))}-"
    return KafkaSettings(servers, prefix=prefix, session_timeout_s=60.0, request_timeout_s=2.0, delivery_timeout_s=60.0)


def back(cluster: Cluster) -> None:
    (node,) = cluster.nodes
    node.start()
    node.wait()


def publish(log: KafkaLog, first: int, n: int) -> None:
    log.publish("one", [Message(b"k", b"%d" % i) for i in range(first, first + n)]).result(20)


def read_on(reader: KafkaReader, into: list[Record]) -> None:
    with suppress(LogUnavailable):
        into += reader.poll(max_records=1_000, timeout_s=0.2)


@pytest.mark.parametrize("away", ["stopped", "killed"])
def test_writers_and_readers_go_on_where_they_were(cluster: Cluster, settings: KafkaSettings, away: str) -> None:
    (node,) = cluster.nodes
    grouped: list[Record] = []
    named: list[Record] = []
    with closing(KafkaLog(settings, TOPICS)) as log:
        by_group, by_name = log.reader("one", group="g"), log.reader("one", partitions=[0])
        publish(log, 0, 100)
        wait_until(lambda: read_on(by_group, grouped) or len(grouped) == 100, "the first records by group")
        wait_until(lambda: read_on(by_name, named) or len(named) == 100, "the first records by name")
        by_group.commit()
        node.stop() if away == "stopped" else node.kill()
        waiting = [log.publish("one", [Message(b"k", b"%d" % i)]) for i in range(100, 200)]
        read_on(by_group, grouped)
        back(cluster)
        assert [future.result(30)[0].offset for future in waiting] == list(range(100, 200))
        wait_until(lambda: read_on(by_group, grouped) or len(grouped) >= 200, "the rest by group")
        wait_until(lambda: read_on(by_name, named) or len(named) >= 200, "the rest by name")
        by_group.commit()
        assert (by_group.lag(), by_group.committed()) == ({0: 0}, {0: 200})
    assert [record.value for record in grouped] == [record.value for record in named] == [b"%d" % i for i in range(200)]


def test_whoever_asks_an_absent_broker_is_told_in_time(cluster: Cluster, settings: KafkaSettings) -> None:
    impatient = replace(settings, delivery_timeout_s=3.0)
    with closing(KafkaLog(impatient, TOPICS)) as log:
        publish(log, 0, 10)
        reader = log.reader("one", group="g")
        records: list[Record] = []
        wait_until(lambda: read_on(reader, records) or len(records) == 10, "the records")
        cluster.nodes[0].stop()
        try:
            late = log.publish("one", [Message(b"k", b"late")])
            asks: list[Callable[[], object]] = [
                lambda: reader.commit({0: 10}),
                reader.lag,
                reader.committed,
                lambda: log.ends("one"),
                lambda: log.reader("one", group="other"),
                lambda: late.result(10),
            ]
            for ask in asks:
                started_s = time.monotonic()
                with pytest.raises(LogUnavailable):
                    ask()
                assert time.monotonic() - started_s < 8
        finally:
            back(cluster)
        publish(log, 10, 10)
        wait_until(lambda: read_on(reader, records) or len(records) >= 20, "records after the broker came back")
        assert reader.lag() == {0: 0}


def test_a_reader_that_cannot_join_leaves_no_connection_behind(cluster: Cluster, settings: KafkaSettings) -> None:
    consumer = connected(GroupConsumer, settings.consumer("g"))
    cluster.nodes[0].stop()
    try:
        with pytest.raises(LogUnavailable, match="looking for"):
            KafkaReader("one", consumer, settings=settings, subscription=Subscription("g", (), None, None))
    finally:
        back(cluster)
    assert consumer._closed


def test_writers_go_on_after_giving_up_what_was_on_its_way(cluster: Cluster, settings: KafkaSettings) -> None:
    (node,) = cluster.nodes
    with closing(KafkaLog(replace(settings, delivery_timeout_s=3.0), TOPICS)) as log:
        publish(log, 0, 10)
        os.kill(node.pid, signal.SIGSTOP)
        late = log.publish("one", [Message(b"k", b"late")])
        sender = log._delivery._producer._sender
        wait_until(lambda: any(sender._in_flight_batches.values()), "a batch is on its way")
        node.kill()
        with pytest.raises(LogUnavailable, match=r"Expiring 1 record\(s\)"):
            late.result(10)
        back(cluster)
        publish(log, 10, 10)
        assert log.ends("one")[0] >= 20


def test_a_producer_that_is_broken_for_good_is_replaced(cluster: Cluster, settings: KafkaSettings) -> None:
    with closing(KafkaLog(settings, TOPICS)) as log:
        publish(log, 0, 10)
        broken = log._delivery._producer
        broken._transaction_manager.transition_to_fatal_error(RuntimeError("its id was not answered in time"))
        publish(log, 10, 10)
        assert log._delivery._producer is not broken
        assert log.ends("one") == {0: 20}
