"""Rests of a thread that works beside answering, so that long work does not keep the interpreter to itself.

NumPy and torch give Python's lock back during their calls and take it again sooner than a thread that waits for it
wakes up; and since the lock was free meanwhile, the one that waits never asks for it to be handed over. So work made of
many short calls can keep the others out for tens of milliseconds, whatever `sys.setswitchinterval` says.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

One = TypeVar("One")

WORK_S = 0.001  # of processor time at a stretch
REST_S = 0.0002  # long enough for a thread to wake up; with 0.001 half as much would be done in a second


def rested(
    each: Iterable[One],
    *,
    worked_s: Callable[[], float] = time.thread_time,
    rest: Callable[[float], None] = time.sleep,
) -> Iterator[One]:
    """One after the other, with a rest before the next once a stretch of work is over.

    Args:
        each: what is worked on; the thread holds no lock when it asks for the next.
        worked_s: processor seconds of this thread so far.
        rest: sleeps for some seconds.
    """
    begun_s = worked_s()
    for one in each:
        if worked_s() - begun_s >= WORK_S:
            rest(REST_S)
            begun_s = worked_s()
        yield one
