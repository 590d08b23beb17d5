"""What is trending with its numbers, as scores are made from it: asked by every feed, counted once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Protocol

MAX_ITEMS = 1_000
_RECOUNT_S = 1.0


class Counts(Protocol):
    """Who knows what is trending. Any thread may ask."""

    def counts(self) -> Mapping[str, int]:
        """Events of the last day of the stream by item, of at most `MAX_ITEMS` items, those with most."""
        ...


class Recounts:
    """Numbers that are made anew when they are asked for and a second old.

    Args:
        count: makes them; milliseconds, so that others wait for it.
        clock: seconds, never going back.
    """

    def __init__(
        self, count: Callable[[], Iterable[tuple[str, int]]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count, self._clock = count, clock
        self._lock = Lock()
        self._counted_at = -_RECOUNT_S
        self._counts: Mapping[str, int] = {}

    def counts(self) -> Mapping[str, int]:
        """The numbers by item; the same object until they are counted again."""
        with self._lock:
            now = self._clock()
            if now - self._counted_at >= _RECOUNT_S:
                self._counts, self._counted_at = dict(self._count()), now
            return self._counts
