"""Who serves which users: replicas say on `control` which partitions of `events` they hold, and every replica listens.

A replica that fell silent is no longer named, so what is known of the others ends by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from stream.events import BadEvent, Replica, decode_replica
from stream.log import Record
from stream.topics import CONTROL

KEY_PREFIX = "replica:"
SILENT_S = 15.0  # three times what a replica waits between two words


class ReplicaDirectory:
    """The role: newest word of every replica. Any thread may ask.

    Args:
        name: Of this replica, which is never named as another.
        clock: Seconds since 1970.
    """

    topic = CONTROL
    group = None

    def __init__(self, name: str, *, clock: Callable[[], float] = time.time) -> None:
        self.name = "replicas"
        self._own_name = name
        self._clock = clock
        self._lock = Lock()
        self._replicas: dict[str, Replica] = {}

    def handle(self, records: list[Record]) -> None:
        """Note what replicas say; other records of the topic are others' business."""
        for record in records:
            if record.key is None or not record.key.startswith(KEY_PREFIX.encode()):
                continue
            try:
                replica = decode_replica(record.value)
            except BadEvent:
                continue  # of a version that this process does not understand
            with self._lock:
                self._replicas[replica.name] = replica

    def close(self) -> None:
        """Nothing is kept."""

    def listed(self) -> list[Replica]:
        """Replicas heard of lately, by name."""
        oldest_ms = int((self._clock() - SILENT_S) * 1_000)
        with self._lock:
            heard = [replica for replica in self._replicas.values() if replica.ts_ms >= oldest_ms]
        return sorted(heard, key=lambda replica: replica.name)

    def url_of(self, partition: int) -> str | None:
        """Where another replica serves this partition; None when nobody said so lately."""
        holders = [r for r in self.listed() if partition in r.partitions and r.name != self._own_name]
        return max(holders, key=lambda replica: replica.ts_ms).url if holders else None
