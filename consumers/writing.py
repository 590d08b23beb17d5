"""What roles write beside their state: records that must be durable, and snapshots that may fail for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from stream.log import Log, LogUnavailable, Message

PUBLISH_S = 10.0


def publish_durably(log: Log, topic: str, messages: Sequence[Message]) -> None:
    """Publish and wait until all of it is durable.

    Raises:
        LogUnavailable: not within PUBLISH_S; whoever reads on from the same place sends it again.
        QueueFull: likewise.
    """
    try:
        log.publish(topic, messages).result(PUBLISH_S)
    except TimeoutError:
        raise LogUnavailable(
            f"{len(messages)} records of {topic} are not durable after {PUBLISH_S} s; they are sent again"
        ) from None


class SnapshotFailures:
    """Goes on when a snapshot cannot be written, and says so once: the log has everything, a start takes longer."""

    def __init__(self) -> None:
        self._is_failing = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Around the writing of a snapshot."""
        try:
            yield
        except Exception as exc:  # whatever it is: no state depends on it, and the next one is tried in its time
            if not self._is_failing:
                structlog.get_logger().error("snapshot_failed", error=f"{type(exc).__name__}: {exc}")
            self._is_failing = True
        else:
            self._is_failing = False
