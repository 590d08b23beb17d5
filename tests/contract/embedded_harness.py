"""The embedded log under the contract suite."""

import shutil
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
        self._crashed: list[EmbeddedLog] = []

    def open(self) -> EmbeddedLog:
        limits = EmbeddedLimits(full_wait_s=0.05, tombstone_grace_ms=HOUR_MS)
        self._log = EmbeddedLog(self._path, TOPICS, max_queue=100, limits=limits)
        return self._log

    def crash(self) -> EmbeddedLog:
        """Go on from the bytes that a killed process would leave; the open log is let go of at the end."""
        assert self._log is not None
        self._crashed.append(self._log)
        left, self._path = self._path, self._path.with_name(f"after-{self._path.name}")
        for suffix in ("", "-wal"):
            shutil.copy(f"{left}{suffix}", f"{self._path}{suffix}")
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
        for log in (self._log, *self._crashed):
            if log is not None:
                log.close()
