"""Threads for what would block the event loop: disk, pictures, locks. Bounded, and full is an answer of its own.

No job is called back: one that nobody waits for any more goes on, and counts until it is done.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class PoolFull(Exception):
    """More jobs run and wait than may; retriable after a pause."""


class PoolTimeout(Exception):
    """A job was not done in time."""


class Pool:
    """A thread pool that refuses work rather than queue it without end. Used from one event loop."""

    def __init__(self, name: str, *, n_threads: int, max_waiting: int, timeout_s: float = 30.0) -> None:
        self.name = name
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix=f"freshet-{name}")
        self._max_jobs = n_threads + max_waiting
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._n_jobs = 0  # running and waiting

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a job on a thread and wait for it. One that nobody waits for any more is not begun.

        Raises:
            PoolFull: too many run and wait already.
            PoolTimeout: not done within the pool's `timeout_s`.
        """
        with self._lock:
            if self._n_jobs >= self._max_jobs:
                raise PoolFull(f"{self._n_jobs} jobs run or wait for {self.name}, limit is {self._max_jobs}")
            self._n_jobs += 1
        future = self._threads.submit(job, *args, **kwargs)
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not deadline.expired():  # the job's own
                raise
            detail = f"a job for {self.name} was not done within {self._timeout_s} s; it may be done later"
            raise PoolTimeout(detail) from None

    def _done(self, _: Future[T]) -> None:
        with self._lock:
            self._n_jobs -= 1

    def close(self) -> None:
        """Let running jobs end; those that wait are given up."""
        self._threads.shutdown(wait=True, cancel_futures=True)
