"""What a command that works for minutes says on standard error: lines, and on a terminal a bar below them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]
OnProgress = Callable[[int, int], None]
"""Told how many of how many are done."""

_CELLS = 20  # of a full bar
_CLEAR = "\r\x1b[K"  # back to where the line starts, and nothing right of it


def say(line: str) -> None:
    """A line of its own; a bar makes room for it and is drawn again below by its next step."""
    _clear()
    print(line, file=sys.stderr, flush=True)


def nothing(_done: int, _total: int) -> None:
    """Tell nobody."""


@contextmanager
def bar(what: str, unit: str, *, plain: OnProgress = nothing) -> Iterator[OnProgress]:
    """A bar on the terminal while the block runs, gone after it; `plain` where standard error is no terminal."""
    try:
        yield Bar(what, unit) if sys.stderr.isatty() else plain
    finally:
        _clear()


class Bar:
    """How many of how many are done, and how many a second since the bar was made or last was full.

    Args:
        what: is done.
        unit: of what is counted, in the plural.
        clock: seconds.
    """

    def __init__(self, what: str, unit: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._what, self._unit, self._clock = what, unit, clock
        self._since_s = clock()

    def __call__(self, done: int, total: int) -> None:
        """Draw it; with nothing done or all of it, what comes next is timed anew."""
        now_s = self._clock()
        rate = done / max(now_s - self._since_s, 1e-3)
        cells = "#" * (_CELLS * done // max(total, 1))
        pace = f"{rate:,.{0 if rate >= 10 else 1}f} {self._unit}/s"
        sys.stderr.write(f"{_CLEAR}{self._what} [{cells:.<{_CELLS}}] {done:,}/{total:,} {self._unit}, {pace}")
        sys.stderr.flush()
        if done in {0, total}:
            self._since_s = now_s


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_CLEAR)
        sys.stderr.flush()
