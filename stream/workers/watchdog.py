"""Noticing from outside that a worker no longer does its work; the process ends, and a supervisor starts it again.

Three ways to be of no use without ending: recovery that waits for ever (a changelog record that cannot be read is only
a warning to Faust), an event loop that stands still, and a process that was stopped for longer than its session and
goes on with partitions that are another's by now: what it still wrote would replace the new owner's values.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Hashable
from threading import Thread
from typing import NoReturn

EXIT_STATUS = 75  # EX_TEMPFAIL: start it again
REFUSED_STATUS = 1
BEAT_S = 0.2
LOOK_S = 0.5

_log = logging.getLogger(__name__)


def end_process(reason: str) -> NoReturn:
    """End at once: nothing is committed or sent any more, the log has everything."""
    _log.critical("worker ends, to be started again: %s", reason)
    _end(EXIT_STATUS)


def refuse_to_start(reason: str) -> NoReturn:
    """End before anything was read or written; somebody has to look at the reason first."""
    _log.critical("worker cannot start: %s", reason)
    _end(REFUSED_STATUS)


def _end(status: int) -> NoReturn:
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stderr.flush()
    os._exit(status)


class Watchdog:
    """Beats on the event loop, and looks from a thread.

    Args:
        progress: any value that differs whenever recovery has come on; None while there is no recovery.
        stuck_s: the longest that recovery, or the loop, may stand still.
        silent_s: the longest that the loop may have stood still and go on.
        end: called with the reason; does not return.
    """

    def __init__(
        self,
        progress: Callable[[], Hashable | None],
        *,
        stuck_s: float,
        silent_s: float,
        end: Callable[[str], None] = end_process,
    ) -> None:
        self._progress, self._stuck_s, self._silent_s, self._end = progress, stuck_s, silent_s, end
        self._beat_at = time.monotonic()
        self._thread = Thread(target=self._look_on, name="watchdog", daemon=True)
        self._end_by: float | None = None

    def start(self) -> None:
        """Begin; on the event loop that is watched."""
        self._beat_at = time.monotonic()
        self._beat()
        self._thread.start()

    def expect_end(self, within_s: float) -> None:
        """The process was asked to end; when it is still there after so many seconds, it is ended."""
        self._end_by = time.monotonic() + within_s

    def check(self) -> None:
        """End the process when its loop has stood still for longer than it may."""
        if self.silent_for_s > self._silent_s:
            self._end(
                f"it stood still for {self.silent_for_s:.1f} s, limit is {self._silent_s} s, and its partitions may be "
                "another's; is the machine short of memory or processors?"
            )

    @property
    def silent_for_s(self) -> float:
        """Seconds since the loop's last beat."""
        return time.monotonic() - self._beat_at

    def _beat(self) -> None:
        """A timer of the loop: when a stopped process goes on it is due at once, before what waits to be sent."""
        self.check()
        self._beat_at = time.monotonic()
        asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _look_on(self) -> None:
        known: Hashable | None = None
        came_on_at = time.monotonic()
        while True:
            time.sleep(LOOK_S)
            progress = self._progress()
            now = time.monotonic()
            if self._end_by is not None and now > self._end_by:
                self._end("it was asked to end and did not in time; is the broker there?")
                return
            if progress is None or progress != known:
                known, came_on_at = progress, now
            if now - came_on_at > self._stuck_s:
                self._end(
                    f"recovery has not come on for {self._stuck_s} s at {known}; look for 'Error in recovery' above: a "
                    "record of the changelog that cannot be read is to be deleted (or replaced by its key)"
                )
                return
            if self.silent_for_s > max(self._stuck_s, self._silent_s):
                self._end(f"its event loop has stood still for {self.silent_for_s:.1f} s")
                return
