"""What is trending with its numbers: asked by every feed, counted once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Protocol

MAX_ITEMS = 1_000
_RECOUNT_S = 1.0
_IDLE = 50.0  # times as long as counting takes, it is not counted again: of a large catalogue less than once a second
_NOTHING: Mapping[str, int] = {}


class Counts(Protocol):
    """Who knows what is trending. Any thread may ask."""

    def counts(self) -> Mapping[str, int]:
        """Events of the last day of the stream by item, of at most `MAX_ITEMS` items, those with most."""
        ...


class Recounts:
    """Numbers that are made anew when they are asked for and a second old.

    Args:
        count: makes them. Whoever asks meanwhile gets those of before.
        clock: seconds, never going back.
    """

    def __init__(
        self, count: Callable[[], Iterable[tuple[str, int]]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count, self._clock = count, clock
        self._lock = Lock()
        self._due_at = self._clock()
        self._counts = _NOTHING

    def counts(self) -> Mapping[str, int]:
        """The numbers by item; the same object until they are counted again."""
        if self._clock() >= self._due_at and self._lock.acquire(blocking=self._counts is _NOTHING):
            try:
                if self._clock() >= self._due_at:  # nobody did meanwhile
                    self._recount()
            finally:
                self._lock.release()
        return self._counts

    def _recount(self) -> None:
        begun_at = self._clock()
        self._counts = dict(self._count())
        took_s = self._clock() - begun_at
        self._due_at = begun_at + max(_RECOUNT_S, _IDLE * took_s)
