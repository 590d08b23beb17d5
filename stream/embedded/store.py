"""The SQLite file behind the embedded log: its tables, and the few statements run on them.

One table per partition, keyed by offset, so that appending always touches the last page of a tree and
reading is one range scan. WAL with synchronous=FULL: a commit that returned is on the disk, and what is
not on the disk is visible to nobody.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from stream.log import LogError, LogUnavailable, Record, TopicDiffers
from stream.topics import Topic

SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 10.0  # only a checkpoint of ours can hold the file
_CHECKPOINT_PAGES = 8_192  # 32 MiB of WAL: fewer rewrites of the same pages than the default 4 MiB
_INSERT_ROWS = 16  # a statement; each gives the GIL away once, so a third faster beside a busy thread than one by one
_INSERT_VALUES = ", ".join(["(?, ?, ?, ?)"] * _INSERT_ROWS)

Row = tuple[int, int, bytes | None, bytes | None]  # offset, ts_ms, key, value

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS partitions (
    topic_id INTEGER NOT NULL, partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,  -- at least; true when the newest records were deleted
    PRIMARY KEY (topic_id, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS committed (
    topic_id INTEGER NOT NULL, group_name TEXT NOT NULL, partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic_id, group_name, partition)
) WITHOUT ROWID;
"""


class LogFile:
    """A connection to the log's file. The writer has one, and every reader its own."""

    def __init__(self, path: Path, *, max_bytes: int | None = None, read_only: bool = False) -> None:
        """Open, and create what is missing.

        Args:
            path: of the SQLite file; its folder must exist.
            max_bytes: the file grows no further; it then behaves as a full disk. The WAL beside it, up
                to 32 MiB or one transaction, is not counted.
            read_only: refuse every statement that writes.

        Raises:
            LogUnavailable: cannot be opened, or is not a log.
            LogError: written by a newer version.
        """
        self._path = path
        # Autocommit, and usable by whichever thread closes it: locks of the callers keep threads apart.
        try:
            self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
        except sqlite3.Error as exc:
            raise LogUnavailable(f"cannot open the log {path}: {exc}; check folder and rights") from exc
        try:
            self._configure(max_bytes, read_only=read_only)
        except sqlite3.Error as exc:
            self._sql.close()
            raise LogUnavailable(
                f"cannot open the log {path}: {exc}; free space, restore rights, or move the file away"
            ) from exc
        except LogError:
            self._sql.close()
            raise

    def _configure(self, max_bytes: int | None, *, read_only: bool) -> None:
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = FULL")
        self._sql.execute("PRAGMA fullfsync = 1")  # macOS: fsync alone stops at the drive's cache
        self._sql.execute("PRAGMA checkpoint_fullfsync = 1")
        self._sql.execute("PRAGMA temp_store = MEMORY")
        self._sql.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        if read_only:
            self._sql.execute("PRAGMA query_only = 1")
            return
        version = self._sql.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise LogError(f"{self._path} has format {version}, this version knows {SCHEMA_VERSION}; upgrade")
        page_size = self._sql.execute("PRAGMA page_size").fetchone()[0]
        if max_bytes is not None:
            self._sql.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page_size)}")
        self._sql.executescript(_SCHEMA)
        self._sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable at the end.

        Raises:
            LogUnavailable: nothing was written.
        """
        try:
            if self._sql.in_transaction:  # an earlier rollback failed too
                self._sql.execute("ROLLBACK")
            self._sql.execute("BEGIN IMMEDIATE")
            yield
            self._sql.execute("COMMIT")
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError):  # a bug, not the disk
            raise
        except sqlite3.Error as exc:
            raise LogUnavailable(
                f"the log {self._path} cannot be written: {exc}; free space or restore rights, then retry"
            ) from exc
        finally:
            if self._sql.in_transaction:
                with suppress(sqlite3.Error):
                    self._sql.execute("ROLLBACK")

    def log_id(self) -> str:
        """The id of this log's data; drawn when the file was created."""
        self._sql.execute("INSERT OR IGNORE INTO meta VALUES ('log_id', ?)", (uuid.uuid4().hex,))
        return str(self._sql.execute("SELECT value FROM meta WHERE name = 'log_id'").fetchone()[0])

    def add_topic(self, topic: Topic) -> int:
        """Create a topic's tables where they are missing.

        Returns:
            Its number in this file.

        Raises:
            TopicDiffers: it was made with another number; keys would change their partition.
        """
        self._sql.execute("INSERT OR IGNORE INTO topics (name) VALUES (?)", (topic.name,))
        topic_id = int(self._sql.execute("SELECT id FROM topics WHERE name = ?", (topic.name,)).fetchone()[0])
        found = self._sql.execute("SELECT count(*) FROM partitions WHERE topic_id = ?", (topic_id,)).fetchone()[0]
        if found not in {0, topic.partitions}:
            raise TopicDiffers(
                f"topic {topic.name!r} has {found} partitions in {self._path} and partitions={topic.partitions} "
                f"in the settings; keys would change places: set {found}, or use a new data folder"
            )
        for partition in range(topic.partitions):
            self._sql.execute("INSERT OR IGNORE INTO partitions VALUES (?, ?, 0)", (topic_id, partition))
            self._sql.execute(
                f"CREATE TABLE IF NOT EXISTS {table_name(topic_id, partition)} "
                "(offset INTEGER PRIMARY KEY, ts_ms INTEGER NOT NULL, key BLOB, value BLOB)"
            )
        return topic_id

    def bounds(self, topic_id: int, partition: int) -> tuple[int, int, int]:
        """Oldest offset kept, next offset to write, and the newest record's ts_ms (0 when there is none)."""
        table = table_name(topic_id, partition)
        least = self._sql.execute(
            "SELECT next_offset FROM partitions WHERE topic_id = ? AND partition = ?", (topic_id, partition)
        ).fetchone()[0]
        oldest = self._sql.execute(f"SELECT min(offset) FROM {table}").fetchone()[0]
        newest = self._sql.execute(f"SELECT offset, ts_ms FROM {table} ORDER BY offset DESC LIMIT 1").fetchone()
        if newest is None:
            return least, least, 0
        return oldest, max(least, newest[0] + 1), newest[1]

    def committed(self, topic_id: int) -> dict[str, dict[int, int]]:
        """Next offset by group and partition."""
        groups: dict[str, dict[int, int]] = {}
        for group, partition, next_offset in self._sql.execute(
            "SELECT group_name, partition, next_offset FROM committed WHERE topic_id = ?", (topic_id,)
        ):
            groups.setdefault(group, {})[partition] = next_offset
        return groups

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """Insert records; inside a transaction."""
        n_grouped = len(rows) - len(rows) % _INSERT_ROWS
        values = list(chain.from_iterable(rows[:n_grouped]))
        width = 4 * _INSERT_ROWS
        self._sql.executemany(
            f"INSERT INTO {table} VALUES {_INSERT_VALUES}",
            [values[start : start + width] for start in range(0, len(values), width)],
        )
        self._sql.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", rows[n_grouped:])

    def commit_offsets(self, topic_id: int, group: str, offsets: Mapping[int, int]) -> None:
        """Keep where a group goes on; inside a transaction."""
        self._sql.executemany(
            "INSERT OR REPLACE INTO committed VALUES (?, ?, ?, ?)",
            [(topic_id, group, partition, offset) for partition, offset in offsets.items()],
        )

    def delete(self, table: str, offsets: Sequence[int]) -> None:
        """Delete these records; inside a transaction."""
        self._sql.executemany(f"DELETE FROM {table} WHERE offset = ?", [(offset,) for offset in offsets])

    def delete_below(self, table: str, offset: int) -> None:
        """Delete the records before this offset; inside a transaction."""
        self._sql.execute(f"DELETE FROM {table} WHERE offset < ?", (offset,))

    def keep_next_offset(self, topic_id: int, partition: int, next_offset: int) -> None:
        """Remember the next offset, for when no record is left to tell it; inside a transaction."""
        self._sql.execute(
            "UPDATE partitions SET next_offset = max(next_offset, ?) WHERE topic_id = ? AND partition = ?",
            (next_offset, topic_id, partition),
        )

    def read(self, table: str, start: int, *, max_rows: int, max_bytes: int) -> tuple[list[Row], int]:
        """Records from an offset on, in order, until one reaches max_rows or max_bytes; and the bytes of their values.

        Raises:
            LogUnavailable: the file cannot be read.
        """
        rows: list[Row] = []
        n_bytes = 0
        with self._reading():
            cursor = self._sql.execute(
                f"SELECT offset, ts_ms, key, value FROM {table} WHERE offset >= ? ORDER BY offset LIMIT ?",
                (start, max_rows),
            )
            for row in cursor:
                rows.append(row)
                n_bytes += len(row[3] or b"")
                if n_bytes >= max_bytes:
                    break
            cursor.close()  # ends the snapshot
        return rows, n_bytes

    def first_since(self, table: str, ts_ms: int) -> int | None:
        """The first offset appended at ts_ms or later; None when all are older.

        Raises:
            LogUnavailable: the file cannot be read.
        """
        with self._reading():
            row = self._sql.execute(
                f"SELECT offset FROM {table} WHERE ts_ms >= ? ORDER BY offset LIMIT 1", (ts_ms,)
            ).fetchone()
        return None if row is None else int(row[0])

    def superseded(self, table: str, tombstones_before_ms: int) -> list[int]:
        """Offsets that compaction removes, ascending: older values of a key, and tombstones of age.

        Raises:
            LogUnavailable: the file cannot be read.
        """
        with self._reading():
            found = self._sql.execute(
                f"SELECT offset FROM {table} WHERE key IS NOT NULL AND ("
                f" offset NOT IN (SELECT max(offset) FROM {table} WHERE key IS NOT NULL GROUP BY key)"
                " OR (value IS NULL AND ts_ms < ?)) ORDER BY offset",
                (tombstones_before_ms,),
            )
            return [offset for (offset,) in found]

    def has_tombstones(self, table: str) -> bool:
        """Whether any is left that has not come of age.

        Raises:
            LogUnavailable: the file cannot be read.
        """
        with self._reading():
            return self._sql.execute(f"SELECT 1 FROM {table} WHERE value IS NULL LIMIT 1").fetchone() is not None

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise LogUnavailable(f"the log {self._path} cannot be read: {exc}; check the disk") from exc


def table_name(topic_id: int, partition: int) -> str:
    """The table that holds a partition's records."""
    return f"records_{topic_id}_{partition}"


def to_records(topic: str, partition: int, rows: Iterable[Row]) -> list[Record]:
    """Rows of a partition's table as records."""
    return [Record(topic, partition, offset, key, value, ts_ms) for offset, ts_ms, key, value in rows]
