import asyncio
from collections.abc import Callable, Hashable
from queue import Queue

from stream.workers.watchdog import Watchdog

DEADLINE_S = 20.0


def told(progress: Callable[[], Hashable | None], *, stuck_s: float = 60.0) -> str:
    """What the watchdog says on a loop that runs."""
    reasons: Queue[str] = Queue()

    async def run() -> str:
        watchdog = Watchdog(progress, stuck_s=stuck_s, silent_s=60.0, end=reasons.put)
        watchdog.start()
        return await asyncio.to_thread(reasons.get, timeout=DEADLINE_S)

    return asyncio.run(run())


def test_recovery_that_does_not_come_on_is_ended() -> None:
    assert told(lambda: 7, stuck_s=0.2).startswith("recovery has not come on for 0.2 s at 7; ")


def test_recovery_that_comes_on_is_left_alone() -> None:
    steps = iter(range(3))

    assert "at 99" in told(lambda: next(steps, 99), stuck_s=0.7)


def test_loop_that_stood_still_is_ended_before_it_writes() -> None:
    reasons: list[str] = []

    watchdog = Watchdog(lambda: None, stuck_s=60.0, silent_s=-1.0, end=reasons.append)
    watchdog.check()

    assert reasons[0].startswith("it stood still for 0.0 s, limit is -1.0 s")


def test_process_that_does_not_end_when_asked_is_ended() -> None:
    reasons: Queue[str] = Queue()

    async def run() -> str:
        watchdog = Watchdog(lambda: None, stuck_s=60.0, silent_s=60.0, end=reasons.put)
        watchdog.start()
        watchdog.expect_end(0.1)
        return await asyncio.to_thread(reasons.get, timeout=DEADLINE_S)

    assert asyncio.run(run()) == "it was asked to end and did not in time; is the broker there?"
