"""What every log promises. One suite, run on each implementation."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from stream.kafka.log import KafkaLog
from stream.log import (
    Log,
    LogClosed,
    Message,
    MessageTooLarge,
    NotAssigned,
    Position,
    QueueFull,
    Reader,
    Record,
    UnknownTopic,
)
from stream.partition import partition_of
from tests.contract.embedded_harness import EmbeddedHarness
from tests.contract.harness import FILLER_KEY, HOUR_MS, Harness

DEADLINE_S = 20.0


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    if request.param == "embedded":
        harness: Harness = EmbeddedHarness(tmp_path)
    else:
        from tests.contract.kafka_harness import KafkaHarness  # noqa: PLC0415 - needs the broker's packages

        harness = KafkaHarness(request.getfixturevalue("broker"))
    yield harness
    harness.close()


@pytest.fixture
def log(harness: Harness) -> Log:
    return harness.open()


def put(log: Log, topic: str, *messages: tuple[bytes | None, bytes | None]) -> list[Position]:
    return log.publish(topic, [Message(*message) for message in messages]).result(DEADLINE_S)


def take(reader: Reader, n_records: int) -> list[Record]:
    """Exactly so many records, and no more at once."""
    records: list[Record] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while len(records) < n_records and time.monotonic() < deadline_s:
        polled = reader.poll(max_records=1_000, timeout_s=0.2)
        records += [record for record in polled if record.key != FILLER_KEY]
    assert len(records) == n_records
    return records


def poll_until(readers: list[Reader], is_reached: Callable[[], bool]) -> list[Record]:
    records: list[Record] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_reached():
        assert time.monotonic() < deadline_s, "not reached in time"
        for reader in readers:
            records += reader.poll(max_records=1_000, timeout_s=0.02)
    return records


def test_published_records_come_back_with_all_their_fields(log: Log) -> None:
    before_ms = time.time_ns() // 1_000_000
    put(log, "one", (b"k", b"v"))
    with closing(log.reader("one", partitions=[0])) as reader:
        (record,) = take(reader, 1)
    assert record._replace(ts_ms=0) == Record("one", 0, 0, b"k", b"v", 0)
    assert before_ms <= record.ts_ms <= time.time_ns() // 1_000_000


def test_a_key_stays_in_order_in_the_partition_of_its_hash(log: Log) -> None:
    for i in range(50):
        put(log, "events", (b"anna", b"%d" % i), (b"bert", b"%d" % i))
    with closing(log.reader("events", group="g")) as reader:
        records = take(reader, 100)
    anna = [record for record in records if record.key == b"anna"]
    assert [record.value for record in anna] == [b"%d" % i for i in range(50)]
    assert {record.partition for record in anna} == {partition_of(b"anna", 4)}


def test_positions_are_those_the_records_are_read_at(log: Log) -> None:
    positions = put(log, "events", *((b"user-%d" % i, b"%d" % i) for i in range(20)))
    with closing(log.reader("events", group="g")) as reader:
        found = {record.value: Position(record.partition, record.offset) for record in take(reader, 20)}
    assert [found[b"%d" % i] for i in range(20)] == positions


def test_ends_are_the_next_offsets(log: Log) -> None:
    assert log.ends("two") == {0: 0, 1: 0}
    put(log, "one", (b"a", b"1"), (b"b", b"2"), (None, b"3"))
    assert log.ends("one") == {0: 3}


def test_messages_without_a_key_go_to_every_partition(log: Log) -> None:
    positions = put(log, "events", *((None, b"%d" % i) for i in range(40)))
    assert {position.partition for position in positions} == {0, 1, 2, 3}


def test_an_empty_publish_is_done_at_once(log: Log) -> None:
    assert put(log, "events") == []


@pytest.mark.parametrize(
    "value", [None, b"", b"\x00", bytes(range(256)), b"x" * 1_000_000], ids=["none", "empty", "nul", "all", "large"]
)
def test_any_value_comes_back_as_it_was(log: Log, value: bytes | None) -> None:
    put(log, "one", (b"k", value))
    with closing(log.reader("one", partitions=[0])) as reader:
        assert take(reader, 1)[0].value == value


def test_a_message_above_the_limit_is_refused_and_nothing_of_its_publish_is_written(log: Log) -> None:
    with pytest.raises(MessageTooLarge, match="message of 1048577 bytes for topic 'one'; the limit is 1048576"):
        log.publish("one", [Message(b"k", b"v"), Message(b"k", b"x" * 1_048_576)])
    assert log.ends("one") == {0: 0}


def test_a_message_with_neither_key_nor_value_is_refused_and_nothing_of_its_publish_is_written(log: Log) -> None:
    with pytest.raises(ValueError, match="message for topic 'one' with neither key nor value"):
        log.publish("one", [Message(b"k", b"v"), Message(None, None)])
    assert log.ends("one") == {0: 0}


def test_unknown_topics_and_partitions_are_refused(log: Log) -> None:
    with pytest.raises(UnknownTopic, match="'nope'"):
        log.publish("nope", [Message(b"k", b"v")])
    with pytest.raises(UnknownTopic, match="7"):
        log.reader("events", partitions=[7])
    with pytest.raises(ValueError, match="give one"):
        log.reader("events")


def test_records_not_committed_come_again_after_a_crash(harness: Harness, log: Log) -> None:
    put(log, "one", *((b"k", b"%d" % i) for i in range(10)))
    reader = log.reader("one", group="g")
    take(reader, 10)
    reader.commit({0: 4})
    log = harness.crash()
    with closing(log.reader("one", group="g")) as reader:
        assert [record.offset for record in take(reader, 6)] == [4, 5, 6, 7, 8, 9]
        assert reader.committed() == {0: 4}


def test_committed_records_do_not_come_again(harness: Harness, log: Log) -> None:
    put(log, "one", (b"k", b"1"), (b"k", b"2"))
    reader = log.reader("one", group="g")
    take(reader, 2)
    reader.commit()
    log = harness.crash()
    put(log, "one", (b"k", b"3"))
    with closing(log.reader("one", group="g")) as reader:
        assert [record.value for record in take(reader, 1)] == [b"3"]


def test_groups_read_independently(log: Log) -> None:
    put(log, "one", (b"k", b"v"))
    with closing(log.reader("one", group="a")) as a, closing(log.reader("one", group="b")) as b:
        assert take(a, 1) == take(b, 1)


def test_partitions_are_shared_and_each_record_is_read_by_one(log: Log) -> None:
    with closing(log.reader("events", group="g")) as a, closing(log.reader("events", group="g")) as b:
        poll_until([a, b], lambda: len(a.assigned()) == len(b.assigned()) == 2)
        assert sorted(a.assigned() + b.assigned()) == [0, 1, 2, 3]
        put(log, "events", *((b"user-%d" % i, b"%d" % i) for i in range(40)))
        records = poll_until([a, b], lambda: not any([*a.lag().values(), *b.lag().values()]))
    assert sorted(record.value or b"" for record in records) == sorted(b"%d" % i for i in range(40))


def test_a_joining_reader_is_told_what_it_gained_and_the_other_what_it_lost(log: Log) -> None:
    told: list[tuple[str, tuple[int, ...]]] = []
    a = log.reader(
        "two",
        group="g",
        on_gained=lambda partitions: told.append(("a gained", partitions)),
        on_lost=lambda partitions: told.append(("a lost", partitions)),
    )
    poll_until([a], lambda: a.assigned() == (0, 1))
    b = log.reader("two", group="g", on_gained=lambda partitions: told.append(("b gained", partitions)))
    poll_until([a, b], lambda: len(b.assigned()) == 1)
    moved = b.assigned()
    assert told == [("a gained", (0, 1)), ("a lost", moved), ("b gained", moved)]
    a.close()
    b.close()
    assert told[-1] == ("a lost", tuple({0, 1} - set(moved)))


def test_a_leaving_reader_leaves_its_uncommitted_records_to_the_others(log: Log) -> None:
    put(log, "events", *((b"user-%d" % i, b"%d" % i) for i in range(40)))
    with closing(log.reader("events", group="g")) as stays:
        leaves = log.reader("events", group="g")
        poll_until([stays, leaves], lambda: len(leaves.assigned()) == 2)
        leaves.close()
        records = poll_until([stays], lambda: len(stays.assigned()) == 4 and not any(stays.lag().values()))
    assert {record.value for record in records} <= {b"%d" % i for i in range(40)}
    with closing(log.reader("events", group="g")) as reader:
        assert len(take(reader, 40)) == 40


def test_a_partition_that_was_lost_cannot_be_committed(log: Log) -> None:
    put(log, "two", (b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4"))
    with closing(log.reader("two", group="g")) as a:
        take(a, 4)
        with closing(log.reader("two", group="g")) as b:
            poll_until([a, b], lambda: len(b.assigned()) == 1)
            (lost,) = b.assigned()
            with pytest.raises(NotAssigned, match=f"partitions \\[{lost}\\] of 'two' are not this reader's"):
                a.commit({lost: 1})
            assert b.committed() == {lost: 0}


def test_where_a_losing_reader_committed_the_next_one_goes_on_and_else_it_reads_again(log: Log) -> None:
    put(log, "two", (b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4"))
    commits: list[str] = []

    def commit(_: tuple[int, ...]) -> None:
        try:
            a.commit()
            commits.append("taken")
        except NotAssigned:  # Kafka, when the group begins to divide anew at this very moment
            commits.append("refused")

    with closing(log.reader("two", group="g", on_lost=commit)) as a:
        take(a, 4)
        with closing(log.reader("two", group="g")) as b:
            poll_until([a, b], lambda: len(b.assigned()) == 1)
            (moved,) = b.assigned()
            assert commits[-1] in ("taken", "refused")
            assert isinstance(log, KafkaLog) or commits == ["taken"]
            assert b.committed()[moved] == (log.ends("two")[moved] if "taken" in commits else 0)


def test_a_closed_reader_can_neither_poll_nor_commit(log: Log) -> None:
    reader = log.reader("one", group="g")
    reader.poll(max_records=1, timeout_s=0)
    reader.close()
    with pytest.raises(LogClosed, match="closed"):
        reader.poll(max_records=1, timeout_s=0)
    with pytest.raises(LogClosed, match="closed"):
        reader.commit({0: 0})


def test_a_reader_of_named_partitions_starts_at_the_oldest_and_has_no_group_to_commit_for(log: Log) -> None:
    put(log, "two", (b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4"))
    with closing(log.reader("two", partitions=[1])) as reader:
        assert reader.assigned() == (1,)
        records = take(reader, log.ends("two")[1])
        assert [record.offset for record in records] == list(range(len(records)))
        with pytest.raises(NotAssigned, match="no group"):
            reader.commit()


def test_compaction_keeps_the_newest_value_of_each_key_at_its_offset(harness: Harness, log: Log) -> None:
    for i in range(5):
        put(log, "items", (b"a", b"a%d" % i), (b"b", b"b%d" % i))
    newest = put(log, "items", (b"a", b"last a"), (b"b", b"last b"))
    harness.maintain(time.time_ns() // 1_000_000)
    with closing(log.reader("items", group="g")) as reader:
        found = {record.value: Position(record.partition, record.offset) for record in take(reader, 2)}
    assert found == {b"last a": newest[0], b"last b": newest[1]}


def test_a_tombstone_deletes_its_key_and_goes_itself_after_the_grace(harness: Harness, log: Log) -> None:
    put(log, "items", (b"a", b"1"), (b"b", b"1"), (b"a", None))
    now_ms = time.time_ns() // 1_000_000
    harness.maintain(now_ms)
    with closing(log.reader("items", group="early")) as reader:
        assert sorted((r.key, r.value) for r in take(reader, 2)) == [(b"a", None), (b"b", b"1")]
    harness.maintain(now_ms + 2 * HOUR_MS)
    with closing(log.reader("items", group="late")) as reader:
        assert [(r.key, r.value) for r in take(reader, 1)] == [(b"b", b"1")]


def test_offsets_go_on_after_everything_was_removed(harness: Harness, log: Log) -> None:
    put(log, "events", *((b"anna", b"%d" % i) for i in range(7)))
    harness.maintain(time.time_ns() // 1_000_000 + 2 * HOUR_MS)
    log = harness.crash()
    assert put(log, "events", (b"anna", b"next")) == [Position(partition_of(b"anna", 4), 7)]


def test_retention_removes_only_what_is_old_and_readers_go_on_at_the_oldest_kept(harness: Harness, log: Log) -> None:
    put(log, "events", (b"anna", b"1"), (b"anna", b"2"))
    harness.maintain(time.time_ns() // 1_000_000 + 2 * HOUR_MS)
    put(log, "events", (b"anna", b"3"))
    harness.maintain(time.time_ns() // 1_000_000)
    with closing(log.reader("events", group="g")) as reader:
        assert [(r.offset, r.value) for r in take(reader, 1)] == [(2, b"3")]


def test_a_full_queue_is_refused_and_everything_accepted_is_written_once_in_order(harness: Harness, log: Log) -> None:
    with harness.stalled():
        accepted = [log.publish("one", [Message(b"k", b"%d" % i)] * 10) for i in range(10)]
        with pytest.raises(QueueFull, match="slow down and publish again"):
            log.publish("one", [Message(b"k", b"refused")])
        assert not any(future.done() for future in accepted)
    assert [p.offset for future in accepted for p in future.result(DEADLINE_S)] == list(range(100))
    put(log, "one", (b"k", b"after"))
    with closing(log.reader("one", partitions=[0])) as reader:
        values = [record.value for record in take(reader, 101)]
    assert values == [b"%d" % (i // 10) for i in range(100)] + [b"after"]


def test_one_publish_larger_than_the_queue_is_taken_when_the_queue_is_empty(log: Log) -> None:
    assert len(put(log, "one", *[(b"k", b"v")] * 5_000)) == 5_000


def test_seek_moves_the_next_poll_back_and_forth(log: Log) -> None:
    put(log, "one", *((b"k", b"%d" % i) for i in range(10)))
    with closing(log.reader("one", group="g")) as reader:
        take(reader, 10)
        reader.seek(0, 8)
        assert [record.offset for record in take(reader, 2)] == [8, 9]
        with pytest.raises(NotAssigned, match="partitions \\[3\\]"):
            reader.seek(3, 0)


def test_state_restored_when_gained_decides_where_reading_starts(log: Log) -> None:
    put(log, "one", *((b"k", b"%d" % i) for i in range(10)))
    reader = log.reader("one", group="g", on_gained=lambda partitions: reader.seek(partitions[0], 7))
    with closing(reader):
        assert [record.offset for record in take(reader, 3)] == [7, 8, 9]


def test_poll_gives_at_most_what_was_asked_and_no_partition_starves(log: Log) -> None:
    for _ in range(10):  # 10 MB a partition: it may be read on for as much as one fetch brings
        put(log, "two", *[(None, b"v" * 100_000)] * 20)
    n_read = {0: 0, 1: 0}
    with closing(log.reader("two", group="g")) as reader:
        while not all(n_read.values()):
            records = reader.poll(max_records=10, timeout_s=1.0)
            assert len(records) <= 10
            for record in records:
                n_read[record.partition] += 1
    assert max(n_read.values()) < 100


def test_lag_is_what_was_not_polled(log: Log) -> None:
    put(log, "one", *((b"k", b"%d" % i) for i in range(10)))
    with closing(log.reader("one", group="g")) as reader:
        reader.poll(max_records=4, timeout_s=1.0)
        assert reader.lag() == {0: 6}


def test_poll_returns_empty_after_its_timeout(log: Log) -> None:
    with closing(log.reader("one", group="g")) as reader:
        started_s = time.monotonic()
        assert reader.poll(max_records=1, timeout_s=0.1) == []
        assert 0.1 <= time.monotonic() - started_s < 5.0


def test_a_waiting_reader_wakes_as_soon_as_something_is_published(log: Log) -> None:
    with closing(log.reader("one", group="g")) as reader, ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            waiting = pool.submit(reader.poll, max_records=1, timeout_s=DEADLINE_S)
            put(log, "one", (b"k", b"v"))
            assert len(waiting.result(DEADLINE_S / 2)) == 1  # one that is not woken waits for its timeout


def test_a_closed_log_refuses_everything(log: Log) -> None:
    reader = log.reader("one", group="g")
    log.close()
    with pytest.raises(LogClosed, match="closed"):
        log.publish("one", [Message(b"k", b"v")])
    with pytest.raises(LogClosed, match="closed"):
        log.reader("one", group="g")
    with pytest.raises(LogClosed, match="closed"):
        reader.poll(max_records=1, timeout_s=0)


def test_close_writes_what_was_accepted(harness: Harness, log: Log) -> None:
    futures = [log.publish("one", [Message(b"k", b"v")]) for _ in range(50)]
    log.close()
    assert [future.result(0)[0].offset for future in futures] == list(range(50))
    assert harness.open().ends("one") == {0: 50}


def test_a_log_keeps_its_id(harness: Harness, log: Log) -> None:
    first = log.log_id
    assert harness.crash().log_id == first
    assert len(first) == 32
