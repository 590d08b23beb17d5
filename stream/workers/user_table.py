"""The table of users on Faust: RocksDB for reading, a compacted changelog for whoever takes a partition over.

Faust recovers it, keeps its standbys and moves its partitions. It is written here, with the partition named: so a
window can be closed when its outcomes are acknowledged, outside any agent, where a table's own `[]` cannot write; and
the changelog goes in batches, of which Faust's offset in RocksDB follows the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faust
from faust.types import TP

from stream.workers.outbox import Done, Lane, Outbox, Queued, Target
from stream.workers.user_state import CLOCK_KEY

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
        outbox: the way to the changelog.
    """

    def __init__(self, app: faust.App, partitions: int, outbox: Outbox) -> None:
        self._table = app.Table(
            NAME,
            key_type=bytes,  # declared and raw: a key that recovery cannot decode would leave it waiting for ever
            value_type=bytes,
            partitions=partitions,
            options=dict(ROCKSDB_OPTIONS),
            on_changelog_event=self._read_back,
        )
        self._outbox = outbox
        self._lanes: dict[int, Lane] = {}
        self.n_read_back: dict[int, int] = {}  # changelog records that others wrote, by partition

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

    def write(self, partition: int, user_id: str, value: bytes, done: Done) -> None:
        """Keep a user's value.

        Args:
            partition: the user's.
            user_id: whose.
            value: the new one.
            done: called once the changelog has it, or a newer one.
        """
        key = user_id.encode()
        self._table.data._db_for_partition(partition).put(key, value)
        lane = self._lanes.get(partition) or self._new_lane(partition)
        lane.put(key, value, done)

    def read_clock(self, partition: int) -> bytes | None:
        """What `write_clock` kept; None for a partition without."""
        value: bytes | None = self._table.data._db_for_partition(partition).get(CLOCK_KEY)
        return value

    def write_clock(self, partition: int, value: bytes, done: Done) -> None:
        """Keep a partition's stream clock: in the changelog behind all that was written before, and only then here.

        So the clock that is found again is never ahead of the users that are.
        """
        lane = self._lanes.get(partition) or self._new_lane(partition)
        lane.put(CLOCK_KEY, value, done, goes_last=True)

    def items(self, partition: int) -> Iterator[tuple[str, bytes]]:
        """All users of a partition."""
        store = self._table.data
        for key, value in store._db_for_partition(partition).items():
            if key not in (store.offset_key, CLOCK_KEY):
                yield key.decode(), value

    def _new_lane(self, partition: int) -> Lane:
        def on_durable(offset: int, sent: list[Queued]) -> None:
            store = self._table.data
            database = store._dbs.get(partition)
            if database is None:  # lost meanwhile, and not to be opened again
                return
            clock = next((value for key, value, _ in reversed(sent) if key == CLOCK_KEY), None)
            if clock is not None:
                database.put(CLOCK_KEY, clock)
            store.set_persisted_offset(TP(self.changelog, partition), offset)

        target = Target(self.changelog, partition)
        lane = self._lanes[partition] = self._outbox.lane(target, keeps_newest=True, on_durable=on_durable)
        return lane

    async def _read_back(self, event: Any) -> None:  # noqa: ANN401 - Faust has no types
        partition = event.message.partition
        self.n_read_back[partition] = self.n_read_back.get(partition, 0) + 1
