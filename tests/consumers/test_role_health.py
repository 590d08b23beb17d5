from structlog.testing import capture_logs

from consumers.role_health import RoleHealth, RoleStatus
from consumers.runner_settings import RunnerSettings
from stream.log import LogUnavailable, Record
from tests.clock import Clock
from tests.consumers.store_support import new_metrics, value

FIRE = RuntimeError("the disk is on fire")


class Ranking:
    """A role by its name alone."""

    name, topic, group = "ranking", "events", None

    def handle(self, records: list[Record]) -> None:
        pass

    def close(self) -> None:
        pass


def status(clock: Clock, *, steady_s: float = 60.0) -> RoleStatus:
    settings = RunnerSettings(backoff_s=0.1, max_backoff_s=0.5, max_restarts=2, window_s=10.0, steady_s=steady_s)
    return RoleStatus(Ranking(), new_metrics(), settings, clock=clock)


def test_pause_after_an_error_doubles_up_to_its_bound() -> None:
    role = status(Clock())

    assert [role.failed(FIRE) for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_role_is_unhealthy_while_its_window_holds_more_errors_than_allowed() -> None:
    clock = Clock()
    role = status(clock)
    seen: list[bool] = []
    for clock.now_s in (0.0, 1.0, 2.0):
        role.failed(FIRE)
        seen.append(role.health.is_healthy)

    clock.now_s = 10.0
    role.runs(0)
    seen.append(role.health.is_healthy)
    clock.now_s = 10.5  # the first error is past
    role.runs(0)

    assert seen == [True, True, False, False]
    assert role.health.is_healthy


def test_role_that_failed_often_is_healthy_once_it_ran_for_a_while() -> None:
    clock = Clock()
    role = status(clock, steady_s=3.0)
    for _ in range(4):
        role.failed(FIRE)
    clock.now_s = 1.0
    role.runs(0)
    is_healthy_at_once = role.health.is_healthy

    clock.now_s = 4.0
    role.runs(0)

    assert not is_healthy_at_once
    assert role.health == RoleHealth("running", True, 4, "RuntimeError: the disk is on fire", 0)
    assert role.failed(FIRE) == 0.1


def test_each_change_of_state_is_logged_once() -> None:
    role = status(Clock())

    with capture_logs() as logs:
        for _ in range(4):
            role.failed(FIRE)
        role.runs(3)
        role.runs(0)
        role.waits(LogUnavailable("no broker answers"))
        role.waits(LogUnavailable("no broker answers"))
        role.runs(0)

    assert [line["event"] for line in logs] == [
        "role_failed",
        "role_unhealthy",
        "role_recovered",
        "log_unreachable",
        "role_recovered",
    ]


def test_waiting_for_the_log_is_no_restart() -> None:
    role = status(Clock())
    role.runs(7)

    role.waits(LogUnavailable("no broker answers"))

    assert role.health == RoleHealth("waiting", True, 0, "no broker answers", 7)


def test_lag_is_no_number_while_the_role_does_not_read() -> None:
    metrics = new_metrics()
    role = RoleStatus(Ranking(), metrics, RunnerSettings())
    labels = {"role": "ranking", "topic": "events"}
    role.runs(7)
    told = [value(metrics, "consumer_lag_records", labels)]
    for tell in (lambda: role.waits(LogUnavailable("no broker answers")), lambda: role.failed(FIRE), role.stopped):
        tell()
        told.append(value(metrics, "consumer_lag_records", labels))
        role.runs(3)
        told.append(value(metrics, "consumer_lag_records", labels))

    assert str(told) == "[7.0, nan, 3.0, nan, 3.0, nan, 3.0]"


def test_role_that_is_at_one_step_for_too_long_is_unhealthy_until_the_next() -> None:
    metrics, clock = new_metrics(), Clock()
    role = RoleStatus(Ranking(), metrics, RunnerSettings(stuck_s=300.0), clock=clock)
    role.stepped()
    role.runs(0)
    clock.now_s = 300.0
    is_healthy = role.health.is_healthy
    clock.now_s = 301.0

    assert is_healthy
    assert role.health == RoleHealth("running", False, 0, "at one step for 301 s, the limit is 300 s", 0)
    assert value(metrics, "role_step_age_seconds", {"role": "ranking"}) == 301.0
    role.stepped()
    assert role.health == RoleHealth("running", True, 0, None, 0)
    assert value(metrics, "role_step_age_seconds", {"role": "ranking"}) == 0.0


def test_restarts_and_lag_are_counted_under_the_name_of_the_role() -> None:
    metrics = new_metrics()
    role = RoleStatus(Ranking(), metrics, RunnerSettings())

    role.failed(FIRE)
    role.runs(12)

    assert value(metrics, "role_restarts_total", {"role": "ranking"}) == 1
    assert value(metrics, "consumer_lag_records", {"role": "ranking", "topic": "events"}) == 12
