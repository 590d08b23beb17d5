"""A data set's items and interactions merged into one stream, in the order of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from stream.events import Interaction
from stream.replay.dataset import Dataset
from stream.replay.rows import ItemRow

Played = ItemRow | Interaction


def timeline(dataset: Dataset) -> Iterator[Played]:
    """Items and interactions merged by time.

    An item without a time of its own arrives just before its first interaction, or at the start when it has
    none. Items are held in memory.
    """
    touched, start_ms = _touched_items(dataset)
    untimed: dict[str, ItemRow] = {}
    with_time: list[ItemRow] = []
    for row in dataset.items():
        if row.is_timed:
            with_time.append(row)
        else:
            untimed[row.item.item_id] = row
    timed = deque(sorted(with_time, key=lambda row: row.item.ts_ms))
    yield from _arrived(timed, start_ms)
    for item_id in [item_id for item_id in untimed if item_id not in touched]:
        yield _at(untimed.pop(item_id), start_ms)
    for event in dataset.interactions():
        yield from _arrived(timed, event.ts_ms)
        if event.item_id in untimed:
            yield _at(untimed.pop(event.item_id), event.ts_ms)
        yield event
    yield from timed


def _touched_items(dataset: Dataset) -> tuple[set[str], int]:
    """Items somebody interacted with, and the time of the first interaction."""
    touched: set[str] = set()
    start_ms: int | None = None
    for event in dataset.interactions():
        start_ms = event.ts_ms if start_ms is None else start_ms
        touched.add(event.item_id)
    return touched, start_ms or 0


def _arrived(timed: deque[ItemRow], until_ms: int) -> Iterator[ItemRow]:
    while timed and timed[0].item.ts_ms <= until_ms:
        yield timed.popleft()


def _at(row: ItemRow, ts_ms: int) -> ItemRow:
    return row._replace(item=msgspec.structs.replace(row.item, ts_ms=ts_ms))
