from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumers.runner import OffsetOwner, Role, Runner, RunnerSettings
from consumers.writing import publish_durably
from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.embedded.reader import EmbeddedReader
from stream.log import LogUnavailable, Message, Position, QueueFull, Record
from stream.topics import topics
from tests.consumers.store_support import (
    DEADLINE_S,
    N_PARTITIONS,
    click,
    new_metrics,
    open_log,
    publish,
    value,
)
from tests.waiting import wait_until

QUICK = RunnerSettings(poll_s=0.05, backoff_s=0.001, max_backoff_s=0.01, max_restarts=2)


class Noting:
    """Notes the offsets it handles; fails while told to."""

    topic = "events"

    def __init__(self, name: str = "noting", failure: Callable[[list[Record]], None] | None = None) -> None:
        self.name = name
        self.group: str | None = name
        self.offsets: list[int] = []
        self.n_closed = 0
        self._failure = failure

    def handle(self, records: list[Record]) -> None:
        if self._failure is not None:
            self._failure(records)
        self.offsets += [record.offset for record in records]

    def close(self) -> None:
        self.n_closed += 1


class Owning(Noting):
    """Keeps its offsets itself, whatever the group committed."""

    def __init__(self, own: dict[int, int], failure: Callable[[list[Record]], None] | None = None) -> None:
        super().__init__("owning", failure)
        self.own = own
        self.n_idle = 0

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return {partition: self.own.setdefault(partition, 0) for partition in partitions}

    def lost(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            del self.own[partition]

    def rewind(self, offsets: Mapping[int, int]) -> None:
        self.own.update(offsets)

    def idle(self) -> None:
        self.n_idle += 1

    def positions(self) -> Mapping[int, int]:
        return self.own

    def handle(self, records: list[Record]) -> None:
        super().handle(records)
        for record in records:
            self.own[record.partition] = record.offset + 1


class Failing:
    """Raises the first `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, records: list[Record]) -> None:
        if self.left:
            self.left -= 1
            raise RuntimeError("the disk is on fire")


@contextmanager
def running(
    log: EmbeddedLog, *roles: Role, metrics: Metrics | None = None, settings: RunnerSettings = QUICK
) -> Iterator[Runner]:
    runner = Runner(log, roles, metrics=metrics or new_metrics(), settings=settings)
    runner.start()
    try:
        yield runner
    finally:
        runner.stop(DEADLINE_S)


def test_role_gets_records_and_the_next_start_goes_on_after_them(tmp_path: Path) -> None:
    first, second = Noting(), Noting()
    with open_log(tmp_path) as log:
        publish(log, [click(n) for n in range(3)])
        with running(log, first):
            wait_until(lambda: first.offsets == [0, 1, 2], "three records")
        publish(log, [click(3)])
        with running(log, second):
            wait_until(lambda: second.offsets == [3], "the one that is new")
    assert (first.n_closed, second.n_closed) == (1, 1)


def test_role_that_rests_lets_records_gather_and_a_full_batch_does_not_rest(tmp_path: Path) -> None:
    resting, other = Noting("resting"), Noting("other")
    settings = replace(QUICK, max_records=2, rests_s={"resting": 600.0})
    with open_log(tmp_path) as log:
        publish(log, [click(n) for n in range(3)])
        with running(log, resting, other, settings=settings) as runner:
            wait_until(lambda: resting.offsets == [0, 1, 2], "a full batch, and then one that is not")
            publish(log, [click(3)])
            wait_until(lambda: other.offsets == [0, 1, 2, 3], "the role that does not rest")
            assert resting.offsets == [0, 1, 2]
            assert runner.stop(DEADLINE_S) == []


def test_batch_that_raised_is_read_again_and_the_role_recovers(tmp_path: Path) -> None:
    role, metrics = Noting(failure=Failing(times=1)), new_metrics()
    with capture_logs() as logs, open_log(tmp_path) as log:
        publish(log, [click(0), click(1)])
        with running(log, role, metrics=metrics) as runner:
            wait_until(lambda: role.offsets == [0, 1], "the batch again")
            wait_until(lambda: runner.health()["noting"].state == "running", "recovery")
            health = runner.health()["noting"]
    assert (health.is_healthy, health.n_restarts) == (True, 1)
    assert health.last_error == "RuntimeError: the disk is on fire"
    assert value(metrics, "role_restarts_total", {"role": "noting"}) == 1
    assert [line["event"] for line in logs] == ["role_failed", "role_recovered"]


class FullDisk(EmbeddedLog):
    """Reads, and takes no commits."""

    def reader(self, topic: str, **arguments: Any) -> EmbeddedReader:
        reader = super().reader(topic, **arguments)

        def commit(offsets: Mapping[int, int] | None = None) -> None:
            raise LogUnavailable("database or disk is full")

        reader.commit = commit
        return reader


def test_owner_whose_commits_are_refused_goes_on_as_they_only_report_lag(tmp_path: Path) -> None:
    owner, other = Owning({}), Noting()
    with open_log(tmp_path) as log:
        publish(log, [click(0)])
    log = FullDisk(tmp_path / "log.sqlite", topics(N_PARTITIONS))
    with running(log, owner, other) as runner:
        wait_until(lambda: len(other.offsets) > 1, "the one that needs its commits, which reads again")
        assert runner.health()["noting"].state == "waiting"
        wait_until(lambda: owner.offsets == [0], "the record")
        assert runner.stop(DEADLINE_S) == []
        assert [health.n_restarts for health in runner.health().values()] == [0, 0]
    log.close()


def test_role_that_keeps_failing_is_unhealthy_until_it_recovers(tmp_path: Path) -> None:
    failing = Failing(times=10**9)
    role, other = Noting(failure=failing), Noting("other")
    with capture_logs() as logs, open_log(tmp_path) as log:
        publish(log, [click(0)])
        with running(log, role, other) as runner:
            wait_until(lambda: runner.health()["noting"].n_restarts > 4, "restarts")
            assert not runner.health()["noting"].is_healthy
            wait_until(lambda: other.offsets == [0], "the other role's record")
            assert runner.health()["other"].is_healthy
            failing.left = 0
            wait_until(lambda: role.offsets == [0], "recovery")
    assert [line["event"] for line in logs].count("role_failed") == 1
    assert [line["event"] for line in logs].count("role_unhealthy") == 1


class Unreachable(EmbeddedLog):
    """Brokers that go and come back: polls give nothing meanwhile, and all else is refused."""

    is_gone = False
    n_refused = 0

    def _ask(self) -> None:
        if self.is_gone:
            self.n_refused += 1
            raise LogUnavailable("no broker answers")

    def publish(self, topic: str, messages: Sequence[Message]) -> Future[list[Position]]:
        try:
            self._ask()
        except LogUnavailable as exc:
            refused: Future[list[Position]] = Future()
            refused.set_exception(exc)
            return refused
        return super().publish(topic, messages)

    def ends(self, topic: str) -> dict[int, int]:
        self._ask()
        return super().ends(topic)

    def reader(self, topic: str, **arguments: Any) -> EmbeddedReader:
        self._ask()
        reader = super().reader(topic, **arguments)
        poll, lag, commit, close = reader.poll, reader.lag, reader.commit, reader.close
        reader.poll = lambda **bounds: [] if self.is_gone else poll(**bounds)
        reader.lag = lambda: self._ask() or lag()
        reader.commit = lambda offsets=None: self._ask() or commit(offsets)

        def leave() -> None:
            close()
            self._ask()

        reader.close = leave
        return reader


def test_role_whose_log_is_gone_waits_without_a_restart_and_goes_on(tmp_path: Path) -> None:
    role = Noting()
    with open_log(tmp_path):
        pass
    log = Unreachable(tmp_path / "log.sqlite", topics(N_PARTITIONS))
    with capture_logs() as logs, closing(log), running(log, role) as runner:
        wait_until(lambda: runner.health()["noting"].state == "running", "start")
        log.is_gone = True
        wait_until(lambda: runner.health()["noting"].state == "waiting", "the log's absence")
        assert runner.health()["noting"].last_error == "no broker answers"
        log.is_gone = False
        wait_until(lambda: runner.health()["noting"].state == "running", "the log's return")
        assert runner.health()["noting"].n_restarts == 0
    assert [line["event"] for line in logs] == ["log_unreachable", "role_recovered"]


@pytest.mark.parametrize(("is_publishing", "offsets"), [(True, [0, 1]), (False, [0, 1, 0, 1])])
def test_role_whose_write_or_commit_the_log_refuses_reads_the_batch_again_without_a_restart(
    tmp_path: Path, is_publishing: bool, offsets: list[int]
) -> None:
    def lose_the_log(records: list[Record]) -> None:
        if log.n_refused == 0:
            log.is_gone = True
        if is_publishing:
            publish_durably(log, "dead-letter", [Message(b"k", b"v")])

    role = Owning({}, failure=lose_the_log) if is_publishing else Noting("owning", failure=lose_the_log)
    with open_log(tmp_path) as before:
        publish(before, [click(0), click(1)])
    log = Unreachable(tmp_path / "log.sqlite", topics(N_PARTITIONS))
    with capture_logs() as logs, closing(log), running(log, role) as runner:
        wait_until(lambda: log.n_refused > 2 * QUICK.max_restarts, "refusals, and attempts to read again")
        health = runner.health()["owning"]
        assert (health.state, health.is_healthy, health.n_restarts) == ("waiting", True, 0)
        log.is_gone = False
        wait_until(lambda: role.offsets == offsets, "the batch again")
        wait_until(lambda: runner.health()["owning"].state == "running", "the log's return")
        assert runner.health()["owning"].n_restarts == 0
    assert [line["event"] for line in logs] == ["log_unreachable", "role_recovered"]


def test_role_that_finds_the_logs_queue_full_reads_the_batch_again_without_a_restart(tmp_path: Path) -> None:
    refusals = [QueueFull("10000 messages wait for the brokers")]

    def publish_more(records: list[Record]) -> None:
        if refusals:
            raise refusals.pop()

    role = Noting(failure=publish_more)
    with open_log(tmp_path) as log, running(log, role) as runner:
        publish(log, [click(0)])
        wait_until(lambda: role.offsets == [0], "the record")
        assert runner.health()["noting"].n_restarts == 0


def test_role_without_a_share_is_starting_until_its_group_has_settled(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        holders = [log.reader("events", group="owning") for _ in range(N_PARTITIONS)]
        for reader in holders:
            reader.poll(max_records=1, timeout_s=0)
        wait_until(lambda: _all_hold_one(holders), "each has one partition")
        starting, settled = Owning({}), Owning({})
        with running(log, starting, settings=replace(QUICK, settle_s=600.0)) as runner:
            wait_until(lambda: starting.n_idle > 2, "polls that give nothing")
            assert runner.health()["owning"].state == "starting"
        with running(log, settled, settings=replace(QUICK, settle_s=0.0)) as runner:
            wait_until(lambda: runner.health()["owning"].state == "running", "more members than partitions")
        for reader in holders:
            reader.close()


def test_role_gives_up_what_it_is_not_given_back_after_a_restart(tmp_path: Path) -> None:
    role = Owning(dict.fromkeys(range(N_PARTITIONS), 0))  # held before, and now all another's
    with open_log(tmp_path) as log:
        holders = [log.reader("events", group="owning") for _ in range(N_PARTITIONS)]
        wait_until(lambda: _all_hold_one(holders), "each has one partition")
        with running(log, role, settings=replace(QUICK, settle_s=0.0)):
            wait_until(lambda: not role.own, "nothing is held any more")
        for reader in holders:
            reader.close()


def _all_hold_one(readers: Sequence[EmbeddedReader]) -> bool:
    for reader in readers:
        reader.poll(max_records=1, timeout_s=0)
    return all(len(reader.assigned()) == 1 for reader in readers)


class LosingItsBrokers(EmbeddedLog):
    """Its first reader cannot leave the group in order."""

    n_readers = 0

    def reader(self, topic: str, **arguments: Any) -> EmbeddedReader:
        reader = super().reader(topic, **arguments)
        known = reader.close
        self.n_readers += 1

        def close() -> None:
            known()
            raise LogUnavailable("leaving the readers of 'events'")

        if self.n_readers == 1:
            reader.close = close
        return reader


def test_role_whose_reader_could_not_leave_its_group_is_told_later_losses_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = Owning({}, failure=Failing(times=1))
    monkeypatch.setattr("consumers.runner._REPORT_EVERY_S", 600.0)  # a report would notice the loss too, but late
    with open_log(tmp_path):
        pass
    log = LosingItsBrokers(tmp_path / "log.sqlite", topics(N_PARTITIONS))
    with closing(log), running(log, role) as runner:
        publish(log, [click(0)])
        wait_until(lambda: role.offsets == [0], "the record, after a restart")
        wait_until(lambda: runner.health()["owning"].state == "running", "recovery")
        with closing(log.reader("events", group="owning")) as other:
            wait_until(lambda: _all_hold_one([other]), "a share of the group")
            wait_until(lambda: len(role.own) == N_PARTITIONS - 1, "the loss of it")


class Sparing(EmbeddedLog):
    """Gives less than is asked for, as brokers do: what a fetch has brought of one partition."""

    def reader(self, topic: str, **arguments: Any) -> EmbeddedReader:
        reader = super().reader(topic, **arguments)
        known = reader.poll
        reader.poll = lambda *, max_records, timeout_s: known(max_records=1, timeout_s=timeout_s)
        return reader


def test_lag_is_asked_soon_again_while_many_records_are_known_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lags: list[int] = []
    role = Noting(failure=lambda _: lags.append(runner.health()["noting"].lag_records))
    monkeypatch.setattr("consumers.runner._BUSY_REPORT_EVERY_S", 600.0)
    monkeypatch.setattr("consumers.runner._REPORT_EVERY_S", 0.0)
    with open_log(tmp_path) as before:
        publish(before, [click(n) for n in range(20)])
    with closing(Sparing(tmp_path / "log.sqlite", topics(N_PARTITIONS))) as log:
        runner = Runner(log, [role], metrics=new_metrics(), settings=replace(QUICK, max_records=5))
        runner.start()
        wait_until(lambda: len(role.offsets) == 20, "what waited")
        assert runner.stop(DEADLINE_S) == []
    assert lags[1:] == [19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 5, 5, 5, 5]


def test_role_without_a_group_reads_every_partition_beside_others(tmp_path: Path) -> None:
    first, second = Noting("first"), Noting("second")
    first.group = second.group = None
    with open_log(tmp_path) as log:
        publish(log, [click(n, user=user) for user in ("ada", "user-1") for n in range(2)])
        assert log.ends("events") == {0: 2, 1: 2}
        with running(log, first, second):
            wait_until(lambda: sorted(first.offsets) == sorted(second.offsets) == [0, 0, 1, 1], "everything, twice")


def test_owner_is_put_back_to_its_own_offsets(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, [click(n) for n in range(5)])
        partition = next(p for p, end in log.ends("events").items() if end == 5)
        committed = Owning({})
        with running(log, committed):
            wait_until(lambda: committed.offsets == [0, 1, 2, 3, 4], "all records")
        restored = Owning({partition: 3})
        with running(log, restored):
            wait_until(lambda: restored.offsets == [3, 4], "records after its own offset")


def test_owner_that_stands_beyond_the_logs_end_is_told_so_and_reads_on_from_there(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, [click(n) for n in range(3)])
        partition, other = sorted(log.ends("events"), key=lambda p: log.ends("events")[p], reverse=True)
        role = Owning({partition: 8})
        with capture_logs() as logs, running(log, role):
            wait_until(lambda: role.own == {partition: 3, other: 0}, "the log's end")
            publish(log, [click(n) for n in range(3, 7)])
            wait_until(lambda: role.offsets == [3, 4, 5, 6], "all that is new")
    (told,) = [line for line in logs if line["event"] == "state_ahead_of_log"]
    assert (told["role"], told["topic"], told["state"], told["log_ends"]) == (
        "owning",
        "events",
        {partition: 8},
        {partition: 3},
    )


def test_events_that_come_while_an_owner_loads_do_not_hide_that_it_stands_beyond_the_end(tmp_path: Path) -> None:
    class LoadsSlowly(Owning):
        def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
            publish(log, [click(n) for n in range(3, 8)])
            return super().gained(partitions)

    with open_log(tmp_path) as log:
        publish(log, [click(n) for n in range(3)])
        partition = next(p for p, end in log.ends("events").items() if end == 3)
        role = LoadsSlowly({partition: 8})
        with running(log, role):
            wait_until(lambda: role.offsets[:5] == [3, 4, 5, 6, 7], "all that came meanwhile")


def test_owner_keeps_its_state_over_a_restart(tmp_path: Path) -> None:
    role = Owning({}, failure=lambda records: failing(records) if records[0].offset == 2 else None)
    failing = Failing(times=1)
    with open_log(tmp_path) as log:
        publish(log, [click(0), click(1)])
        with running(log, role):
            wait_until(lambda: role.offsets == [0, 1], "first records")
            publish(log, [click(2)])
            wait_until(lambda: role.offsets == [0, 1, 2], "the last one, after a restart")


def test_commits_of_an_owner_report_lag(tmp_path: Path) -> None:
    role, metrics = Owning({}), new_metrics()
    labels = {"role": "owning", "topic": "events"}
    with open_log(tmp_path) as log:
        publish(log, [click(n) for n in range(5)])
        with running(log, role, metrics=metrics):
            wait_until(lambda: len(role.offsets) == 5, "all records")
            wait_until(lambda: value(metrics, "consumer_lag_records", labels) == 0, "no lag")
        reader = log.reader("events", group="owning")
        reader.poll(max_records=1, timeout_s=0)
        assert reader.committed() == role.own
        reader.close()


def test_busy_role_is_named_at_the_deadline_of_stop(tmp_path: Path) -> None:
    is_handling, may_end = Event(), Event()

    def hold(records: list[Record]) -> None:
        is_handling.set()
        may_end.wait(DEADLINE_S)

    role = Noting(failure=hold)
    with open_log(tmp_path) as log:
        publish(log, [click(0)])
        with running(log, role) as runner:
            assert is_handling.wait(DEADLINE_S)
            assert runner.stop(0.01) == ["noting"]
            may_end.set()
            assert runner.stop(DEADLINE_S) == []
            assert runner.health()["noting"].state == "stopped"


def test_role_that_does_not_come_back_from_a_batch_is_unhealthy_until_it_does(tmp_path: Path) -> None:
    may_end = Event()

    def hold(records: list[Record]) -> None:
        may_end.wait(DEADLINE_S)

    role = Noting(failure=hold)
    with open_log(tmp_path) as log:
        publish(log, [click(0)])
        with running(log, role, settings=replace(QUICK, stuck_s=0.2)) as runner:
            wait_until(lambda: not runner.health()["noting"].is_healthy, "a step that takes too long")
            may_end.set()
            wait_until(lambda: runner.health()["noting"].is_healthy, "the next step")


def test_stopping_what_never_started_is_harmless(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        assert Runner(log, [Noting()], metrics=new_metrics()).stop(1.0) == []


def test_two_roles_of_one_name_are_refused(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, pytest.raises(ValueError, match="roles named twice in"):
        Runner(log, [Noting(), Noting()], metrics=new_metrics())


def test_a_role_is_an_offset_owner_by_its_methods() -> None:
    assert isinstance(Owning({}), OffsetOwner)
    assert not isinstance(Noting(), OffsetOwner)
