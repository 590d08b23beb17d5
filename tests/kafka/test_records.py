"""Our decoding of what a broker sends gives what kafka-python's own gives, whatever is in it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder

from stream.kafka.records import records_of
from stream.log import Record

AT = TopicPartition("p-events", 3)
GZIP = 1
Written = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]
bodies = st.one_of(st.none(), st.binary(max_size=20), st.integers(60, 20_000).map(lambda n: b"x" * n))
messages = st.tuples(
    st.integers(0, 2**41), bodies, bodies, st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2)
)
batches = st.lists(st.lists(messages, min_size=1, max_size=200), max_size=4)


def on_the_wire(written: list[list[Written]], *, compression: int = 0, first_offset: int = 0) -> bytes:
    """Batches as a broker sends them, each going on where the one before ended."""
    wire = bytearray()
    for batch in written:
        builder = MemoryRecordsBuilder(2, compression, 100_000_000)
        for ts_ms, key, value, headers in batch:
            builder.append(ts_ms, key, value, headers)
        builder.close()
        encoded = bytearray(builder.buffer())
        encoded[:8] = first_offset.to_bytes(8, "big")  # the broker's; not in the checksum
        first_offset += len(batch)
        wire += encoded
    return bytes(wire)


def all_of(kind: type[Fetcher.PartitionRecords], wire: bytes, fetch_offset: int, n: int) -> tuple[list[Any], list[int]]:
    """All records, taken n at a time, and where reading would go on after each take."""
    found = kind(fetch_offset, AT, MemoryRecords(wire))
    records: list[Any] = []
    offsets = []
    while found:
        records += found.take(n)
        offsets.append(found.next_fetch_offset)
    return records, offsets


@given(batches, st.sampled_from([0, GZIP]), st.integers(0, 30), st.integers(1, 300))
@settings(max_examples=150, deadline=None)
def test_the_same_records_as_kafka_python_reads(
    written: list[list[Written]], compression: int, skipped: int, n: int
) -> None:
    wire = on_the_wire(written, compression=compression, first_offset=2**33)
    ours, our_offsets = all_of(records_of("events"), wire, 2**33 + skipped, n)
    theirs, their_offsets = all_of(Fetcher.PartitionRecords, wire, 2**33 + skipped, n)
    assert ours == [Record("events", 3, r.offset, r.key, r.value, r.timestamp) for r in theirs]
    assert our_offsets[-1] == their_offsets[-1]


def test_reading_goes_on_after_the_last_record_taken() -> None:
    wire = on_the_wire([[(1, b"k", b"%d" % i, []) for i in range(5)], [(1, b"k", b"v", [])]], first_offset=10)
    found = records_of("events")(10, AT, MemoryRecords(wire))
    assert [record.offset for record in found.take(2)] == [10, 11]
    assert found.next_fetch_offset == 12
    assert [record.offset for record in found.take(9)] == [12, 13, 14, 15]
    assert found.next_fetch_offset == 16


def test_what_was_changed_on_its_way_is_refused_after_what_was_not() -> None:
    good, bad = [(1, b"k", b"good", [])], [(1, b"k", b"bad", [])]
    wire = on_the_wire([good, bad]).replace(b"bad", b"mad")
    found = records_of("events")(0, AT, MemoryRecords(wire))
    assert [record.value for record in found.take(10)] == [b"good"]
    with pytest.raises(CorruptRecordError, match="at 1: the checksum differs"):
        found.take(10)
