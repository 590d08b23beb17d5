"""What a broker sent, as our records: a batch at a time, without kafka-python's two objects a record.

Reading is mostly this. The format is Kafka's record batch of version 2, the only one that Kafka 4 writes:

    batch  = header of 61 bytes (read by kafka-python, with its checksum), then records, compressed or not
    record = length, attributes (1 byte), timestamp delta, offset delta, key length, key, value length, value, headers

Lengths and deltas are varints in zigzag: 7 bits a byte, the lowest first, the sign in the last bit. A length of -1 is
none. https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

from typing import Any

from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaError, UnsupportedForMessageFormatError
from kafka.protocol.consumer import IsolationLevel

from stream.kafka.connect import reason
from stream.log import Record

_new = tuple.__new__  # half the time of calling Record
MAGIC = 2
_ONE_BYTE = 128  # below it, a varint is this byte alone


def decode(batch: Any, topic: str, partition: int) -> list[Record]:  # noqa: ANN401 - kafka-python has no types
    """The records of one batch (kafka-python's `DefaultRecordBatch`), whose checksum was compared."""
    batch._maybe_uncompress()
    data = bytes(batch._buffer)
    pos: int = batch._pos
    base_offset = batch.base_offset
    is_append_time = batch.timestamp_type == batch.LOG_APPEND_TIME
    ts_ms = batch.max_timestamp if is_append_time else batch.first_timestamp
    records: list[Record] = []
    # Five varints a record, written out while they are of one byte, as most are: a call would cost more than the rest.
    for _ in range(batch.records_count):
        length, pos = _varint(data, pos)
        end = pos + length
        pos += 1  # past the attributes
        ts_delta = data[pos]
        if ts_delta < _ONE_BYTE:
            ts_delta, pos = (ts_delta >> 1) ^ -(ts_delta & 1), pos + 1
        else:
            ts_delta, pos = _varint(data, pos)
        offset_delta = data[pos]
        if offset_delta < _ONE_BYTE:
            offset_delta, pos = offset_delta >> 1, pos + 1
        else:
            offset_delta, pos = _varint(data, pos)
        key_length = data[pos]
        if key_length < _ONE_BYTE:
            key_length, pos = (key_length >> 1) ^ -(key_length & 1), pos + 1
        else:
            key_length, pos = _varint(data, pos)
        key = None
        if key_length >= 0:
            key = data[pos : pos + key_length]
            pos += key_length
        value_length, pos = _varint(data, pos)
        value = data[pos : pos + value_length] if value_length >= 0 else None
        if pos + value_length >= end or end > len(data):  # the number of headers is still to come
            raise CorruptRecordError(
                f"{topic}-{partition}: a record at {base_offset + offset_delta} ends where it should not"
            )
        pos = end  # past the headers
        at_ms = ts_ms if is_append_time else ts_ms + ts_delta
        records.append(_new(Record, (topic, partition, base_offset + offset_delta, key, value, at_ms)))
    return records


def _varint(data: bytes, pos: int) -> tuple[int, int]:
    """A number, and where it ends."""
    byte = data[pos]
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), pos + 1
    value = byte & 127
    shift = 7
    while True:
        pos += 1
        byte = data[pos]
        value |= (byte & 127) << shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1), pos + 1
        shift += 7


def records_of(topic: str) -> type[Fetcher.PartitionRecords]:
    """What kafka-python's fetcher is to make of a partition's bytes, with our name of the topic."""

    class OfTopic(_PartitionRecords):
        our_topic = topic

    return OfTopic


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """Decodes when it is asked for, a batch ahead; everything but decoding is as in kafka-python."""

    our_topic: str

    def __init__(self, fetch_offset: int, tp: Any, records: Any, **configs: Any) -> None:  # noqa: ANN401
        super().__init__(fetch_offset, tp, records, **configs)
        self.record_iterator = records  # not None while there may be more
        self._decoded: list[Record] = []
        self._n_taken = 0  # of those
        self._end_of_batch = fetch_offset

    def take(self, n: int) -> list[Record]:
        """The next records, up to n; fewer at the end, or before a batch that cannot be read.

        Such a batch ends what was fetched: reading goes on with it, fetched anew, and never behind it.

        Raises:
            KafkaError: it is the next one.
        """
        taken: list[Record] = []
        try:
            while len(taken) < n and (self._n_taken < len(self._decoded) or self._decode_next()):
                more = self._decoded[self._n_taken : self._n_taken + n - len(taken)]
                self._n_taken += len(more)
                is_batch_over = self._n_taken == len(self._decoded)
                # Past the end of a batch, too, whose last records compaction has removed.
                self.next_fetch_offset = self._end_of_batch if is_batch_over else more[-1].offset + 1
                taken = taken + more if taken else more
        except Exception as exc:  # codecs raise their own
            self.drain()
            if not taken and isinstance(exc, KafkaError):
                raise
            if not taken:
                place = f"{self.topic_partition} at {self.next_fetch_offset}"
                raise CorruptRecordError(f"{place} cannot be read: {reason(exc)}") from exc
        return taken

    def _decode_next(self) -> bool:
        """Decode the next batch with records for us; False at the end, when there is none."""
        batches = self.record_iterator
        batch = None if batches is None else batches.next_batch()
        while batch is not None:
            self._check(batch)
            self._decoded, self._n_taken = self._decode(batch), 0
            self._end_of_batch = batch.next_offset
            if self._decoded:
                return True
            self.next_fetch_offset = batch.next_offset
            batch = batches.next_batch()
        self.drain()
        return False

    def _check(self, batch: Any) -> None:  # noqa: ANN401
        if batch.magic != MAGIC:
            raise UnsupportedForMessageFormatError(f"{self.topic_partition}: message format {batch.magic}, not {MAGIC}")
        if self.check_crcs and not batch.validate_crc():
            raise CorruptRecordError(f"{self.topic_partition} at {batch.base_offset}: the checksum differs")

    def _decode(self, batch: Any) -> list[Record]:  # noqa: ANN401
        self.leader_epoch = batch.leader_epoch
        self.bytes_read += batch.size_in_bytes
        if self._is_for_nobody(batch):
            return []
        decoded = decode(batch, self.our_topic, self.topic_partition.partition)
        if decoded and decoded[0].offset < self.fetch_offset:  # a batch is sent whole
            return [record for record in decoded if record.offset >= self.fetch_offset]
        return decoded

    def _is_for_nobody(self, batch: Any) -> bool:  # noqa: ANN401
        """Markers of transactions, and what was written in one that was aborted; others may use them."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)
