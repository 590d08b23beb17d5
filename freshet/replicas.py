"""One replica among others: says which partitions it holds, and knows where the rest is."""

import os
import socket
import threading
import time
from collections.abc import Callable, Collection

import structlog

from consumers.replicas import KEY_PREFIX, WORD_S, ReplicaDirectory
from stream.events import Replica, encode
from stream.log import Log, LogError, Message
from stream.topics import CONTROL

LOOK_S = 0.2  # a partition that moved is announced this soon
STOP_TIMEOUT_S = 5.0


class Replicas:
    """Announces this replica from a thread of its own.

    Args:
        log: That carries `control`.
        held: The partitions of `events` held now.
    """

    def __init__(self, log: Log, held: Callable[[], Collection[int]]) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.directory = ReplicaDirectory(self.name)
        self._log, self._held = log, held
        self._url = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)

    def announce(self, url: str) -> None:
        """From now on, say that `url` serves what is held here."""
        self._url = url
        self._thread.start()

    def stop(self) -> None:
        """Say that nobody is to come here any more. Harmless if it was said already, or nothing was announced."""
        if self._thread.ident is not None and not self._stopping.is_set():
            self._stopping.set()
            self._thread.join(STOP_TIMEOUT_S)
            self._publish(None)

    def _run(self) -> None:
        said: tuple[int, ...] | None = None
        said_at = 0.0
        while not self._stopping.wait(LOOK_S):
            partitions = tuple(sorted(self._held()))
            if partitions != said or time.monotonic() - said_at >= WORD_S:
                said, said_at = partitions, time.monotonic()
                self._say(partitions)

    def _say(self, partitions: tuple[int, ...]) -> None:
        ts_ms = time.time_ns() // 1_000_000
        word = Replica(name=self.name, url=self._url, partitions=partitions, ts_ms=ts_ms)
        self._publish(encode(word))

    def _publish(self, value: bytes | None) -> None:
        try:
            self._log.publish(CONTROL, [Message(f"{KEY_PREFIX}{self.name}".encode(), value)])
        except LogError as exc:  # it is said again in a few seconds
            structlog.get_logger().warning("replica_not_announced", reason=str(exc))
