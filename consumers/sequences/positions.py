"""How far each partition of `events` is applied, and waiting for it: what "read your writes" stands on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple


class _Waiter(NamedTuple):
    next_offset: int
    wake: Callable[[], None]


class AppliedPositions:
    """Next offset to apply by partition. Advanced by one thread, waited for by any event loop.

    Nobody polls: whoever waits is woken by the `advance` that reaches the position.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._next: dict[int, int] = {}
        self._waiters: dict[int, list[_Waiter]] = {}

    def next_offsets(self) -> dict[int, int]:
        """Next offset to apply, by partition held here."""
        with self._lock:
            return dict(self._next)

    def advance(self, partition: int, next_offset: int) -> None:
        """Everything before `next_offset` is applied; wakes who waited for it."""
        with self._lock:
            self._next[partition] = next_offset
            waiters = self._waiters.get(partition)
            if not waiters:
                return
            ready = [waiter for waiter in waiters if waiter.next_offset <= next_offset]
            self._waiters[partition] = [waiter for waiter in waiters if waiter.next_offset > next_offset]
        for waiter in ready:
            waiter.wake()

    def forget(self, partition: int) -> None:
        """The partition is no longer applied here; who waits for it goes on until the deadline."""
        with self._lock:
            self._next.pop(partition, None)

    async def wait_async(self, partition: int, next_offset: int, timeout_s: float) -> bool:
        """Wait until everything before `next_offset` is applied.

        Args:
            partition: of the `events` topic.
            next_offset: one more than the last offset that must be applied; what a position token carries.
            timeout_s: at most so long; 0 only looks.

        Returns:
            False when the deadline came first.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, future)

        waiter = self._register(partition, _Waiter(next_offset, wake))
        if waiter is None:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._remove(partition, waiter)
        return True

    def _register(self, partition: int, waiter: _Waiter) -> _Waiter | None:
        """None when there is nothing to wait for."""
        with self._lock:
            if self._next.get(partition, -1) >= waiter.next_offset:
                return None
            self._waiters.setdefault(partition, []).append(waiter)
        return waiter

    def _remove(self, partition: int, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters[partition] = [other for other in self._waiters[partition] if other is not waiter]


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
