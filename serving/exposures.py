"""What feeds showed, logged without slowing an answer.

Handlers put exposures into a bounded queue; one thread publishes them in batches. A full queue or a refusing log
drops exposures and counts them: feeds go on.
"""

import contextlib
import queue
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError

import structlog

from monitoring.metrics import Metrics
from stream.events import Exposure, encode
from stream.log import Log, LogError, Message
from stream.topics import EXPOSURES

MAX_PUBLISHED = 500  # in one publish
PUBLISH_TIMEOUT_S = 5.0


class Exposures:
    """The queue and its thread."""

    def __init__(self, log: Log, metrics: Metrics, *, max_waiting: int = 10_000) -> None:
        self._log = log
        self._metrics = metrics
        self._queue: queue.Queue[Exposure | None] = queue.Queue(max_waiting)
        self._thread = threading.Thread(target=self._run, name="freshet-exposures", daemon=True)
        self._is_failing = False

    def start(self) -> None:
        """Begin publishing."""
        self._thread.start()

    def add(self, exposure: Exposure) -> bool:
        """Queue one exposure; never waits.

        Returns:
            False when the queue was full and it was dropped.
        """
        try:
            self._queue.put_nowait(exposure)
        except queue.Full:
            self._metrics.exposures_total.labels(result="dropped").inc()
            return False
        return True

    def close(self, timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
        """Publish what waits, for at most `timeout_s`; the rest is dropped and counted."""
        if not self._thread.is_alive():
            return
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._drop_the_rest()

    def _drop_the_rest(self) -> None:
        """Empty the queue under a thread that is held up, so that it ends after what it is at."""
        n_dropped = 0
        with contextlib.suppress(queue.Empty):
            while True:
                n_dropped += self._queue.get_nowait() is not None
        self._queue.put(None)
        self._count("dropped", n_dropped)

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._take()
            if batch:
                self._publish(batch)

    def _take(self) -> tuple[list[Exposure], bool]:
        """What waits now, at least one; False at the end."""
        batch: list[Exposure] = []
        exposure = self._queue.get()
        while exposure is not None:
            batch.append(exposure)
            if len(batch) == MAX_PUBLISHED or self._queue.empty():
                return batch, True
            exposure = self._queue.get()
        return batch, False

    def _publish(self, batch: list[Exposure]) -> None:
        messages = [Message(exposure.user_id.encode(), encode(exposure)) for exposure in batch]
        try:
            self._log.publish(EXPOSURES, messages).result(PUBLISH_TIMEOUT_S)
        except (LogError, FutureTimeoutError) as exc:
            self._count("dropped", len(batch))
            self._note(exc)
            return
        self._count("logged", len(batch))
        self._note(None)

    def _note(self, failure: Exception | None) -> None:
        """Log once when publishing begins to fail, and once when it works again."""
        if (failure is not None) == self._is_failing:
            return
        self._is_failing = failure is not None
        logger = structlog.get_logger()
        if failure is None:
            logger.info("exposures_logged_again")
        else:
            logger.warning("exposures_dropped", reason=str(failure) or type(failure).__name__)

    def _count(self, result: str, n: int) -> None:
        self._metrics.exposures_total.labels(result=result).inc(n)
