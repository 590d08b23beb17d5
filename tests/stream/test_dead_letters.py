from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from stream.dead_letters import DeadLetters, Replayed, dead_letters, replay
from stream.embedded.log import EmbeddedLog
from stream.events import decode_dead_letter
from stream.log import Message, Record
from stream.topics import DEAD_LETTER, topics

DEADLINE_S = 10.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with closing(EmbeddedLog(tmp_path / "log.db", topics(2))) as log:
        yield log


def read_all(log: EmbeddedLog, topic: str) -> list[Record]:
    with closing(log.reader(topic, partitions=list(log.ends(topic)))) as reader:
        return reader.poll(max_records=1_000, timeout_s=0)


def rejected(log: EmbeddedLog, *values: bytes | None) -> list[Record]:
    log.publish("events", [Message(b"anna", value) for value in values]).result(DEADLINE_S)
    return read_all(log, "events")


def test_a_dead_letter_keeps_the_raw_bytes_and_where_they_came_from(log: EmbeddedLog) -> None:
    (record,) = rejected(log, b"\xff\x00 not json")
    letters = DeadLetters(log)
    letters.send(record, "not UTF-8")
    letters.flush(DEADLINE_S)
    (kept,) = read_all(log, DEAD_LETTER)
    letter = decode_dead_letter(kept.value)
    assert (letter.source_topic, letter.partition, letter.offset) == ("events", record.partition, 0)
    assert (letter.key, letter.value, letter.reason) == (b"anna", b"\xff\x00 not json", "not UTF-8")


def test_the_largest_record_fits_into_a_dead_letter(log: EmbeddedLog) -> None:
    log.publish("items", [Message(b"anna", b"\xff" * (1_000_000 - 4))]).result(DEADLINE_S)
    (record,) = read_all(log, "items")
    letters = DeadLetters(log)
    letters.send(record, "reason \ud800" * 1_000)
    letters.flush(DEADLINE_S)
    letter = decode_dead_letter(read_all(log, DEAD_LETTER)[0].value)
    assert letter.value == record.value
    assert len(letter.reason) == 2_000


@pytest.mark.parametrize(("n_key", "n_value", "kept"), [(4, 1_600_000, (4, 1_048_572)), (3_000_000, 9, (1_048_576, 0))])
def test_of_a_record_larger_than_any_of_ours_the_beginning_is_kept(
    log: EmbeddedLog, n_key: int, n_value: int, kept: tuple[int, int]
) -> None:
    letters = DeadLetters(log)
    letters.send(Record("items", 1, 7, b"k" * n_key, b"\xff" * n_value, 0), "\x00" * 9_000)
    letters.flush(DEADLINE_S)
    letter = decode_dead_letter(read_all(log, DEAD_LETTER)[0].value)
    assert (len(letter.key or b""), len(letter.value or b"")) == kept
    assert letter.reason.startswith(f"the first 1048576 of {n_key + n_value} bytes: \x00")
    assert list(replay(log, timeout_s=DEADLINE_S)) == [
        Replayed(
            n_replayed=0,
            n_skipped=1,
            next_offset=1,
            refused=("items[1] offset 7: message of 1048576 bytes for topic 'items'; the limit is 1000000: send less",),
        )
    ]


def test_replay_publishes_the_same_key_and_bytes_to_the_source_topic(log: EmbeddedLog) -> None:
    records = rejected(log, b"one", None, b"three")
    letters = DeadLetters(log)
    for record in records:
        letters.send(record, "mended since")
    letters.flush(DEADLINE_S)
    assert list(replay(log, timeout_s=DEADLINE_S)) == [Replayed(n_replayed=3, n_skipped=0, next_offset=3)]
    again = read_all(log, "events")[3:]
    assert [(r.key, r.value) for r in again] == [(b"anna", b"one"), (b"anna", None), (b"anna", b"three")]
    assert {r.partition for r in again} == {records[0].partition}


def test_replay_takes_what_is_selected_and_goes_on_where_the_last_one_ended(log: EmbeddedLog) -> None:
    letters = DeadLetters(log)
    for record, reason in zip(rejected(log, b"1", b"2", b"3"), ["kind", "json", "kind"], strict=True):
        letters.send(record, reason)
    letters.flush(DEADLINE_S)
    (result,) = replay(log, select=lambda letter: letter.reason == "kind", timeout_s=DEADLINE_S)
    assert result == Replayed(n_replayed=2, n_skipped=1, next_offset=3)
    assert list(replay(log, from_offset=result.next_offset, timeout_s=DEADLINE_S)) == []


def test_replay_skips_and_counts_what_is_no_dead_letter(log: EmbeddedLog) -> None:
    log.publish(DEAD_LETTER, [Message(b"events", b"junk")]).result(DEADLINE_S)
    assert list(replay(log, timeout_s=DEADLINE_S)) == [Replayed(n_replayed=0, n_skipped=1, next_offset=1)]


def test_what_the_log_refuses_is_skipped_and_said_and_the_rest_is_replayed(log: EmbeddedLog) -> None:
    letters = DeadLetters(log)
    for offset, (topic, key, value) in enumerate(
        [("gone", b"k", b"v"), ("events", b"k", b"x" * 70_000), ("items", None, None), ("events", b"k", b"fits")]
    ):
        letters.send(Record(topic, 1, offset, key, value, 0), "r")
    letters.flush(DEADLINE_S)
    (result,) = replay(log, timeout_s=DEADLINE_S)
    assert (result.n_replayed, result.n_skipped, result.next_offset) == (1, 3, 4)
    assert result.refused == (
        "gone[1] offset 0: topic 'gone' is not one of " + ", ".join(topics()),
        "events[1] offset 1: message of 70001 bytes for topic 'events'; the limit is 65536: send less",
        "items[1] offset 2: message for topic 'items' with neither key nor value; give one",
    )
    assert [record.value for record in read_all(log, "events")] == [b"fits"]


def test_the_time_limit_is_of_each_batch(log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.publish(DEAD_LETTER, [Message(b"events", b"junk")] * 2_001).result(DEADLINE_S)
    ticks = count()
    monkeypatch.setattr("stream.dead_letters.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    assert [len(batch) for batch in dead_letters(log, timeout_s=2.5)] == [500, 500, 500, 500, 1]


def test_a_record_with_several_letters_is_replayed_once(log: EmbeddedLog) -> None:
    (record,) = rejected(log, b"bad for two readers")
    letters = DeadLetters(log)
    letters.send(record, "said by one")
    letters.send(record, "said by another")
    letters.flush(DEADLINE_S)
    assert list(replay(log, timeout_s=DEADLINE_S)) == [Replayed(n_replayed=1, n_skipped=1, next_offset=2)]
