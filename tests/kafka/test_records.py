"""Our decoding of what a broker sends gives what kafka-python's own gives, whatever is in it."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.codec import has_lz4, has_snappy, has_zstd
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from stream.kafka.records import records_of
from stream.log import Record
from tests.skipping import skip_unless_ci

AT = TopicPartition("p-events", 3)
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
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


@pytest.mark.parametrize(
    ("compression", "is_installed"), [(SNAPPY, has_snappy()), (LZ4, has_lz4()), (ZSTD, has_zstd())]
)
def test_whatever_a_client_compresses_with_is_read(compression: int, is_installed: bool) -> None:
    if not is_installed:
        skip_unless_ci("the library of this compression is not installed here: make setup")
    wire = on_the_wire([[(1, b"k", b"v" * 3_000_000, [])]], compression=compression)
    assert len(wire) < 200_000
    (record,) = records_of("events")(0, AT, MemoryRecords(wire)).take(10)
    assert record.value == b"v" * 3_000_000


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
    assert [record.value for record in records_of("events")(0, AT, MemoryRecords(wire)).take(10)] == [b"good"]
    with pytest.raises(CorruptRecordError, match="at 1: the checksum differs"):
        records_of("events")(1, AT, MemoryRecords(wire)).take(10)


def cannot_be_unpacked(wire: bytes) -> bytes:
    """Batches whose compressed bytes are no gzip; their checksums are right."""
    batch = bytearray(wire)
    batch[61:65] = b"oops"
    batch[17:21] = calc_crc32c(memoryview(batch)[21:]).to_bytes(4, "big")
    return bytes(batch)


@pytest.mark.parametrize("n", [1, 10])
@pytest.mark.parametrize("n_before", [0, 2])
@pytest.mark.parametrize("kind", ["changed", "no gzip"])
def test_nothing_after_a_batch_that_cannot_be_read_is_given(kind: str, n_before: int, n: int) -> None:
    before = on_the_wire([[(1, b"k", b"before", [])] * n_before])
    bad = on_the_wire([[(1, b"k", b"bad" * 99, [])]], compression=GZIP * (kind == "no gzip"), first_offset=n_before)
    bad = bad.replace(b"bad", b"mad") if kind == "changed" else cannot_be_unpacked(bad)
    after = on_the_wire([[(1, b"k", b"after", [])]], first_offset=n_before + 1)
    wire = (before if n_before else b"") + bad + after
    found = records_of("events")(0, AT, MemoryRecords(wire))
    given = []
    for _ in range(9):
        with suppress(CorruptRecordError):
            given += [record.value for record in found.take(n)] if found else []
    assert given == [b"before"] * n_before
    assert found.next_fetch_offset == n_before  # where it is fetched again
    assert not found


def test_what_a_codec_says_is_raised_with_the_place() -> None:
    wire = cannot_be_unpacked(on_the_wire([[(1, b"k", b"bad" * 99, [])]], compression=GZIP, first_offset=7))
    with pytest.raises(CorruptRecordError, match=r"partition=3\) at 7 cannot be read: BadGzipFile: Not a gzipped file"):
        records_of("events")(7, AT, MemoryRecords(wire)).take(10)
