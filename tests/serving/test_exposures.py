"""The exposure queue: never slows an answer, counts what it drops, empties itself at the end."""

import threading
from concurrent.futures import Future

from structlog.testing import capture_logs

from serving.exposures import Exposures
from stream.events import Exposure
from stream.log import LogUnavailable, Position
from tests.serving.world import World
from tests.waiting import wait_until


def _exposure(number: int) -> Exposure:
    return Exposure(feed_id=f"f{number}", user_id="ada", ts_ms=number, item_ids=("a",))


def test_closing_publishes_all_that_wait(world: World) -> None:
    exposures = Exposures(world.log, world.metrics)
    for number in range(1_200):
        exposures.add(_exposure(number))
    exposures.start()
    exposures.close()

    assert len(world.records("exposures")) == 1_200
    assert world.value("freshet_exposures_total", result="logged") == 1_200.0


def test_a_full_queue_drops_and_counts(world: World) -> None:
    exposures = Exposures(world.log, world.metrics, max_waiting=2)

    kept = [exposures.add(_exposure(number)) for number in range(5)]

    assert kept == [True, True, False, False, False]
    assert world.value("freshet_exposures_total", result="dropped") == 3.0


def test_what_the_log_refuses_is_dropped_and_failing_is_told_once_as_is_its_end(world: World) -> None:
    exposures = Exposures(world.frail_log, world.metrics)  # type: ignore[arg-type]

    def add_and_wait(result: str, n: int) -> None:
        exposures.add(_exposure(n))
        wait_until(lambda: world.value("freshet_exposures_total", result=result) == n, f"{n} are {result}")

    with capture_logs() as said:
        exposures.start()
        with world.refusing(LogUnavailable("disk full")):
            add_and_wait("dropped", 1)
            add_and_wait("dropped", 2)
        add_and_wait("logged", 1)
        add_and_wait("logged", 2)
        exposures.close()

    assert [line["event"] for line in said] == ["exposures_dropped", "exposures_logged_again"]


def test_closing_while_the_log_hangs_counts_each_exposure_that_waits_once(world: World) -> None:
    class HangingLog:
        def publish(self, *_: object) -> Future[list[Position]]:
            asked.set()
            return Future()

    asked = threading.Event()
    exposures = Exposures(HangingLog(), world.metrics)  # type: ignore[arg-type]
    exposures.start()
    exposures.add(_exposure(1))
    assert asked.wait(10)
    exposures.add(_exposure(2))
    exposures.add(_exposure(3))

    exposures.close(timeout_s=0.01)

    assert world.value("freshet_exposures_total", result="dropped") == 2.0


def test_closing_what_never_started_does_nothing(world: World) -> None:
    Exposures(world.log, world.metrics).close()
