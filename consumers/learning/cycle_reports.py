"""What a cycle says while it runs: every step, and of a long one how far it is, so that silence means it hangs."""

import time
from collections.abc import Callable

from consumers.learning.cycle_events import CycleEvent, State

PULSE_S = 30.0


class CycleReports:
    """Says what one cycle does.

    Args:
        number: of the cycle.
        report: takes every report.
        pulse_s: a step that counts is told of when nothing else was for so long.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        number: int,
        report: Callable[[CycleEvent], None],
        *,
        pulse_s: float = PULSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._number, self._report = number, report
        self._pulse_s, self._clock = pulse_s, clock
        self._said_s = clock()

    def say(self, detail: str, state: State = "progress") -> None:
        """One line for people."""
        self._said_s = self._clock()
        self._report(CycleEvent(state=state, cycle=self._number, detail=detail))

    def counting(self, what: str) -> Callable[[int, int], None]:
        """To be told how many of how many are done."""

        def count(n_done: int, n_total: int) -> None:
            if self._clock() - self._said_s >= self._pulse_s:
                self.say(f"{what}: {n_done:,} of {n_total:,}")

        return count
