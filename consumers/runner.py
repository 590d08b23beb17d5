"""Runs roles: one thread each, poll -> handle -> commit, started again after an error.

Handlers may run twice: a batch that raised, or whose commit was not reached, is read again. A role that keeps its
own offsets beside its state (`OffsetOwner`) is put back to them whenever it gains a partition; the group's commit
then only reports lag.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event, Lock, Thread

import structlog

from consumers.roles import OffsetOwner, Role
from monitoring.metrics import Metrics
from stream.log import Log, LogUnavailable, NotAssigned, Reader, Record

__all__ = ["OffsetOwner", "Role", "RoleHealth", "Runner", "RunnerSettings"]

_REPORT_EVERY_S = 1.0
# While records flow and none wait: asking takes brokers some ms, and meanwhile nothing is handled.
_BUSY_REPORT_EVERY_S = 5.0
_MAX_DOUBLINGS = 30


@dataclass(frozen=True)
class RunnerSettings:
    """How roles are read for and restarted.

    Attributes:
        max_records: of a batch.
        poll_s: longest wait of a poll, and so of noticing a stop.
        backoff_s: pause after a first error; doubles up to max_backoff_s.
        max_restarts: more than so many within window_s make a role unhealthy; it is still tried again.
        steady_s: a role that ran so long without an error is healthy, whatever was before.
        settle_s: how long a role counts as starting while its group has given it nothing; then it may be that there
            are more members than partitions.
        rests_s: pause after a batch that was not full, by role; for roles that nobody waits for. Records gather
            meanwhile, and a batch costs a role much the same whether it is of one record or of fifty.
    """

    max_records: int = 2_000
    poll_s: float = 0.25
    backoff_s: float = 0.1
    max_backoff_s: float = 30.0
    max_restarts: int = 5
    window_s: float = 300.0
    steady_s: float = 30.0
    settle_s: float = 15.0
    rests_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RoleHealth:
    """How a role does. `state` is starting, running, waiting (for the log), restarting or stopped."""

    state: str = "starting"
    is_healthy: bool = True
    n_restarts: int = 0
    last_error: str | None = None
    lag_records: int = 0


class Runner:
    """Starts, watches and stops roles."""

    def __init__(
        self, log: Log, roles: Sequence[Role], *, metrics: Metrics, settings: RunnerSettings | None = None
    ) -> None:
        """Nothing runs yet.

        Raises:
            ValueError: two roles of one name.
        """
        names = [role.name for role in roles]
        if len(set(names)) < len(names):
            raise ValueError(f"roles named twice in {names}; names are metric labels and must differ")
        self._stop = Event()
        settings = settings or RunnerSettings()
        self._loops = {role.name: _RoleLoop(log, role, metrics, settings, self._stop) for role in roles}

    def start(self) -> None:
        """Start a thread for each role."""
        for loop in self._loops.values():
            loop.thread.start()

    def health(self) -> dict[str, RoleHealth]:
        """How each role does, by name."""
        return {name: loop.health for name, loop in self._loops.items()}

    def stop(self, timeout_s: float) -> list[str]:
        """Ask all roles to finish their batch, close them, and wait.

        Returns:
            Names of roles still busy at the deadline; empty when all are closed.
        """
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for loop in self._loops.values():
            if loop.thread.ident is not None:
                loop.thread.join(max(0.0, deadline - time.monotonic()))
        return [name for name, loop in self._loops.items() if loop.thread.is_alive()]


class _RoleLoop:
    """One role's thread."""

    def __init__(self, log: Log, role: Role, metrics: Metrics, settings: RunnerSettings, stop: Event) -> None:
        self.thread = Thread(target=self._run, name=f"role-{role.name}", daemon=True)
        self._log, self._role, self._metrics = log, role, metrics
        self._settings, self._stop = settings, stop
        self._rest_s = settings.rests_s.get(role.name, 0.0)
        self._owner = role if isinstance(role, OffsetOwner) else None
        self._restarts: deque[float] = deque()
        self._gained: list[int] = []
        self._is_closing = False  # closing a reader loses its partitions, but the role keeps its state
        self._is_closed = False
        self._committed: dict[int, int] | None = None  # what an owner last committed
        self._reported_at = 0.0
        self._running_since = 0.0
        self._opened_at = 0.0
        self._health = RoleHealth()
        self._health_lock = Lock()

    @property
    def health(self) -> RoleHealth:
        with self._health_lock:
            return self._health

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except Exception as exc:  # whatever a role raises: the others go on, and this one is tried again
                self._stop.wait(self._note_error(exc))
        if not self._is_closed:  # it stopped between an error and its next start
            self._close_role()
        self._show(replace(self.health, state="stopped"))

    def _read(self) -> None:
        reader = self._open_reader()
        self._opened_at = time.monotonic()
        try:
            while not self._stop.is_set():
                self._step(reader)
            self._close_role()
            self._commit(reader)
        finally:
            self._is_closing = True
            try:
                reader.close()
            finally:
                self._is_closing = False
                self._gained.clear()

    def _open_reader(self) -> Reader:
        topic, group = self._role.topic, self._role.group
        partitions = sorted(self._log.ends(topic)) if group is None else None
        return self._log.reader(
            topic, group=group, partitions=partitions, on_gained=self._gained.extend, on_lost=self._on_lost
        )

    def _step(self, reader: Reader) -> None:
        """One round, in this order, so that a crash anywhere repeats records and never loses one."""
        try:
            records = reader.poll(max_records=self._settings.max_records, timeout_s=self._settings.poll_s)
        except LogUnavailable as exc:
            self._note_waiting(exc)
            self._stop.wait(self._settings.poll_s)
            return
        is_catching_up = len(records) >= self._settings.max_records
        records = self._take_over(reader, records)  # 1. state of gained partitions
        if records:
            self._role.handle(records)  # 2. effects
        elif self._owner is not None:
            self._owner.idle()
        if records and self._owner is None:
            self._commit(reader)  # 3. last; an owner's commits only report, and need not cost a write a batch
        self._report(reader, is_flowing=bool(records) and not is_catching_up)
        if records and self._rest_s and not is_catching_up:
            self._stop.wait(self._rest_s)

    def _take_over(self, reader: Reader, records: list[Record]) -> list[Record]:
        """Put an owner back to its own offsets; what was polled of a gained partition is read again."""
        if self._owner is None:
            return records
        if not self._gained:
            return records
        gained = sorted(set(reader.assigned()).intersection(self._gained))
        for partition, offset in self._owner.gained(gained).items():
            reader.seek(partition, offset)
        self._gained.clear()
        return [record for record in records if record.partition not in gained]

    def _let_go(self, reader: Reader) -> None:
        """Have an owner give up what was lost while the role was being restarted, once its group has settled."""
        if self._owner is None or not self._is_settled(reader):
            return
        gone = set(self._owner.positions()) - set(reader.assigned())
        if gone:
            self._owner.lost(sorted(gone))

    def _is_settled(self, reader: Reader) -> bool:
        """Whether the group has given this reader its share, which may be nothing."""
        return bool(reader.assigned()) or time.monotonic() - self._opened_at >= self._settings.settle_s

    def _commit(self, reader: Reader) -> None:
        if self._role.group is None:
            return  # nobody to share with: an owner keeps its own offsets, the others read from the start
        offsets = None if self._owner is None else dict(self._owner.positions())
        if self._owner is not None and offsets in ({}, self._committed):
            return
        try:
            reader.commit(offsets)
        except NotAssigned:
            return  # a partition went to another reader meanwhile, which reads these records again
        except LogUnavailable:
            if self._owner is None:
                raise
            return  # it only reports lag, and says so with the next report
        self._committed = offsets

    def _on_lost(self, partitions: tuple[int, ...]) -> None:
        self._gained[:] = [partition for partition in self._gained if partition not in partitions]
        if self._owner is not None and not self._is_closing:
            self._owner.lost(partitions)

    def _close_role(self) -> None:
        self._is_closed = True
        try:
            self._role.close()
        except Exception as exc:  # the last chance to write is gone; the log still has everything
            structlog.get_logger().exception("role_close_failed", role=self._role.name, error=str(exc))

    def _note_error(self, exc: Exception) -> float:
        """Count and show an error; seconds to pause before the next start."""
        now = time.monotonic()
        self._restarts.append(now)
        is_healthy = self._is_within_limit(now)
        before = self.health
        logger = structlog.get_logger().bind(role=self._role.name, error=f"{type(exc).__name__}: {exc}")
        if before.state != "restarting":
            logger.error("role_failed", exc_info=exc)
        if before.is_healthy and not is_healthy:
            logger.error("role_unhealthy", n_restarts=len(self._restarts), window_s=self._settings.window_s)
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
        doublings = min(len(self._restarts) - 1, _MAX_DOUBLINGS)
        return min(self._settings.backoff_s * float(2**doublings), self._settings.max_backoff_s)

    def _is_within_limit(self, now: float) -> bool:
        while self._restarts and self._restarts[0] < now - self._settings.window_s:
            self._restarts.popleft()
        return len(self._restarts) <= self._settings.max_restarts

    def _report(self, reader: Reader, *, is_flowing: bool) -> None:
        now = time.monotonic()
        state = self.health.state
        is_level = is_flowing and self.health.lag_records <= self._settings.max_records
        every_s = _BUSY_REPORT_EVERY_S if is_level else _REPORT_EVERY_S
        if state == "running" and now - self._reported_at < every_s:
            return
        if state == "starting" and not self._is_settled(reader):
            return
        self._reported_at = now
        try:
            if self._owner is not None:
                self._let_go(reader)
                self._commit(reader)
            lag = sum(reader.lag().values())
        except LogUnavailable as exc:  # nothing can be read either; what is in memory goes on answering
            self._note_waiting(exc)
            return
        self._metrics.consumer_lag_records.labels(role=self._role.name, topic=self._role.topic).set(lag)
        if state in ("restarting", "waiting"):
            self._running_since = now
            structlog.get_logger().info("role_recovered", role=self._role.name)
        elif now - self._running_since >= self._settings.steady_s:
            self._restarts.clear()
        is_healthy = self._is_within_limit(now)
        self._show(replace(self.health, state="running", is_healthy=is_healthy, lag_records=lag))

    def _note_waiting(self, exc: LogUnavailable) -> None:
        if self.health.state != "waiting":
            structlog.get_logger().warning("log_unreachable", role=self._role.name, reason=str(exc))
        self._show(replace(self.health, state="waiting", last_error=str(exc)))

    def _show(self, health: RoleHealth) -> None:
        with self._health_lock:
            self._health = health
