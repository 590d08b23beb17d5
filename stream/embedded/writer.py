"""The one thread that writes the embedded log: all that queued goes into one transaction, so one fsync.

    1. take everything queued        2. write it inside BEGIN ... COMMIT (the commit returns when durable)
    3. move the ends, wake readers   4. tell the publishers

If step 2 fails nothing of it is in the file: the publishers learn it, and the next group tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any, Protocol

from stream.embedded.store import LogFile
from stream.embedded.topic import TopicState
from stream.log import LogClosed, LogUnavailable, Message, Position, QueueFull


class Job(Protocol):
    """Something to write. All methods run on the writer thread."""

    n_messages: int
    n_bytes: int

    @property
    def future(self) -> Future[Any]:
        """Answers whoever asked for it."""
        ...

    def write(self, file: LogFile) -> None:
        """Write it, inside a transaction."""
        ...

    def undo(self) -> None:
        """The transaction was rolled back."""
        ...

    def succeed(self) -> None:
        """It is durable."""
        ...


class Append:
    """Messages to append to a topic."""

    def __init__(self, state: TopicState, messages: Sequence[Message], partitions: Sequence[int], n_bytes: int) -> None:
        self.n_messages = len(messages)
        self.n_bytes = n_bytes
        self.future = Future[list[Position]]()
        self.future.set_running_or_notify_cancel()  # cannot be taken back once it is queued
        self._state = state
        self._messages = messages
        self._partitions = partitions
        self._positions: list[Position] = []

    def write(self, file: LogFile) -> None:
        """Give the messages their offsets and insert them."""
        state = self._state
        ts_ms = state.append_ts_ms()
        tails = state.tails
        rows: list[list[tuple[int, int, bytes | None, bytes | None]]] = [[] for _ in tails]
        for partition, (key, value) in zip(self._partitions, self._messages, strict=True):
            offset = tails[partition]
            tails[partition] = offset + 1
            rows[partition].append((offset, ts_ms, key, value))
            self._positions.append(Position(partition, offset))
        for partition, inserted in enumerate(rows):
            if inserted:
                file.append(state.tables[partition], inserted)

    def succeed(self) -> None:
        """Show the records to readers, then answer the publisher."""
        self._state.appended()
        self.future.set_result(self._positions)

    def undo(self) -> None:
        """Take the offsets back."""
        self._state.not_appended()
        self._positions = []


class Change:
    """Any other write: committed offsets, deletions."""

    n_messages = 0
    n_bytes = 0

    def __init__(self, write: Callable[[LogFile], None], done: Callable[[], None]) -> None:
        self.future = Future[None]()
        self.future.set_running_or_notify_cancel()
        self._write = write
        self._done = done

    def write(self, file: LogFile) -> None:
        """Run the statements."""
        self._write(file)

    def wait(self, timeout_s: float) -> None:
        """Until it is durable.

        Raises:
            LogUnavailable: it is not, or not within timeout_s.
        """
        try:
            self.future.result(timeout_s)
        except TimeoutError:
            raise LogUnavailable(
                f"a write is not durable after timeout_s={timeout_s}; the disk is slow or stuck"
            ) from None

    def undo(self) -> None:
        """Nothing to take back."""

    def succeed(self) -> None:
        """Take it over in memory, then answer."""
        self._done()
        self.future.set_result(None)


class Writer:
    """The bounded queue and its thread. Bounds count what is not durable yet, being written included."""

    def __init__(self, file: LogFile, *, max_messages: int, max_bytes: int, full_wait_s: float) -> None:
        self._file = file
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._full_wait_s = full_wait_s
        self._changed = Condition()
        self._queue: list[Job] = []
        self._n_messages = 0
        self._n_bytes = 0
        self._is_closed = False
        self._thread = Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; waits a little when the queue is full.

        Raises:
            QueueFull: no room within the wait.
            LogClosed: closed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_closed or self._has_room(job), self._full_wait_s):
                raise QueueFull(
                    f"{self._n_messages} messages of {self._n_bytes} bytes wait for the disk, limits are "
                    f"{self._max_messages} and {self._max_bytes}; slow down and publish again"
                )
            if self._is_closed:
                raise LogClosed("the log was closed; open it again to publish")
            self._queue.append(job)
            self._n_messages += job.n_messages
            self._n_bytes += job.n_bytes
            self._changed.notify_all()

    def _has_room(self, job: Job) -> bool:
        if not self._n_messages or not job.n_messages:  # one job alone may be of any size
            return True
        return (
            self._n_messages + job.n_messages <= self._max_messages and self._n_bytes + job.n_bytes <= self._max_bytes
        )

    def close(self, timeout_s: float) -> bool:
        """Write what is queued and end the thread; False when it did not end in time."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                jobs, self._queue = self._queue, []
            if not jobs:
                return
            self._write(jobs)
            with self._changed:
                self._n_messages -= sum(job.n_messages for job in jobs)
                self._n_bytes -= sum(job.n_bytes for job in jobs)
                self._changed.notify_all()

    def _write(self, jobs: Sequence[Job]) -> None:
        error = self._attempt(jobs)
        changes = [job for job in jobs if not job.n_messages]
        appends = [job for job in jobs if job.n_messages]
        change_error = error
        if error is not None and changes and appends:
            # On a full disk deletions and committed offsets still fit, and deletions are what makes room.
            change_error = self._attempt(changes)
        _answer(changes, change_error)
        _answer(appends, error)

    def _attempt(self, jobs: Sequence[Job]) -> Exception | None:
        try:
            with self._file.transaction():
                for job in jobs:
                    job.write(self._file)
        except Exception as exc:  # a bug too must reach the publishers, and not end the thread
            for job in jobs:
                job.undo()
            return exc
        return None


def _answer(jobs: Sequence[Job], error: Exception | None) -> None:
    for job in jobs:
        if error is None:
            job.succeed()
        else:
            job.future.set_exception(error)
