"""Who serves which users: replicas say on `control` which partitions of `events` they hold, and every replica listens.

A replica that fell silent is no longer named, so what is known of the others ends by itself. How long it is silent is
told by the log's clock, since hosts' clocks differ: every record of the topic tells it, one's own words too. While not
even those are heard, it is the log that is gone, and nobody falls silent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from stream.events import BadEvent, Replica, decode_replica
from stream.log import Record
from stream.topics import CONTROL

KEY_PREFIX = "replica:"
WORD_S = 5.0  # between two words of a replica
SILENT_S = 3 * WORD_S
FORGOTTEN_S = 3_600.0


class ReplicaDirectory:
    """The role: newest word of every replica. Any thread may ask.

    Args:
        name: Of this replica, which is never named as another.
        clock: Seconds, never going back.
    """

    topic = CONTROL
    group = None

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = "replicas"
        self._own_name = name
        self._clock = clock
        self._lock = Lock()
        self._said: dict[str, tuple[Replica, int]] = {}  # by name, with when its word was appended
        self._newest_ms = 0  # append time of the newest record
        self._newest_at = 0.0  # when that came, by our clock

    def handle(self, records: list[Record]) -> None:
        """Note what replicas say; other records of the topic are others' business."""
        with self._lock:
            for record in records:
                if record.ts_ms >= self._newest_ms:
                    self._newest_ms, self._newest_at = record.ts_ms, self._clock()
                if record.key is not None and record.key.startswith(KEY_PREFIX.encode()):
                    self._note(record.key.decode(errors="replace").removeprefix(KEY_PREFIX), record)
            oldest_ms = self._now_ms() - int(FORGOTTEN_S * 1_000)
            self._said = {name: said for name, said in self._said.items() if said[1] >= oldest_ms}

    def close(self) -> None:
        """Nothing is kept."""

    def listed(self) -> list[Replica]:
        """Replicas heard of lately, by name."""
        with self._lock:
            return [replica for replica, _ in self._heard()]

    def url_of(self, partition: int) -> str | None:
        """Where another replica serves this partition; None when nobody said so lately."""
        with self._lock:
            claims = [
                (said_ms, replica.url)
                for replica, said_ms in self._heard()
                if partition in replica.partitions and replica.name != self._own_name
            ]
        return max(claims)[1] if claims else None

    def _heard(self) -> list[tuple[Replica, int]]:
        oldest_ms = self._now_ms() - int(SILENT_S * 1_000)
        return [said for _, said in sorted(self._said.items()) if said[1] >= oldest_ms]

    def _note(self, name: str, record: Record) -> None:
        if record.value is None:
            self._said.pop(name, None)
            return
        try:
            self._said[name] = decode_replica(record.value), record.ts_ms
        except BadEvent:
            return  # of a version that this process does not understand

    def _now_ms(self) -> int:
        """The log's time, which goes on by our clock until the next word of our own is due."""
        return self._newest_ms + int(min(self._clock() - self._newest_at, WORD_S) * 1_000)
