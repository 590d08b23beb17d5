"""The embedded log under the contract suite."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stream.embedded.log import EmbeddedLimits, EmbeddedLog
from tests.contract.harness import HOUR_MS, TOPICS


class EmbeddedHarness:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "log.db"
        self._log: EmbeddedLog | None = None

    def open(self) -> EmbeddedLog:
        limits = EmbeddedLimits(full_wait_s=0.05, tombstone_grace_ms=HOUR_MS)
        self._log = EmbeddedLog(self._path, TOPICS, max_queue=100, limits=limits)
        return self._log

    def crash(self) -> EmbeddedLog:
        self.close()
        return self.open()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as sql:
            sql.execute("BEGIN IMMEDIATE")
            yield
            sql.execute("ROLLBACK")

    def maintain(self, now_ms: int) -> None:
        assert self._log is not None
        self._log.maintain(now_ms)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
