from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stream.dead_letters import DeadLetters, Replayed, replay
from stream.embedded.log import EmbeddedLog
from stream.events import decode_dead_letter
from stream.log import Message, Record, UnknownTopic
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
    dead_letters = DeadLetters(log)
    dead_letters.send(record, "not UTF-8")
    dead_letters.flush(DEADLINE_S)
    (kept,) = read_all(log, DEAD_LETTER)
    letter = decode_dead_letter(kept.value)
    assert (letter.source_topic, letter.partition, letter.offset) == ("events", record.partition, 0)
    assert (letter.key, letter.value, letter.reason) == (b"anna", b"\xff\x00 not json", "not UTF-8")


def test_the_largest_record_fits_into_a_dead_letter(log: EmbeddedLog) -> None:
    log.publish("items", [Message(b"anna", b"\xff" * (1_000_000 - 4))]).result(DEADLINE_S)
    (record,) = read_all(log, "items")
    dead_letters = DeadLetters(log)
    dead_letters.send(record, "reason \ud800" * 1_000)
    dead_letters.flush(DEADLINE_S)
    letter = decode_dead_letter(read_all(log, DEAD_LETTER)[0].value)
    assert letter.value == record.value
    assert len(letter.reason) == 2_000


def test_replay_publishes_the_same_key_and_bytes_to_the_source_topic(log: EmbeddedLog) -> None:
    records = rejected(log, b"one", None, b"three")
    dead_letters = DeadLetters(log)
    for record in records:
        dead_letters.send(record, "mended since")
    dead_letters.flush(DEADLINE_S)
    assert replay(log, timeout_s=DEADLINE_S) == Replayed(n_replayed=3, n_skipped=0, next_offset=3)
    again = read_all(log, "events")[3:]
    assert [(r.key, r.value) for r in again] == [(b"anna", b"one"), (b"anna", None), (b"anna", b"three")]
    assert {r.partition for r in again} == {records[0].partition}


def test_replay_takes_what_is_selected_and_goes_on_where_the_last_one_ended(log: EmbeddedLog) -> None:
    dead_letters = DeadLetters(log)
    for record, reason in zip(rejected(log, b"1", b"2", b"3"), ["kind", "json", "kind"], strict=True):
        dead_letters.send(record, reason)
    dead_letters.flush(DEADLINE_S)
    result = replay(log, select=lambda letter: letter.reason == "kind", timeout_s=DEADLINE_S)
    assert result == Replayed(n_replayed=2, n_skipped=1, next_offset=3)
    assert replay(log, from_offset=result.next_offset, timeout_s=DEADLINE_S) == Replayed(0, 0, 3)


def test_replay_skips_and_counts_what_is_no_dead_letter(log: EmbeddedLog) -> None:
    log.publish(DEAD_LETTER, [Message(b"events", b"junk")]).result(DEADLINE_S)
    assert replay(log, timeout_s=DEADLINE_S) == Replayed(n_replayed=0, n_skipped=1, next_offset=1)


def test_replay_to_a_topic_that_is_gone_says_which(log: EmbeddedLog) -> None:
    dead_letters = DeadLetters(log)
    dead_letters.send(Record("gone", 0, 0, b"k", b"v", 0), "r")
    dead_letters.flush(DEADLINE_S)
    with pytest.raises(UnknownTopic, match="'gone'"):
        replay(log, timeout_s=DEADLINE_S)


def test_a_record_with_several_letters_is_replayed_once(log: EmbeddedLog) -> None:
    (record,) = rejected(log, b"bad for two readers")
    dead_letters = DeadLetters(log)
    dead_letters.send(record, "said by one")
    dead_letters.send(record, "said by another")
    dead_letters.flush(DEADLINE_S)
    assert replay(log, timeout_s=DEADLINE_S) == Replayed(n_replayed=1, n_skipped=1, next_offset=2)
