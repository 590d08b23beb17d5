"""The training buffer on disk: Parquet segments and the manifest that says which of them count.

    events-<n>.parquet   interactions in the order of the log
    items-<n>.parquet    item upserts and removals in the order of the log
    manifest.json        segments with the offsets they hold, and the next offset of each topic's partitions

A segment that is not in the manifest does not exist. This is the reading side, for any process;
`consumers.learning.training_buffer` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream.events import ItemUpsert
from stream.topics import EVENTS, ITEMS

MANIFEST = "manifest.json"
FORMAT = 1

EVENT_SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("ts_ms", pa.int64()),
        ("kind", pa.string()),
        ("feed_id", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
    ]
)
ITEM_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("ts_ms", pa.int64()),
        ("is_removed", pa.bool_()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("image", pa.string()),
        ("attributes", pa.string()),  # JSON
        ("text_vector", pa.binary()),
        ("image_vector", pa.binary()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
    ]
)
SCHEMAS = {EVENTS: EVENT_SCHEMA, ITEMS: ITEM_SCHEMA}
_WITHOUT = {EVENTS: "it goes on without its events", ITEMS: "the items are read from the log again"}


class BadManifest(Exception):
    """The manifest cannot be used; the message says why and what to do."""


class BadSegment(Exception):
    """A segment cannot be read; the message says which and what to do."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file.

    Attributes:
        file: name in the buffer's folder.
        topic: `events` or `items`.
        rows: in the file; records that are no events have no row, and of an item only the last may be left.
        from_: first offset by partition; `from` in JSON.
        to: next offset after the last, by partition.
    """

    file: str
    topic: str
    rows: int
    from_: dict[int, int] = msgspec.field(name="from")
    to: dict[int, int]


class Retired(msgspec.Struct, frozen=True):
    """A file merged into another or let go; kept a while for whoever reads it now."""

    file: str
    at_ms: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the buffer holds.

    Attributes:
        version: of the format.
        log_id: of the log the offsets belong to.
        segments: in the order of the log, by topic.
        next: topic to partition to next offset to read.
        retired: files no longer in `segments`.
    """

    version: int = FORMAT
    log_id: str = ""
    segments: list[Segment] = []
    next: dict[str, dict[int, int]] = {}
    retired: list[Retired] = []

    def of(self, topic: str) -> list[Segment]:
        """The segments of one topic, oldest first."""
        return [segment for segment in self.segments if segment.topic == topic]

    def rows(self, topic: str) -> int:
        """Rows in all segments of one topic, duplicates included."""
        return sum(segment.rows for segment in self.of(topic))


def read_manifest(root: Path) -> Manifest:
    """The buffer's manifest; an empty one when nothing was written yet.

    Raises:
        BadManifest: not a manifest, or of another format.
    """
    path = root / MANIFEST
    if not path.exists():
        return Manifest()
    advice = "move the folder away and the buffer is rebuilt from the log"
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as exc:
        raise BadManifest(f"{path} cannot be read: {exc}; {advice}") from exc
    if manifest.version != FORMAT:
        raise BadManifest(f"{path} is of format {manifest.version}, this is {FORMAT}; {advice}")
    return manifest


def read_segment(root: Path, segment: Segment) -> pa.Table:
    """All rows of one segment.

    Raises:
        FileNotFoundError: it was merged away long ago; read the manifest again.
        BadSegment: it is damaged.
    """
    path = root / segment.file
    try:
        return pq.read_table(path, schema=SCHEMAS[segment.topic], page_checksum_verification=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:  # the system's; Parquet's own have no number
            raise
        advice = "move this file away and start the service again: " + _WITHOUT[segment.topic]
        raise BadSegment(f"{path} cannot be read: {exc}; {advice}") from exc


def load_events(root: Path, segments: Sequence[Segment] | None = None) -> pa.Table:
    """Interactions in the order of the log by partition, each event_id of a user once (the first is kept).

    Args:
        root: the buffer's folder.
        segments: of `events`; None is all that the manifest names now.

    Returns:
        A table of EVENT_SCHEMA.

    Raises:
        FileNotFoundError: a segment was merged away long ago; read the manifest again.
        BadSegment: one is damaged.
    """
    table = _read(root, EVENTS, segments)
    codes = _codes(table["event_id"]) + len(table) * _codes(table["user_id"])
    _, firsts = np.unique(codes, return_index=True)
    return table if len(firsts) == len(codes) else table.take(np.sort(firsts))


def load_items(root: Path, segments: Sequence[Segment] | None = None) -> dict[str, ItemUpsert]:
    """The catalogue as the buffer knows it: the last upsert of each item that was not removed after it.

    Last on the log, as in `consumers.catalog.catalog`.

    Raises:
        FileNotFoundError: a segment was merged away long ago; read the manifest again.
        BadSegment: one is damaged.
    """
    last = {row["item_id"]: row for row in _read(root, ITEMS, segments).to_pylist()}
    return {item_id: _upsert(row) for item_id, row in last.items() if not row["is_removed"]}


def _read(root: Path, topic: str, segments: Sequence[Segment] | None) -> pa.Table:
    chosen = read_manifest(root).of(topic) if segments is None else segments
    tables = [read_segment(root, segment) for segment in chosen]
    return pa.concat_tables([SCHEMAS[topic].empty_table(), *tables])


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A number for each distinct value, below the number of rows."""
    codes: NDArray[np.int64] = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _upsert(row: dict[str, object]) -> ItemUpsert:
    fields = {name: row[name] for name in ItemUpsert.__struct_fields__ if name != "attributes"}
    attributes = msgspec.json.decode(str(row["attributes"]))
    return msgspec.convert({**fields, "attributes": attributes, "type": "item_upsert"}, ItemUpsert)
