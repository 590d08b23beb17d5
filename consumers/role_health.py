"""How a role does: what health, metrics and the log say of it, and for how long it pauses after an error."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

import structlog

from consumers.roles import Role
from consumers.runner_settings import RunnerSettings
from monitoring.metrics import Metrics
from stream.log import LogError

_MAX_DOUBLINGS = 30


@dataclass(frozen=True)
class RoleHealth:
    """How a role does. `state` is starting, running, waiting (for the log), restarting or stopped."""

    state: str = "starting"
    is_healthy: bool = True
    n_restarts: int = 0
    last_error: str | None = None
    lag_records: int = 0


class RoleStatus:
    """Told by a role's thread what becomes of the role; each change of state is logged once.

    Args:
        role: whose.
        metrics: restarts and lag are counted there.
        settings: when a role is unhealthy, and for how long it pauses.
        clock: seconds, never going back.
    """

    def __init__(
        self, role: Role, metrics: Metrics, settings: RunnerSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._role, self._metrics, self._settings, self._clock = role, metrics, settings, clock
        self._errors: deque[float] = deque()  # when, within the window
        self._n_interrupted = 0  # since it last ran steadily
        self._running_since = 0.0
        self._stepped_at = clock()
        metrics.role_step_age_seconds.labels(role=role.name).set_function(self._step_age_s)
        self._health = RoleHealth()
        self._lock = Lock()

    @property
    def health(self) -> RoleHealth:
        """As it is now; may be asked from any thread."""
        with self._lock:
            health = self._health
        age_s, limit_s = self._step_age_s(), self._settings.stuck_s
        if age_s <= limit_s or health.state == "stopped":
            return health
        error = f"at one step for {age_s:.0f} s, the limit is {limit_s:.0f} s"
        return replace(health, is_healthy=False, last_error=error)

    def stepped(self) -> None:
        """It begins a step: a poll, and what is done with its records; or it is about to try again."""
        self._stepped_at = self._clock()

    def failed(self, exc: Exception) -> float:
        """It raised; gives the seconds to pause before its next start."""
        now = self._clock()
        self._errors.append(now)
        is_healthy = self._is_within_limit(now)
        before = self.health
        logger = structlog.get_logger().bind(role=self._role.name, error=f"{type(exc).__name__}: {exc}")
        if before.state != "restarting":
            logger.error("role_failed", exc_info=exc)
        if before.is_healthy and not is_healthy:
            logger.error("role_unhealthy", n_restarts=len(self._errors), window_s=self._settings.window_s)
        self._metrics.role_restarts_total.labels(role=self._role.name).inc()
        self._show(
            replace(
                before,
                state="restarting",
                is_healthy=is_healthy,
                n_restarts=before.n_restarts + 1,
                last_error=f"{type(exc).__name__}: {exc}",
            )
        )
        return self._pause_s(len(self._errors))

    def interrupted(self, exc: LogError) -> float:
        """The log refused it amid a step, which is no error of the role; gives the seconds to pause."""
        self.waits(exc)
        self._n_interrupted += 1
        return self._pause_s(self._n_interrupted)

    def waits(self, exc: LogError) -> None:
        """The log cannot be reached, or takes no more, which is no error of the role."""
        self.stepped()
        if self.health.state != "waiting":
            structlog.get_logger().warning("log_unreachable", role=self._role.name, reason=str(exc))
        self._show(replace(self.health, state="waiting", last_error=str(exc)))

    def runs(self, lag_records: int) -> None:
        """It reads; so many records of its partitions wait."""
        now = self._clock()
        if self.health.state in ("restarting", "waiting"):
            self._running_since = now
            structlog.get_logger().info("role_recovered", role=self._role.name)
        elif now - self._running_since >= self._settings.steady_s:
            self._errors.clear()
            self._n_interrupted = 0
        is_healthy = self._is_within_limit(now)
        self._show(replace(self.health, state="running", is_healthy=is_healthy, lag_records=lag_records))

    def stopped(self) -> None:
        """Its thread is about to end."""
        self._show(replace(self.health, state="stopped"))

    def _pause_s(self, n_failures: int) -> float:
        doublings = min(n_failures - 1, _MAX_DOUBLINGS)
        return min(self._settings.backoff_s * float(2**doublings), self._settings.max_backoff_s)

    def _step_age_s(self) -> float:
        return self._clock() - self._stepped_at

    def _is_within_limit(self, now: float) -> bool:
        while self._errors and self._errors[0] < now - self._settings.window_s:
            self._errors.popleft()
        return len(self._errors) <= self._settings.max_restarts

    def _show(self, health: RoleHealth) -> None:
        lag = health.lag_records if health.state == "running" else math.nan
        self._metrics.consumer_lag_records.labels(role=self._role.name, topic=self._role.topic).set(lag)
        with self._lock:
            self._health = health
