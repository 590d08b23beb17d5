"""When a row of a replay is sent: event time over wall time."""

import time
from collections.abc import Callable


class Pace:
    """When an event is due: the clock starts at the first one asked for, `speed` seconds of theirs in one of ours.

    >>> pace = Pace(60.0, clock=lambda: 100.0)
    >>> pace.due_in_s(0), pace.due_in_s(30_000)
    (0.0, 0.5)

    Args:
        speed: event time over wall time, above 0; None is as fast as possible.
        clock: seconds, never going back.

    Raises:
        ValueError: speed is not above 0.
    """

    def __init__(self, speed: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        if speed is not None and not speed > 0:
            raise ValueError(f"speed={speed} must be above 0; None plays as fast as possible")
        self._speed = speed
        self._clock = clock
        self._start: tuple[int, float] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the clock runs; never without a speed."""
        return self._start is not None

    def due_in_s(self, ts_ms: int) -> float:
        """Seconds from now until the event of this time is due; 0 when it is or was."""
        if self._speed is None:
            return 0.0
        if self._start is None:
            self._start = ts_ms, self._clock()
        first_ms, began_s = self._start
        return max(0.0, began_s + (ts_ms - first_ms) / 1000 / self._speed - self._clock())
