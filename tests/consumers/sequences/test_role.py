import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumers.runner import Runner, RunnerSettings
from consumers.sequences.role import SequencesRole, Snapshots
from consumers.sequences.snapshots import KindsDiffer, PartitionState, snapshot
from consumers.sequences.user_sequences import UserSequences
from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.events import decode_dead_letter, encode
from stream.kinds import DEFAULT_KINDS, EventKind, EventKinds
from stream.log import Message, Record
from stream.partition import partition_of
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


def all_applied(sequences: UserSequences, log: EmbeddedLog) -> bool:
    ends = log.ends("events")
    return bool(wait_until(lambda: sequences.applied.next_offsets() == ends, "all events"))


@contextmanager
def running(
    log: EmbeddedLog, folder: Path, *, metrics: Metrics | None = None, snapshot_s: float = 60.0
) -> Iterator[UserSequences]:
    metrics = metrics or new_metrics()
    sequences = UserSequences(N_PARTITIONS, length=4)
    snapshots = Snapshots(folder / "snapshots", log.log_id)
    role = SequencesRole(sequences, snapshots, log, kinds=DEFAULT_KINDS, metrics=metrics, snapshot_s=snapshot_s)
    runner = Runner(log, [role], metrics=metrics, settings=RunnerSettings(poll_s=0.05))
    runner.start()
    try:
        yield sequences
    finally:
        assert runner.stop(DEADLINE_S) == []


def test_published_events_reach_the_sequence(tmp_path: Path) -> None:
    metrics = new_metrics()
    with open_log(tmp_path) as log, running(log, tmp_path, metrics=metrics) as sequences:
        publish(log, [click(1), click(2), click(1), click(3, kind="dislike"), click(4, user="bob")])
        assert all_applied(sequences, log)
        assert sequences.sequence("ada") == ["item-1", "item-2"]
        assert sequences.sequence("bob") == ["item-4"]
        wait_until(lambda: value(metrics, "users") == 2, "users counted")
    assert value(metrics, "events_applied_total", {"result": "applied"}) == 3
    assert value(metrics, "events_applied_total", {"result": "duplicate"}) == 1
    assert value(metrics, "event_to_state_seconds_count") == 5


def test_records_read_again_are_not_measured_as_new(tmp_path: Path) -> None:
    metrics = new_metrics()
    partition = partition_of(b"ada", N_PARTITIONS)
    with open_log(tmp_path) as log:
        sequences = UserSequences(N_PARTITIONS, length=4)
        snapshots = Snapshots(tmp_path / "snapshots", log.log_id)
        role = SequencesRole(sequences, snapshots, log, kinds=DEFAULT_KINDS, metrics=metrics)
        role.gained([partition])
        role.handle([Record("events", partition, 0, b"ada", encode(click(1)), ts_ms=1_000)])
        role.close()
    assert sequences.sequence("ada") == ["item-1"]
    assert value(metrics, "event_to_state_seconds_count") == 0


def test_what_is_no_event_is_dead_lettered_and_the_rest_applied(tmp_path: Path) -> None:
    metrics = new_metrics()
    bad = [
        b"\xff\xfe",
        b"{}",
        None,
        b'{"type":"interaction","event_id":"e","user_id":"ada","item_id":"i","ts_ms":1,"kind":"poke"}',
    ]
    future = click(9, ts_ms=4_102_444_800_000)
    with open_log(tmp_path) as log, running(log, tmp_path, metrics=metrics) as sequences:
        log.publish("events", [Message(b"ada", raw) for raw in bad])
        publish(log, [future, click(1)])
        assert all_applied(sequences, log)
        assert sequences.sequence("ada") == ["item-1"]
        assert log.ends("dead-letter") == {0: 5}
        reader = log.reader("dead-letter", partitions=[0])
        letters = [decode_dead_letter(r.value) for r in reader.poll(max_records=9, timeout_s=DEADLINE_S)]
        reader.close()
    assert [letter.value for letter in letters[:4]] == bad
    assert "kind 'poke' is not known" in letters[3].reason
    assert "check the sender's clock" in letters[4].reason
    assert value(metrics, "dead_letters_total", {"topic": "events"}) == 5
    assert value(metrics, "events_applied_total", {"result": "rejected"}) == 5


def test_restart_goes_on_from_the_snapshot(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        with running(log, tmp_path) as sequences:
            publish(log, [click(n) for n in range(1, 4)])
            assert all_applied(sequences, log)
        publish(log, [click(n) for n in range(4, 7)])
        with capture_logs() as logs, running(log, tmp_path) as sequences:
            assert all_applied(sequences, log)
            assert sequences.sequence("ada") == ["item-3", "item-4", "item-5", "item-6"]
            assert sorted(sequences.view("ada").seen) == [f"item-{n}" for n in range(1, 7)]
    gained = {line["partition"]: line["next_offset"] for line in logs if line["event"] == "partition_gained"}
    assert gained[partition_of(b"ada", N_PARTITIONS)] == 3


def test_damaged_snapshot_is_set_aside_and_rebuilt_from_the_log(tmp_path: Path) -> None:
    partition = partition_of(b"ada", N_PARTITIONS)
    with open_log(tmp_path) as log:
        with running(log, tmp_path) as sequences:
            publish(log, [click(n) for n in range(1, 4)])
            assert all_applied(sequences, log)
        path = tmp_path / "snapshots" / f"events-{partition}.snapshot"
        path.write_bytes(path.read_bytes()[:-40])
        with capture_logs() as logs, running(log, tmp_path) as sequences:
            assert all_applied(sequences, log)
            assert sequences.sequence("ada") == ["item-1", "item-2", "item-3"]
    reasons = [line["reason"] for line in logs if line["event"] == "snapshot_set_aside"]
    assert len(reasons) == 1
    assert "checksum is wrong" in reasons[0]
    assert (path.parent / f"{path.name}.damaged").exists()


def test_state_ahead_of_an_older_log_is_kept_and_every_new_event_applied(tmp_path: Path) -> None:
    partition = partition_of(b"ada", N_PARTITIONS)
    with open_log(tmp_path) as log:
        publish(log, [click(n) for n in range(1, 3)])
    older = (tmp_path / "log.sqlite").read_bytes()
    with open_log(tmp_path) as log, running(log, tmp_path) as sequences:
        publish(log, [click(n) for n in range(3, 9)])
        assert all_applied(sequences, log)
    for path in tmp_path.glob("log.sqlite*"):
        path.unlink()
    (tmp_path / "log.sqlite").write_bytes(older)
    with open_log(tmp_path) as log:
        with running(log, tmp_path) as sequences:
            wait_until(lambda: sequences.applied.next_offsets().get(partition) == 2, "the log's end")
        loaded = Snapshots(tmp_path / "snapshots", log.log_id).load(partition, sequences)
        assert loaded is not None
        assert loaded.next_offset == 2
        with running(log, tmp_path) as sequences:
            publish(log, [click(n) for n in range(20, 23)])
            assert all_applied(sequences, log)
            assert sequences.sequence("ada") == ["item-8", "item-20", "item-21", "item-22"]
            assert "item-3" in sequences.view("ada").seen


def test_snapshots_are_written_by_interval(tmp_path: Path) -> None:
    path = tmp_path / "snapshots" / f"events-{partition_of(b'ada', N_PARTITIONS)}.snapshot"
    with open_log(tmp_path) as log, running(log, tmp_path, snapshot_s=0.02):
        publish(log, [click(1)])
        wait_until(path.exists, "a snapshot")


def test_kill_without_close_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    """The role is abandoned after a snapshot and more events; a new one stands where it stood."""
    events = [click(n % 40, user=f"user-{n % 7}", ts_ms=1_000 * (n * 13 % 60)) for n in range(200)]
    with open_log(tmp_path) as log:
        abandoned = UserSequences(N_PARTITIONS, length=4)
        snapshots = Snapshots(tmp_path / "snapshots", log.log_id)
        role = SequencesRole(abandoned, snapshots, log, kinds=DEFAULT_KINDS, metrics=new_metrics())
        role.gained(range(N_PARTITIONS))
        publish(log, events)
        for partition in range(N_PARTITIONS):
            reader = log.reader("events", partitions=[partition])
            role.handle(reader.poll(max_records=30, timeout_s=DEADLINE_S))
            snapshots.save(partition, abandoned.held()[partition])
            role.handle(reader.poll(max_records=1_000, timeout_s=DEADLINE_S))
            reader.close()
        with running(log, tmp_path) as sequences:
            assert all_applied(sequences, log)
            for user in [f"user-{n}" for n in range(7)]:
                assert sequences.history(user) == abandoned.history(user)
                assert sorted(sequences.view(user).seen) == sorted(abandoned.view(user).seen)
            assert sequences.trending(99) == abandoned.trending(99)


def test_partition_goes_to_a_second_owner_with_its_state(tmp_path: Path) -> None:
    users = [f"user-{n}" for n in range(12)]
    with open_log(tmp_path) as log, running(log, tmp_path) as first:
        publish(log, [click(n, user=user) for n, user in enumerate(users)])
        assert all_applied(first, log)
        with running(log, tmp_path) as second:
            wait_until(lambda: len(first.held()) == len(second.held()) == 1, "one partition each")
            (moved,) = second.held()
            assert moved not in first.held()
            for n, user in enumerate(users):
                owner = second if partition_of(user.encode(), N_PARTITIONS) == moved else first
                assert owner.sequence(user) == [f"item-{n}"]
        wait_until(lambda: len(first.held()) == N_PARTITIONS, "both partitions back")
        assert [first.sequence(user) for user in users] == [[f"item-{n}"] for n in range(12)]


def named(*names: str) -> EventKinds:
    return EventKinds([EventKind(name, enters_sequence=True, is_target=True) for name in names])


def test_kinds_may_be_added_at_the_end_and_other_sets_are_refused_at_the_start(tmp_path: Path) -> None:
    before = Snapshots(tmp_path, "log", kinds=named("view", "click } [é]"))
    before.save(0, UserSequences(1).empty_state())
    longer = Snapshots(tmp_path, "log", kinds=named("view", "click } [é]", "like"))
    assert longer.load(0, UserSequences(1)) is not None
    for names in (["view"], ["click } [é]", "view"], ["view", "like", "click } [é]"]):
        with pytest.raises(KindsDiffer) as refusal:
            Snapshots(tmp_path, "log", kinds=named(*names))
        assert str(refusal.value) == (
            f"snapshot {tmp_path}/events-0.snapshot is of the event kinds ['view', 'click }} [é]'], and {names} are in "
            f"force; kinds are only ever added, at the end: set them so, or move the folder away, and histories are "
            f"rebuilt as far back as the log reaches"
        )
    Snapshots(tmp_path, "another log", kinds=named("like"))  # set aside when its partition is loaded
    shorter = Snapshots(tmp_path / "none", "log", kinds=named("view"))
    shorter.root = tmp_path  # written by another replica meanwhile
    with pytest.raises(KindsDiffer, match="are in force"):
        shorter.load(0, UserSequences(1))


def test_a_snapshot_of_before_that_names_no_kinds_is_read(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "log")
    snapshot(UserSequences(1).empty_state(), snapshots.path(0), "log")
    assert Snapshots(tmp_path, "log", kinds=named("like")).load(0, UserSequences(1)) is not None


class Refusing(Snapshots):
    """Partition 0 cannot be written while there is an error."""

    error: Exception | None = OSError(errno.ENOSPC, "No space left on device")

    def save(self, partition: int, state: PartitionState) -> None:
        if partition == 0 and self.error is not None:
            raise self.error
        super().save(partition, state)


def new_role(log: EmbeddedLog, snapshots: Snapshots, snapshot_s: float = 60.0) -> SequencesRole:
    sequences = UserSequences(N_PARTITIONS)
    return SequencesRole(sequences, snapshots, log, kinds=DEFAULT_KINDS, metrics=new_metrics(), snapshot_s=snapshot_s)


def test_partitions_that_are_lost_are_let_go_also_on_a_full_disk(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, capture_logs() as logs:
        snapshots = Refusing(tmp_path / "snapshots", log.log_id)
        role = new_role(log, snapshots)
        role.gained([0, 1])
        role.lost([0, 1])
        assert role.positions() == {}
        role.close()
    assert [path.name for path in snapshots.root.iterdir()] == ["events-1.snapshot"]
    assert [line["error"] for line in logs if line["event"] == "snapshot_failed"] == [
        "OSError: [Errno 28] No space left on device"
    ]


def test_a_partition_that_cannot_be_saved_at_the_end_keeps_no_other_from_it(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, capture_logs() as logs:
        snapshots = Refusing(tmp_path / "snapshots", log.log_id)
        role = new_role(log, snapshots)
        role.gained([0, 1])
        role.close()
    assert [path.name for path in snapshots.root.iterdir()] == ["events-1.snapshot"]
    assert "snapshot_failed" in [line["event"] for line in logs]


def test_snapshots_go_on_after_any_error(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, capture_logs() as logs:
        snapshots = Refusing(tmp_path / "snapshots", log.log_id)
        snapshots.error = ValueError("the file is not what it was")
        role = new_role(log, snapshots, snapshot_s=0.01)
        role.gained([0, 1])
        wait_until(lambda: "snapshot_failed" in [line["event"] for line in logs], "an error that is told")
        snapshots.error = None
        wait_until(snapshots.path(0).exists, "a snapshot")
        role.close()


def test_only_old_unfinished_snapshots_are_cleared_away(tmp_path: Path) -> None:
    being_written, left_behind = tmp_path / "events-0.snapshot.a.tmp", tmp_path / "events-0.snapshot.b.tmp"
    for path in (being_written, left_behind):
        path.touch()
    two_hours_ago = time.time() - 7_200
    os.utime(left_behind, (two_hours_ago, two_hours_ago))
    Snapshots(tmp_path, "log")
    assert list(tmp_path.iterdir()) == [being_written]


def test_a_snapshot_never_replaces_one_that_is_further_on(tmp_path: Path) -> None:
    sequences = UserSequences(1)
    behind, ahead = sequences.empty_state(), sequences.empty_state()
    behind.next_offset, ahead.next_offset = 3, 9
    suspended, owner = Snapshots(tmp_path, "log"), Snapshots(tmp_path, "log")
    owner.save(0, ahead)
    suspended.save(0, behind)
    loaded = owner.load(0, sequences)
    assert loaded is not None
    assert loaded.next_offset == 9
