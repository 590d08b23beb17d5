"""The table of users on Faust: RocksDB for reading, a compacted changelog for whoever takes a partition over.

Written through `send_changelog` with the partition named, so that a window can be closed when its outcomes are
acknowledged, outside any agent; a table's own `[]` writes only while a record of the partition is handled.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterator
from typing import Any

import faust

ROCKSDB_OPTIONS = {  # by partition; Faust's own are made for one large database
    "write_buffer_size": 16 * 1_048_576,
    "max_write_buffer_number": 2,
    "target_file_size_base": 16 * 1_048_576,
    "block_cache_size": 32 * 1_048_576,
}
NAME = "users"


class UserTable:
    """Raw bytes by user, by partition.

    Args:
        app: Faust's.
        partitions: as many as `events` has.
    """

    def __init__(self, app: faust.App, partitions: int) -> None:
        self._table = app.Table(
            NAME,
            key_type=bytes,  # declared and raw: a key that recovery cannot decode would leave it waiting for ever
            value_type=bytes,
            partitions=partitions,
            options=dict(ROCKSDB_OPTIONS),
            on_changelog_event=self._read_back,
        )
        self._app = app
        self.n_read_back: dict[int, int] = {}  # changelog records of others, by partition

    @property
    def changelog(self) -> str:
        """Name of the changelog's topic on the brokers."""
        return str(self._table.changelog_topic_name)

    def on_recovered(self, call: Any) -> None:  # noqa: ANN401 - a coroutine function, as Faust takes it
        """Call this whenever the table is complete again, before records are handled."""
        self._table.on_recover(call)

    def read(self, partition: int, user_id: str) -> bytes | None:
        """A user's value; None for one that is not there."""
        value: bytes | None = self._table.data._db_for_partition(partition).get(user_id.encode())
        return value

    def write(self, partition: int, user_id: str, value: bytes) -> Future[Any]:
        """Keep a user's value.

        Returns:
            Done once the changelog has it; failed when it never will.
        """
        key = user_id.encode()
        self._table.data._db_for_partition(partition).put(key, value)
        sent: Future[Any] = self._table.send_changelog(partition, key, value)
        return sent

    def items(self, partition: int) -> Iterator[tuple[str, bytes]]:
        """All users of a partition."""
        store = self._table.data
        for key, value in store._db_for_partition(partition).items():
            if key != store.offset_key:
                yield key.decode(), value

    async def _read_back(self, event: Any) -> None:  # noqa: ANN401 - Faust has no types
        partition = event.message.partition
        self.n_read_back[partition] = self.n_read_back.get(partition, 0) + 1
