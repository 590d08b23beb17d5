"""What the trainer learns from: the records of `events` and `items`, written down as Parquet segments.

A flush, in this order; a crash after any step loses nothing and doubles nothing:

    1. the segment is written under a temporary name and fsynced
    2. it gets its name; the folder is fsynced
    3. the new manifest is written under a temporary name and fsynced
    4. it replaces the old one; the folder is fsynced: from here on the rows count
    5. the runner commits the manifest's offsets, which only reports lag

At start, what the manifest does not name is removed, what it names in vain is let go, and reading goes on from the
manifest's offsets.
"""

from __future__ import annotations

import itertools
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from consumers.learning.segments import (
    MANIFEST,
    SCHEMAS,
    BadManifest,
    BadSegment,
    Manifest,
    Retired,
    Segment,
    load_events,
    load_items,
    read_manifest,
    read_segment,
)
from models.durable import fsync_file, fsync_path
from stream.topics import EVENTS, ITEMS

__all__ = [
    "BufferSettings",
    "DiskFiles",
    "Files",
    "Manifest",
    "Segment",
    "TrainingBuffer",
    "load_events",
    "load_items",
    "read_manifest",
]


class Files(Protocol):
    """The steps of writing that can fail; tests stop at each of them."""

    def write(self, path: Path, data: memoryview) -> None:
        """Write a whole file and fsync it."""
        ...

    def rename(self, path: Path, target: Path) -> None:
        """Give a file its name, replacing what was there, and fsync the folder."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        ...


class DiskFiles:
    """Files on the disk."""

    def write(self, path: Path, data: memoryview) -> None:
        """Write a whole file and fsync it."""
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            fsync_file(file.fileno())

    def rename(self, path: Path, target: Path) -> None:
        """Give a file its name, replacing what was there, and fsync the folder."""
        path.replace(target)
        fsync_path(target.parent)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class BufferSettings:
    """When rows are written, and how many files there may be.

    Attributes:
        flush_rows: rows that make a segment.
        flush_s: seconds the oldest row may wait.
        merge_files: so many small segments of a topic become one.
        merge_rows: a segment of so many rows is no longer small; above flush_rows.
        retire_s: seconds a file that was merged or let go is kept for whoever reads it.
        keep_events: the newest so many are kept, and up to a segment more; a cycle reads half as many.
    """

    flush_rows: int = 20_000
    flush_s: float = 30.0
    merge_files: int = 16
    merge_rows: int = 500_000
    retire_s: float = 3_600.0
    keep_events: int = 10_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.flush_rows < self.merge_rows:
            raise ValueError(f"flush_rows={self.flush_rows} must be 1 to merge_rows={self.merge_rows} less one")
        if self.merge_files < 2:
            raise ValueError(f"merge_files={self.merge_files} must be at least 2")
        if self.keep_events < self.merge_rows:
            raise ValueError(f"keep_events={self.keep_events} must be at least merge_rows={self.merge_rows}")


class TrainingBuffer:
    """The writing side; the only one of its folder. Safe for the threads of several roles."""

    def __init__(
        self,
        root: Path,
        log_id: str,
        *,
        settings: BufferSettings | None = None,
        files: Files | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Open the folder and remove what a crash left behind.

        Raises:
            BadManifest: unreadable, or of another log.
        """
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.settings = settings or BufferSettings()
        self._files = files or DiskFiles()
        self._now_s = now_s
        self._lock = Lock()
        self._damaged: set[str] = set()  # files that were met while merging; cycles fail and say what to do
        self._open(log_id)
        self._number = max((_number(segment.file) for segment in self._manifest.segments), default=-1)

    @property
    def manifest(self) -> Manifest:
        """What the buffer holds now."""
        with self._lock:
            return self._manifest

    def next_offset(self, topic: str, partition: int) -> int:
        """Where reading goes on; 0 for a partition not read yet."""
        return self.manifest.next.get(topic, {}).get(partition, 0)

    def append(self, topic: str, rows: Sequence[tuple[Any, ...]], to: Mapping[int, int]) -> None:
        """Write rows as a segment and move the topic's offsets, both or neither.

        Args:
            topic: `events` or `items`.
            rows: in the order of the topic's schema; none only moves the offsets.
            to: next offset by partition.

        Raises:
            OSError: not written; the same rows must come again.
        """
        with self._lock:
            before = self._manifest.next.get(topic, {})
            segments = list(self._manifest.segments)
            if rows:
                start = {partition: before.get(partition, 0) for partition in to}
                segments.append(self._write_segment(topic, _table(topic, rows), (start, dict(to))))
            offsets = {**self._manifest.next, topic: {**before, **to}}
            self._replace(msgspec.structs.replace(self._manifest, segments=segments, next=offsets))
            try:
                self._merge(topic)
                self._let_go()
            except OSError as exc:  # the rows count already, and the next flush merges
                structlog.get_logger().warning("training_buffer_not_merged", topic=topic, reason=str(exc))

    def _open(self, log_id: str) -> None:
        manifest = read_manifest(self.root)
        if manifest.log_id not in ("", log_id):
            raise BadManifest(
                f"{self.root / MANIFEST} belongs to log {manifest.log_id!r}, the log here is {log_id!r}; "
                f"move the folder away or bring its log back"
            )
        self._manifest = msgspec.structs.replace(manifest, log_id=log_id, retired=[])
        self._let_go_missing()
        counted = {segment.file for segment in self._manifest.segments}
        for path in [*self.root.glob("*.tmp"), *self.root.glob("*.parquet")]:
            if path.name not in counted:
                self._files.remove(path)

    def _let_go_missing(self) -> None:
        """Go on without the events whose file was moved away; where items lack one, read all items again."""
        missing = [part for part in self._manifest.segments if not (self.root / part.file).exists()]
        if not missing:
            return
        for part in missing:
            structlog.get_logger().warning("segment_missing", file=str(self.root / part.file), n_rows=part.rows)
        offsets = dict(self._manifest.next)
        if any(part.topic == ITEMS for part in missing):
            missing += self._manifest.of(ITEMS)
            offsets.pop(ITEMS)
        segments = [part for part in self._manifest.segments if part not in missing]
        self._replace(msgspec.structs.replace(self._manifest, segments=segments, next=offsets))

    def _write_segment(self, topic: str, table: pa.Table, ends: tuple[dict[int, int], dict[int, int]]) -> Segment:
        """Steps 1 and 2. A number is never used twice, so a failed flush cannot touch a file that counts."""
        self._number += 1
        name = f"{topic}-{self._number:08d}.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True)
        temporary = self.root / f"{name}.tmp"
        try:
            self._files.write(temporary, memoryview(sink.getvalue()))
        except OSError:
            self._files.remove(temporary)  # half of it on a full disk would keep the next from fitting
            raise
        self._files.rename(temporary, self.root / name)
        return Segment(file=name, topic=topic, rows=table.num_rows, from_=ends[0], to=ends[1])

    def _replace(self, manifest: Manifest) -> None:
        """Steps 3 and 4."""
        temporary = self.root / f"{MANIFEST}.tmp"
        self._files.write(temporary, memoryview(msgspec.json.encode(manifest)))
        self._files.rename(temporary, self.root / MANIFEST)
        self._manifest = manifest

    def _merge(self, topic: str) -> None:
        """Many small segments become one, by the same steps, with one row an item of `items`."""
        newest_first = reversed(self._manifest.of(topic))
        small = list(takewhile(self._may_merge, newest_first))[::-1]
        if len(small) < self.settings.merge_files:
            return
        tables = []
        for part in small:
            try:
                tables.append(read_segment(self.root, part))
            except BadSegment as exc:
                self._damaged.add(part.file)  # the next merge is of what came after it
                structlog.get_logger().error("segment_damaged", reason=str(exc))
                return
        table = pa.concat_tables(tables)
        merged = self._write_segment(topic, _last_of_each(table) if topic == ITEMS else table, _ends(small))
        self._retire(small, merged)

    def _may_merge(self, part: Segment) -> bool:
        return part.rows < self.settings.merge_rows and part.file not in self._damaged

    def _let_go(self) -> None:
        """Of the oldest events those segments that are not needed for `keep_events`."""
        events = self._manifest.of(EVENTS)
        left = itertools.accumulate((part.rows for part in events), operator.sub, initial=self._manifest.rows(EVENTS))
        n_gone = sum(rows >= self.settings.keep_events for rows in left) - 1
        if n_gone > 0:
            self._retire(events[:n_gone])

    def _retire(self, gone: Sequence[Segment], *instead: Segment) -> None:
        """Take segments out of the manifest; their files go when nobody reads them any more."""
        files = {part.file for part in gone}
        segments = [part for part in self._manifest.segments if part.file not in files]
        now_ms = int(self._now_s() * 1_000)
        retired = self._remove_retired(now_ms) + [Retired(name, now_ms) for name in sorted(files)]
        self._replace(msgspec.structs.replace(self._manifest, segments=[*segments, *instead], retired=retired))

    def _remove_retired(self, now_ms: int) -> list[Retired]:
        """Remove what was retired long ago; those that stay."""
        last_ms = now_ms - int(self.settings.retire_s * 1_000)
        for old in self._manifest.retired:
            if old.at_ms <= last_ms:
                self._files.remove(self.root / old.file)
        return [old for old in self._manifest.retired if old.at_ms > last_ms]


def _table(topic: str, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    schema = SCHEMAS[topic]
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.table(columns, schema=schema)


def _last_of_each(items: pa.Table) -> pa.Table:
    """Of each item the row that counts, as `load_items` chooses it, in the order the items first came."""
    rows = {item_id: row for row, item_id in enumerate(items["item_id"].to_pylist())}
    return items.take(list(rows.values()))


def _number(file: str) -> int:
    return int(file.removesuffix(".parquet").rsplit("-", 1)[1])


def _ends(segments: Sequence[Segment]) -> tuple[dict[int, int], dict[int, int]]:
    """First and next offsets of neighbours, by partition."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for segment in segments:
        first = {**segment.from_, **first}
        last = {**last, **segment.to}
    return first, last
