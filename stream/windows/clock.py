"""The stream clock of a partition: how far event time has come on all of its inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class StreamClock:
    """The lowest of the inputs' highest event times, less the lateness.

    Never ahead of the wall clock less the lateness, and never going back. An input from which nothing came for a
    while does not hold the clock, as long as another moves; unless it is known to have more to read (`hold`).

    >>> clock = StreamClock(["events", "exposures"], lateness_ms=100)
    >>> clock.see("events", 5_000)
    >>> clock.now_ms()
    0
    >>> clock.see("exposures", 3_000)
    >>> clock.now_ms()
    2900
    """

    def __init__(
        self,
        inputs: Sequence[str],
        *,
        lateness_ms: int,
        idle_s: float = 10.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Nothing was seen yet.

        Args:
            inputs: their names, at least one.
            lateness_ms: how much later than newer ones a record may come and still be in time, at least 0.
            idle_s: wall seconds without a record after which an input does not hold the clock.
            wall: seconds since 1970.

        Raises:
            ValueError: no inputs, or a value below 0.
        """
        if not inputs:
            raise ValueError("a stream clock needs at least one input; name the topics it follows")
        if lateness_ms < 0 or idle_s < 0:
            raise ValueError(f"lateness_ms={lateness_ms} and idle_s={idle_s} must be at least 0")
        self._lateness_ms, self._idle_s, self._wall = lateness_ms, idle_s, wall
        self._highest_ms = dict.fromkeys(inputs, 0)
        self._came_at = dict.fromkeys(inputs, wall())
        self._is_held = dict.fromkeys(inputs, False)
        self._now_ms = 0

    def see(self, input_name: str, ts_ms: int) -> None:
        """A record of this event time came from the input."""
        self._highest_ms[input_name] = max(self._highest_ms[input_name], ts_ms)
        self._came_at[input_name] = self._wall()

    def hold(self, input_name: str, *, is_held: bool) -> None:
        """Whether the input is known to have records that are still to be read: it is not idle then."""
        self._is_held[input_name] = is_held

    def is_held(self, input_name: str) -> bool:
        """What `hold` said last."""
        return self._is_held[input_name]

    def highest_ms(self, input_name: str) -> int:
        """Highest event time seen of the input; 0 before the first."""
        return self._highest_ms[input_name]

    def lead_ms(self, input_name: str) -> int:
        """How far an input has come beyond the slowest other one; what lies beyond the wall clock does not count."""
        others = [highest_ms for name, highest_ms in self._highest_ms.items() if name != input_name]
        here_ms = min(self._highest_ms[input_name], int(self._wall() * 1_000))
        return here_ms - min(others, default=here_ms)

    def now_ms(self) -> int:
        """Stream time in milliseconds since 1970; 0 before it can be known."""
        wall_s = self._wall()
        holding = [name for name in self._highest_ms if not self._is_idle(name, wall_s)]
        if holding:
            lowest_ms = min(self._highest_ms[name] for name in holding)
            self.advance_to(min(lowest_ms, int(wall_s * 1_000)) - self._lateness_ms)
        return self._now_ms

    def advance_to(self, now_ms: int) -> None:
        """Be at least at this time: what restored state was closed at."""
        self._now_ms = max(self._now_ms, now_ms)

    def _is_idle(self, input_name: str, wall_s: float) -> bool:
        return not self._is_held[input_name] and wall_s - self._came_at[input_name] >= self._idle_s
