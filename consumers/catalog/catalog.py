"""The catalogue in memory: the last record of every item, rebuilt from the compacted `items` topic at each start.

Written by the catalog role, read by serving (titles, pictures) and by placement (content). Of an item the last record
on the log counts, whatever its event time: compaction keeps that one, so a start finds what was there before it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from models.content.table import ItemContent, split_sentences
from stream.events import ItemEvent, ItemUpsert


@dataclass(frozen=True)
class CatalogItem:
    """An item as it is now.

    Attributes:
        image: reference in the image store.
        ts_ms: event time of the upsert it comes from.
        text_vector: the user's own features, little-endian float16.
        image_vector: likewise.
    """

    item_id: str
    ts_ms: int
    title: str = ""
    text: str = ""
    image: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    text_vector: bytes | None = None
    image_vector: bytes | None = None

    @classmethod
    def of(cls, upsert: ItemUpsert) -> CatalogItem:
        """The item an upsert describes."""
        return cls(
            item_id=upsert.item_id,
            ts_ms=upsert.ts_ms,
            title=upsert.title,
            text=upsert.text,
            image=upsert.image,
            attributes=upsert.attributes,
            text_vector=upsert.text_vector,
            image_vector=upsert.image_vector,
        )

    @property
    def content(self) -> ItemContent:
        """What the towers take of it."""
        return ItemContent(
            item_id=self.item_id,
            sentences=split_sentences(self.title, self.text),
            image=self.image,
            text_vector=self.text_vector,
            image_vector=self.image_vector,
        )


class Changes(NamedTuple):
    """What happened since a version of the catalogue, and the version it is at now."""

    upserted: list[CatalogItem]
    removed: list[str]
    version: int


class _Entry(NamedTuple):
    item: CatalogItem | None  # None: removed
    version: int


class Catalog:
    """Items by id. Safe to read from any thread while one applies records."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._lock = Lock()
        self._n_items = 0
        self._version = 0  # counts changes
        self._newest_ts_ms: int | None = None

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and self.get(item_id) is not None

    @property
    def n_items(self) -> int:
        """Items that were not removed."""
        return self._n_items

    @property
    def newest_ts_ms(self) -> int | None:
        """The highest event time of an upsert; None before the first."""
        return self._newest_ts_ms

    def newest(self, k: int) -> list[str]:
        """Ids of the k newest items by event time, newest first."""
        newest = heapq.nlargest(k, self.items(), key=lambda item: item.ts_ms)
        return [item.item_id for item in newest]

    def get(self, item_id: str) -> CatalogItem | None:
        """The item; None where it was never seen or is removed."""
        entry = self._entries.get(item_id)
        return None if entry is None else entry.item

    def items(self) -> list[CatalogItem]:
        """All items, in the order in which they were first seen."""
        return self.changed_since(0).upserted

    def apply(self, event: ItemEvent) -> bool:
        """Take in one record, in the order of the log.

        Returns:
            Whether it changed anything: False for what is already known.
        """
        item = CatalogItem.of(event) if isinstance(event, ItemUpsert) else None
        with self._lock:
            known = self.get(event.item_id)
            if item == known:
                return False
            self._n_items += (item is not None) - (known is not None)
            self._version += 1
            self._entries[event.item_id] = _Entry(item, self._version)
            if item is not None:
                self._newest_ts_ms = max(item.ts_ms, self._newest_ts_ms or 0)
            return True

    def changed_since(self, version: int) -> Changes:
        """Items upserted and removed after a version; version 0 is the empty catalogue."""
        with self._lock:
            changed = [(key, entry) for key, entry in self._entries.items() if entry.version > version]
            return Changes(
                upserted=[entry.item for _, entry in changed if entry.item is not None],
                removed=[key for key, entry in changed if entry.item is None],
                version=self._version,
            )
