"""Micro-batching: requests that arrive together are answered by one call on one worker thread.

Nobody waits for others: while the worker is busy the next batch fills by itself, the more the busier it is. The queue
is bounded, each request has a deadline, and one that was given up is not answered any more.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class BatchQueueFull(Exception):
    """More requests wait than may; retriable after a pause."""


class BatcherClosed(Exception):
    """Asked after close(), or closed while waiting."""


class _Waiting(NamedTuple, Generic[Request, Answer]):
    request: Request
    answer: "asyncio.Future[Answer]"


class Batcher(Generic[Request, Answer]):
    """Answers requests in batches of at most `max_batch`. Lives on one event loop.

    Args:
        answer: a batch to as many answers, in order; called on the one worker thread.
        max_batch: requests per call, at least 1.
        max_waiting: requests not yet taken into a batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Request]], Sequence[Answer]],
        *,
        max_batch: int = 32,
        max_waiting: int = 1_024,
    ) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._queue: deque[_Waiting[Request, Answer]] = deque()
        self._grown = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="freshet-batcher")
        self._loop: asyncio.Task[None] | None = None
        self._is_closed = False

    def start(self) -> None:
        """Begin answering; call on the event loop that requests come from."""
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="freshet-batcher")

    @property
    def n_waiting(self) -> int:
        """Requests not yet taken into a batch."""
        return len(self._queue)

    async def ask(self, request: Request, *, timeout_s: float) -> Answer:
        """The answer to one request.

        Raises:
            BatchQueueFull: too many wait.
            TimeoutError: not answered within `timeout_s`.
            BatcherClosed: the batcher is closed.
        """
        if self._is_closed:
            raise BatcherClosed("the server is stopping; ask again in a moment")
        if len(self._queue) >= self._max_waiting:
            raise BatchQueueFull(f"{len(self._queue)} requests wait, limit is {self._max_waiting}")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(request, answer))
        self._grown.set()
        async with asyncio.timeout(timeout_s):
            return await answer

    async def close(self) -> None:
        """Finish the batch at work; requests still waiting end with BatcherClosed."""
        self._is_closed = True
        self._grown.set()
        if self._loop is not None:
            await self._loop
        for waiting in self._queue:
            if not waiting.answer.done():
                waiting.answer.set_exception(BatcherClosed("the server is stopping; ask again in a moment"))
        self._queue.clear()
        self._worker.shutdown(wait=True)

    async def _run(self) -> None:
        while True:
            while not self._queue and not self._is_closed:
                self._grown.clear()
                await self._grown.wait()
            if self._is_closed:
                return
            batch = self._take()
            if batch:
                await self._answer_batch(batch)

    def _take(self) -> list[_Waiting[Request, Answer]]:
        batch: list[_Waiting[Request, Answer]] = []
        while self._queue and len(batch) < self._max_batch:
            waiting = self._queue.popleft()
            if not waiting.answer.done():  # given up at its deadline
                batch.append(waiting)
        return batch

    async def _answer_batch(self, batch: list[_Waiting[Request, Answer]]) -> None:
        requests = [waiting.request for waiting in batch]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._worker, self._answer, requests)
            pairs = list(zip(batch, answers, strict=True))
        except Exception as exc:  # each asker gets the error; the loop must go on for the others
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(exc)
            return
        for waiting, answer in pairs:
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
