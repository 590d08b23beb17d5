"""Runs roles: one thread each, poll -> handle -> commit, started again after an error.

Handlers may run twice: a batch that raised, or whose commit was not reached, is read again. A role that keeps its
own offsets beside its state (`OffsetOwner`) is put back to them whenever it gains a partition; the group's commit
then only reports lag.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Thread

import structlog

from consumers.role_health import RoleHealth, RoleStatus
from consumers.roles import OffsetOwner, Role
from consumers.runner_settings import RunnerSettings
from monitoring.metrics import Metrics
from stream.log import Log, LogUnavailable, NotAssigned, QueueFull, Reader, Record

__all__ = ["OffsetOwner", "Role", "Runner", "RunnerSettings"]

_REPORT_EVERY_S = 1.0
# While records flow and none wait: asking takes brokers some ms, and meanwhile nothing is handled.
_BUSY_REPORT_EVERY_S = 5.0


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
        return {name: loop.status.health for name, loop in self._loops.items()}

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
        self.status = RoleStatus(role, metrics, settings)
        self._log, self._role = log, role
        self._settings, self._stop = settings, stop
        self._rest_s = settings.rests_s.get(role.name, 0.0)
        self._owner = role if isinstance(role, OffsetOwner) else None
        self._gained: list[int] = []
        self._is_closing = False  # closing a reader loses its partitions, but the role keeps its state
        self._is_closed = False
        self._committed: dict[int, int] | None = None  # what an owner last committed
        self._reported_at = 0.0
        self._opened_at = 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except (LogUnavailable, QueueFull) as exc:  # what it read comes again, as after an error
                self._stop.wait(self.status.interrupted(exc))
            except Exception as exc:  # whatever a role raises: the others go on, and this one is tried again
                self._stop.wait(self.status.failed(exc))
        if not self._is_closed:  # it stopped between an error and its next start
            self._close_role()
        self.status.stopped()

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
                with suppress(LogUnavailable):  # the group puts it out in time; an error that led here goes on
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
        self.status.stepped()
        try:
            records = reader.poll(max_records=self._settings.max_records, timeout_s=self._settings.poll_s)
        except LogUnavailable as exc:
            self.status.waits(exc)
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
        for partition, offset in self._offsets_of(self._owner, gained).items():
            reader.seek(partition, offset)
        self._gained.clear()
        return [record for record in records if record.partition not in gained]

    def _offsets_of(self, owner: OffsetOwner, gained: Sequence[int]) -> dict[int, int]:
        """Where the owner stands: never beyond the log's end, since all that is yet to come would be passed over.

        It was beyond when an older log was put back, or brokers lost what was not on their disks. The end is asked
        first: events that come while state is loaded are not to hide it.
        """
        ends = self._log.ends(self._role.topic)
        offsets = dict(owner.gained(gained))
        ahead = {partition: offset for partition, offset in offsets.items() if offset > ends[partition]}
        if not ahead:
            return offsets
        log_ends = {partition: ends[partition] for partition in ahead}
        structlog.get_logger().error(
            "state_ahead_of_log", role=self._role.name, topic=self._role.topic, state=ahead, log_ends=log_ends
        )
        owner.rewind(log_ends)
        return offsets | log_ends

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

    def _report(self, reader: Reader, *, is_flowing: bool) -> None:
        now, health = time.monotonic(), self.status.health
        is_level = is_flowing and health.lag_records <= self._settings.max_records
        every_s = _BUSY_REPORT_EVERY_S if is_level else _REPORT_EVERY_S
        if health.state == "running" and now - self._reported_at < every_s:
            return
        if health.state == "starting" and not self._is_settled(reader):
            return
        self._reported_at = now
        try:
            if self._owner is not None:
                self._let_go(reader)
                self._commit(reader)
            lag = sum(reader.lag().values())
        except LogUnavailable as exc:  # nothing can be read either; what is in memory goes on answering
            self.status.waits(exc)
            return
        self.status.runs(lag)
