"""Exposures and events on a real log become outcomes, whatever stops and starts in between."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumers.windows.role import windows_role
from stream.embedded.log import EmbeddedLog
from stream.events import (
    ArmCount,
    decode_dead_letter,
    decode_interaction,
    encode,
)
from stream.kinds import DEFAULT_KINDS
from stream.log import LogUnavailable, Message, Record
from stream.partition import partition_of
from stream.topics import EVENTS, EXPOSURES, ITEMS, OUTCOMES, topics
from tests.consumers.store_support import DEADLINE_S, N_PARTITIONS, new_metrics, open_log, value
from tests.consumers.windows.windows_support import (
    all_read,
    click,
    closers,
    expected,
    new_windows,
    outcomes,
    publish,
    run_through,
    running,
    shown,
    some_traffic,
)
from tests.waiting import wait_until


def test_what_followed_a_shown_item_is_published_when_its_window_closes(tmp_path: Path) -> None:
    metrics = new_metrics()
    with open_log(tmp_path) as log:
        windows = new_windows(log, tmp_path, metrics)
        publish(log, [shown("f", 1_000_000, "a", "b", experiment="x", arm="t"), click("e", 1_050_000, "b")])
        with running(log, windows):
            wait_until(lambda: all_read(log, windows), "first records read")
            assert outcomes(log) == []
            wait_until(lambda: value(metrics, "window_users") == 1, "a user with an open window")
            publish(log, closers())
            wait_until(lambda: len(outcomes(log)) == 1, "an outcome")
            wait_until(lambda: all_read(log, windows), "all read")
        (outcome,) = outcomes(log)
        assert (outcome.outcome_id, outcome.rank, outcome.kinds, outcome.arm) == ("f:b", 1, {"click": 1}, "t")
        assert windows.arms()[-1] == ArmCount(
            experiment="x", arm="t", hour=0, n_feeds=1, n_items=2, n_outcomes=1, kinds={"click": 1}
        )
    assert value(metrics, "outcomes_total") == 1


def test_what_is_no_exposure_is_dead_lettered_and_the_rest_joined(tmp_path: Path) -> None:
    metrics = new_metrics()
    future = shown("f-future", 4_102_444_800_000, "a")
    with open_log(tmp_path) as log:
        log.publish(EXPOSURES, [Message(b"ada", raw) for raw in (b"\xff", None, encode(future))])
        log.publish(EVENTS, [Message(b"ada", b"{}")])
        publish(log, [shown("f", 1_000_000, "a"), click("e", 1_000_001, "a"), *closers()])
        run_through(log, new_windows(log, tmp_path, metrics))
        assert [outcome.outcome_id for outcome in outcomes(log)] == ["f:a"]
        reader = log.reader("dead-letter", partitions=[0])
        letters = [decode_dead_letter(record.value) for record in reader.poll(max_records=9, timeout_s=DEADLINE_S)]
        reader.close()
    assert [letter.source_topic for letter in letters] == ["exposures"] * 3
    assert "exposure rejected: ts_ms=4102444800000" in letters[2].reason
    assert value(metrics, "dead_letters_total", {"topic": "exposures"}) == 3


def test_late_records_are_counted(tmp_path: Path) -> None:
    metrics = new_metrics()
    with open_log(tmp_path) as log:
        windows = new_windows(log, tmp_path, metrics)
        with running(log, windows):
            publish(log, closers())
            wait_until(lambda: all_read(log, windows), "the clock moved")
            publish(log, [shown("f", 1_000_000, "a"), click("e1", 1_000_000, "a"), click("e2", 1_000_000, "a")])
            wait_until(lambda: all_read(log, windows), "all read")
        assert outcomes(log) == []
    assert value(metrics, "windows_late_total", {"topic": "events"}) == 2
    assert value(metrics, "windows_late_total", {"topic": "exposures"}) == 1


def test_restart_goes_on_from_the_snapshot_and_repeats_nothing(tmp_path: Path) -> None:
    records = some_traffic()
    by_id, arms = expected(tmp_path, records)
    assert len(by_id) > 50
    with open_log(tmp_path) as log:
        for start in range(0, len(records), 80):
            publish(log, records[start : start + 80])
            windows = new_windows(log, tmp_path)
            run_through(log, windows, max_records=17)
        publish(log, closers())
        windows = new_windows(log, tmp_path)
        run_through(log, windows)
        found = outcomes(log)
        assert len(found) == len(by_id)
        assert {outcome.outcome_id: outcome for outcome in found} == by_id
        assert windows.arms() == arms


def test_topic_that_is_read_long_after_the_other_changes_no_outcome(tmp_path: Path) -> None:
    """All events are there at once and the exposures come in a drip: nothing is too late, nothing let go."""
    records = some_traffic(n_feeds=400)  # within the bounds of a user's window
    by_id, arms = expected(tmp_path, records)
    with open_log(tmp_path) as log:
        publish(log, [*records, *closers()])
        metrics = new_metrics()
        windows = new_windows(log, tmp_path, metrics)
        windows.gain(EXPOSURES, range(N_PARTITIONS))
        windows.gain(EVENTS, range(N_PARTITIONS))
        for partition, end in log.ends(EVENTS).items():
            reader = log.reader(EVENTS, partitions=[partition])
            events = [decode_interaction(record.value) for record in reader.poll(max_records=end, timeout_s=0)]
            reader.close()
            windows.apply(EVENTS, partition, events, next_offset=end)
        assert outcomes(log) == []
        run_through(log, windows, max_records=5)
        assert {outcome.outcome_id: outcome for outcome in outcomes(log)} == by_id
        assert windows.arms() == arms
    assert value(metrics, "windows_late_total", {"topic": "events"}) == 0


def test_state_lost_after_publishing_repeats_the_same_outcomes(tmp_path: Path) -> None:
    records = some_traffic()
    by_id, arms = expected(tmp_path, records)
    with open_log(tmp_path) as log:
        publish(log, records)
        run_through(log, new_windows(log, tmp_path))
        files = {path: path.read_bytes() for path in (tmp_path / "windows").iterdir()}
        publish(log, closers())
        run_through(log, new_windows(log, tmp_path))
        for path, content in files.items():  # as if killed before the last snapshots
            path.write_bytes(content)
        windows = new_windows(log, tmp_path)
        run_through(log, windows)
        found = outcomes(log)
        assert len(found) > len(by_id)
        assert all(outcome == by_id[outcome.outcome_id] for outcome in found)
        assert {outcome.outcome_id for outcome in found} == set(by_id)
        assert windows.arms() == arms


def test_damaged_snapshot_is_set_aside_and_rebuilt_from_the_log(tmp_path: Path) -> None:
    records = some_traffic()
    by_id, arms = expected(tmp_path, records)
    with open_log(tmp_path) as log:
        publish(log, records)
        run_through(log, new_windows(log, tmp_path))
        path = tmp_path / "windows" / "windows-0.snapshot"
        path.write_bytes(path.read_bytes()[:-3])
        publish(log, closers())
        windows = new_windows(log, tmp_path)
        with capture_logs() as logs:
            run_through(log, windows)
        assert {outcome.outcome_id: outcome for outcome in outcomes(log)} == by_id
        assert windows.arms() == arms
    reasons = [line["reason"] for line in logs if line["event"] == "snapshot_set_aside"]
    assert reasons == ["its checksum is wrong: it was cut short or altered; rebuild from the log"]
    assert path.with_name("windows-0.snapshot.damaged").exists()


def test_snapshot_that_a_kill_left_unfinished_is_cleared_away(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        new_windows(log, tmp_path)
        unfinished = tmp_path / "windows" / ".windows-0.snapshot.0123456789abcdef.tmp"
        unfinished.write_bytes(b"half")
        run_through(log, new_windows(log, tmp_path))
        assert not unfinished.exists()


class RefusingLog(EmbeddedLog):
    """Outcomes cannot be written for a while."""

    n_refusals = 0

    def publish(self, topic, messages):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        if topic == OUTCOMES and self.n_refusals:
            self.n_refusals -= 1
            raise LogUnavailable("disk full")
        return super().publish(topic, messages)


def test_outcomes_that_could_not_be_written_are_published_later(tmp_path: Path) -> None:
    records = some_traffic()
    by_id, arms = expected(tmp_path, records)
    log = RefusingLog(tmp_path / "log.sqlite", topics(N_PARTITIONS))
    try:
        log.n_refusals = 3
        publish(log, [*records, *closers()])
        windows = new_windows(log, tmp_path)
        with capture_logs():
            run_through(log, windows, max_records=40)
        found = outcomes(log)
        assert len(found) == len(by_id)
        assert {outcome.outcome_id: outcome for outcome in found} == by_id
        assert windows.arms() == arms
        assert log.n_refusals == 0
    finally:
        log.close()


def test_snapshots_are_written_by_interval(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, [shown("f", 1_000_000, "a")])
        partition = partition_of(b"ada", N_PARTITIONS)
        with running(log, new_windows(log, tmp_path, snapshot_s=0.02)):
            wait_until((tmp_path / "windows" / f"windows-{partition}.snapshot").exists, "a snapshot")


def test_partition_that_no_role_reads_is_saved_and_let_go(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        windows = new_windows(log, tmp_path)
        for topic in (EVENTS, EXPOSURES):
            assert windows.gain(topic, [0]) == {0: 0}
        windows.apply(EVENTS, 0, [click("e", 1_000_000, "a")], next_offset=1)
        windows.lose(EVENTS, [0])
        assert (windows.positions(EVENTS), windows.positions(EXPOSURES)) == ({}, {0: 0})
        windows.lose(EXPOSURES, [0])
        assert windows.positions(EXPOSURES) == {}
        assert windows.gain(EVENTS, [0]) == {0: 1}


def test_windows_ahead_of_an_older_log_are_put_back_to_its_end_by_topic(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, [click("e", 1_000_000, "a"), shown("f", 1_000_000, "a")])
        partition = partition_of(b"ada", N_PARTITIONS)
        windows = new_windows(log, tmp_path)
        for topic in (EVENTS, EXPOSURES):
            windows.gain(topic, [partition])
            windows.apply(topic, partition, [], next_offset=5)
        windows.save()
        windows = new_windows(log, tmp_path)
        with running(log, windows):
            wait_until(lambda: all_read(log, windows), "the log's ends")
            publish(log, [shown("g", 1_000_001, "a"), click("e2", 1_000_002, "a"), *closers()])
            wait_until(lambda: [outcome.outcome_id for outcome in outcomes(log)] == ["g:a"], "what is new")


def test_windows_that_cannot_be_saved_are_let_go_and_keep_no_other_from_it(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, capture_logs() as logs:
        windows = new_windows(log, tmp_path)
        windows.gain(EVENTS, [0, 1])
        (tmp_path / "windows" / "windows-0.snapshot").mkdir()  # takes no file in its place
        windows.save()
        assert (tmp_path / "windows" / "windows-1.snapshot").is_file()
        windows.lose(EVENTS, [0, 1])
        assert windows.positions(EVENTS) == {}
    assert "snapshot_failed" in [line["event"] for line in logs]


def test_other_topics_have_no_windows(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, pytest.raises(ValueError, match="topic 'items' has no windows"):
        windows_role(new_windows(log, tmp_path), ITEMS, kinds=DEFAULT_KINDS)


def test_topic_goes_on_in_the_end_when_the_other_is_not_read(tmp_path: Path) -> None:
    """What waits is bounded; what is beyond goes into the windows, and time stands until the other topic moves."""
    n_events = 20_300
    with open_log(tmp_path) as log:
        windows = new_windows(log, tmp_path)
        role = windows_role(windows, EVENTS, kinds=DEFAULT_KINDS)
        role.gained([0])
        log.publish(EXPOSURES, [Message(b"user-1", encode(shown("f", 1, "a", user="user-1")))]).result(DEADLINE_S)
        records = [
            Record("events", 0, n, b"ada", encode(click(f"e{n}", 1_000_000 + 1_000 * n, "a", user=f"u{n}")), 10**12)
            for n in range(n_events)
        ]
        role.handle(records)
        assert windows.positions(EVENTS) == {0: 300}
        assert outcomes(log) == []
