"""Groups of readers on a real broker, where more than the contract is at stake: silence, errors, other processes."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from broker.cluster import Cluster
from stream.kafka.connect import connected
from stream.kafka.log import KafkaLog
from stream.kafka.settings import KafkaSettings
from stream.log import LogClosed, LogUnavailable, Message, NotAssigned, Record
from stream.topics import Topic
from tests.waiting import wait_until

pytestmark = pytest.mark.kafka
DEADLINE_S = 20.0
TOPICS = {"two": Topic("two", 2), "events": Topic("events", 4)}


@pytest.fixture
def settings(broker: Cluster) -> KafkaSettings:
    return KafkaSettings((broker.addresses,), prefix=f"t{uuid.uuid4().hex[:12]}-", session_timeout_s=6.0)


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    with closing(KafkaLog(settings, TOPICS)) as log:
        yield log


def test_who_was_silent_for_too_long_loses_its_partitions_and_takes_none_from_their_new_holder(
    settings: KafkaSettings, log: KafkaLog
) -> None:
    told: list[tuple[str, tuple[int, ...]]] = []
    with closing(KafkaLog(replace(settings, max_silence_s=1.0), TOPICS)) as forgetful:
        silent = forgetful.reader(
            "two",
            group="g",
            on_gained=lambda partitions: told.append(("silent gained", partitions)),
            on_lost=lambda partitions: told.append(("silent lost", partitions)),
        )
        wait_until(lambda: silent.poll(max_records=1, timeout_s=0.1) or silent.assigned() == (0, 1), "both")
        busy = log.reader(
            "two",
            group="g",
            on_gained=lambda partitions: told.append(("busy gained", partitions)),
            on_lost=lambda partitions: told.append(("busy lost", partitions)),
        )
        wait_until(
            lambda: busy.poll(max_records=1, timeout_s=0.1) or busy.assigned() == (0, 1), "both to be the other's"
        )
        with pytest.raises(NotAssigned, match=r"the group is or was divided anew"):
            silent.commit({0: 0})
        wait_until(
            lambda: (
                [reader.poll(max_records=1, timeout_s=0.05) for reader in (silent, busy)]
                and len(silent.assigned()) == len(busy.assigned()) == 1
            ),
            "one for each",
        )
    moved = told[-1][1]
    assert told == [
        ("silent gained", (0, 1)),
        ("busy gained", (0, 1)),
        ("silent lost", (0, 1)),
        ("busy lost", moved),
        ("silent gained", moved),
    ]


def test_partitions_that_stay_are_read_on_while_others_take_their_time_to_join(log: KafkaLog) -> None:
    with closing(log.reader("events", group="g")) as reads, closing(log.reader("events", group="g")) as slow:
        wait_until(
            lambda: (
                [reader.poll(max_records=1, timeout_s=0.05) for reader in (reads, slow)]
                and len(reads.assigned()) == len(slow.assigned()) == 2
            ),
            "two for each",
        )
        with closing(log.reader("events", group="g")) as joins:
            coordinator = reads._consumer._coordinator
            wait_until(
                lambda: (
                    [reader.poll(max_records=1, timeout_s=0.05) for reader in (reads, joins)]
                    and coordinator.rebalance_in_progress()
                ),
                "the group to be divided anew",
            )
            log.publish("events", [Message(b"user-%d" % i, b"v") for i in range(100)]).result(20)
            held, ends = reads.assigned(), log.ends("events")
            records: list[Record] = []
            wait_until(
                lambda: (
                    records.extend(reads.poll(max_records=100, timeout_s=0.05))
                    or len(records) == sum(ends[partition] for partition in held)
                ),
                "what is in the partitions that it holds",
            )
            assert coordinator.rebalance_in_progress()


def test_an_error_while_taking_over_is_raised_and_the_partition_gained_again(log: KafkaLog) -> None:
    tries: list[tuple[int, ...]] = []

    def restore(partitions: tuple[int, ...]) -> None:
        tries.append(partitions)
        if len(tries) == 1:
            raise OSError("no state yet")

    log.publish("two", [Message(b"user-%d" % i, b"v") for i in range(20)]).result(20)
    with closing(log.reader("two", group="g", on_gained=restore)) as reader:
        with pytest.raises(OSError, match="no state yet"):
            wait_until(lambda: bool(reader.poll(max_records=100, timeout_s=0.1)), "an error")
        records: list[Record] = []
        wait_until(
            lambda: records.extend(reader.poll(max_records=100, timeout_s=0.1)) or len(records) == 20, "all records"
        )
    assert tries == [(0, 1), (0, 1)]


def test_a_reader_that_leaves_is_replaced_long_before_its_session_would_end(settings: KafkaSettings) -> None:
    patient = replace(settings, session_timeout_s=30.0)
    with closing(KafkaLog(patient, TOPICS)) as log:
        leaves = log.reader("two", group="g")
        wait_until(lambda: leaves.poll(max_records=1, timeout_s=0.1) or leaves.assigned() == (0, 1), "both")
        leaves.close()
        started_s = time.monotonic()
        with closing(log.reader("two", group="g")) as comes:
            wait_until(lambda: comes.poll(max_records=1, timeout_s=0.1) or comes.assigned() == (0, 1), "both")
        assert time.monotonic() - started_s < 5


def test_a_log_closes_everything_when_a_reader_cannot_be_closed(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = KafkaLog(settings, TOPICS)
    bad, good = (log.reader("two", group=group) for group in ("bad", "good"))
    close = bad._consumer.close

    def refuse(**options: Any) -> None:
        close(**options)
        raise KafkaTimeoutError("leaving took too long")

    monkeypatch.setattr(bad._consumer, "close", refuse)
    with pytest.raises(LogUnavailable, match=r"leaving the readers of 'two': .*leaving took too long"):
        log.close()
    assert (good.is_closed, good._consumer._closed, log._admin._closed) == (True, True, True)


def test_a_log_closes_while_a_reader_still_looks_for_its_brokers(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_looking, may_find = Event(), Event()
    made: list[Any] = []

    def connected_late(make: Callable[..., Any], config: Mapping[str, Any]) -> Any:
        is_looking.set()
        assert may_find.wait(DEADLINE_S)
        made.append(connected(make, config))
        return made[-1]

    log = KafkaLog(settings, TOPICS)
    monkeypatch.setattr("stream.kafka.log.connected", connected_late)
    with ThreadPoolExecutor(2) as pool:
        reader = pool.submit(log.reader, "two", group="g")
        assert is_looking.wait(DEADLINE_S)
        try:
            pool.submit(log.close).result(DEADLINE_S)
        finally:
            may_find.set()
        with pytest.raises(LogClosed):
            reader.result(DEADLINE_S)
    assert made[0]._closed
