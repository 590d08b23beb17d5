"""After a rebalance: from the table that Faust has recovered to the partitions of the join, before records are handled.

A partition that was held before and that nobody else has written to meanwhile is kept as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from stream.workers.faust_app import App
from stream.workers.join import Join
from stream.workers.user_table import UserTable

RESTORED_AT_ONCE = 500  # users between two turns of the event loop


class Recovery:
    """Knows what each partition was restored from.

    Args:
        app: Faust's.
        join: gets the partitions.
        table: of users, complete whenever `restore` is called.
    """

    def __init__(self, app: App, join: Join, table: UserTable) -> None:
        self._app, self._join, self._table = app, join, table
        self._n_restored = 0
        self._read_back: dict[int, int] = {}

    async def restore(self) -> list[int] | None:
        """Give the join the partitions that are held now, and no others.

        Returns:
            The partitions; None when another rebalance began meanwhile: Faust recovers once more after it.
        """
        n_pauses = self._join.n_pauses
        held = self._held()
        for partition in set(self._join.partitions) - held:
            del self._join.partitions[partition]
        for partition in sorted(held):
            n_read_back = self._table.n_read_back.get(partition, 0)
            is_known = partition in self._join.partitions and self._read_back.get(partition) == n_read_back
            if not is_known:
                await self._restore_partition(partition)
            if n_pauses != self._join.n_pauses:
                return None
            self._read_back[partition] = n_read_back
        return sorted(held)

    def progress(self) -> Hashable:
        """A value that differs whenever recovery has come on."""
        read = list(self._app.tables.recovery.active_offsets.values())
        return (self._app.rebalancing_count, sum(offset or 0 for offset in read), self._n_restored)

    def _held(self) -> set[int]:
        changelog = self._table.changelog
        return {tp.partition for tp in self._app.assignor.assigned_actives() if tp.topic == changelog}

    async def _restore_partition(self, partition: int) -> None:
        for n_users in self._join.restore(partition):
            if n_users % RESTORED_AT_ONCE == 0:
                self._n_restored += RESTORED_AT_ONCE
                await asyncio.sleep(0)
