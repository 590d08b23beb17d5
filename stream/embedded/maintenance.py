"""What leaves the embedded log: records past their retention, and values that newer ones of their key replaced.

Deletions run in small transactions between the publishers', so nobody waits long. They make room inside
the file; the file itself does not shrink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from stream.embedded.store import LogFile
from stream.embedded.topic import TopicState

_SLICE = 5_000  # records a transaction, some ten milliseconds

Delete = Callable[[LogFile], None]


class Removed(NamedTuple):
    """How many records one maintenance removed; retired ones as a span of offsets."""

    retired: int
    compacted: int


def retirements(state: TopicState, file: LogFile, now_ms: int) -> Iterator[tuple[int, int, Delete]]:
    """Deletions of records appended before now_ms - retention_ms, as (partition, offsets freed, deletion)."""
    retention_ms = state.topic.retention_ms
    if retention_ms is None:
        return
    for partition, table in enumerate(state.tables):
        end = state.ends[partition]
        kept_from = file.first_since(table, now_ms - retention_ms)
        cut = end if kept_from is None else min(end, kept_from)
        for start in range(state.starts[partition], cut, _SLICE):
            below = min(start + _SLICE, cut)
            yield partition, below - start, _retire(state, partition, below)


def compactions(state: TopicState, file: LogFile, tombstones_before_ms: int) -> Iterator[tuple[int, Delete]]:
    """Deletions of replaced values and old tombstones, as (records, deletion).

    Ascending, so that a tombstone never goes before the values it deletes.
    """
    if not state.topic.compacted:
        return
    for partition, table in enumerate(state.tables):
        end = state.ends[partition]
        if state.compacted_to[partition] == end:
            continue
        offsets = file.superseded(table, tombstones_before_ms)
        for start in range(0, len(offsets), _SLICE):
            some = offsets[start : start + _SLICE]
            yield len(some), _compact(state, partition, some)
        if not file.has_tombstones(table):
            state.compacted_to[partition] = end


def _retire(state: TopicState, partition: int, below: int) -> Delete:
    def delete(file: LogFile) -> None:
        file.keep_next_offset(state.topic_id, partition, below)
        file.delete_below(state.tables[partition], below)

    return delete


def _compact(state: TopicState, partition: int, offsets: list[int]) -> Delete:
    def delete(file: LogFile) -> None:
        file.keep_next_offset(state.topic_id, partition, offsets[-1] + 1)
        file.delete(state.tables[partition], offsets)

    return delete
