"""Exposures and events on a real log become outcomes, whatever stops and starts in between."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumers.runner import Runner, RunnerSettings
from consumers.windows.role import windows_role
from consumers.windows.windows import Windows
from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.events import (
    ArmCount,
    Exposure,
    Interaction,
    Outcome,
    decode_dead_letter,
    decode_interaction,
    decode_outcome,
    encode,
)
from stream.kinds import DEFAULT_KINDS
from stream.log import LogUnavailable, Message
from stream.partition import partition_of
from stream.topics import EVENTS, EXPOSURES, ITEMS, OUTCOMES, topics
from stream.windows.attribution import AttributionSettings
from tests.consumers.store_support import DEADLINE_S, N_PARTITIONS, new_metrics, open_log, value, wait_until

RULES = AttributionSettings(window_ms=100_000, lateness_ms=10_000)
LATER_MS = 10_000_000  # closes whatever came before
FOREVER_S = 1e6


def shown(feed_id: str, ts_ms: int, *item_ids: str, user: str = "ada", **facts: object) -> Exposure:
    return Exposure(feed_id=feed_id, user_id=user, ts_ms=ts_ms, item_ids=item_ids, **facts)  # type: ignore[arg-type]


def click(event_id: str, ts_ms: int, item_id: str, user: str = "ada", kind: str = "click") -> Interaction:
    return Interaction(event_id=event_id, user_id=user, item_id=item_id, ts_ms=ts_ms, kind=kind)


def publish(log: EmbeddedLog, records: Sequence[Exposure | Interaction]) -> None:
    for topic, kind in ((EVENTS, Interaction), (EXPOSURES, Exposure)):
        chosen = [record for record in records if isinstance(record, kind)]
        messages = [Message(record.user_id.encode(), encode(record)) for record in chosen]
        log.publish(topic, messages).result(DEADLINE_S)


def closers(ts_ms: int = LATER_MS) -> list[Exposure | Interaction]:
    """A later record in every partition of both topics."""
    users = {partition_of(user.encode(), N_PARTITIONS): user for user in (f"closer-{n}" for n in range(20))}
    assert len(users) == N_PARTITIONS
    events = [click(f"closer-{user}-{ts_ms}", ts_ms, "none", user=user) for user in users.values()]
    return [*events, *(shown(f"closer-{user}-{ts_ms}", ts_ms, "other", user=user) for user in users.values())]


def outcomes(log: EmbeddedLog) -> list[Outcome]:
    found = []
    for partition in range(N_PARTITIONS):
        reader = log.reader(OUTCOMES, partitions=[partition])
        while records := reader.poll(max_records=500, timeout_s=0):
            found += [decode_outcome(record.value) for record in records]
        reader.close()
    return found


def new_windows(log: EmbeddedLog, folder: Path, metrics: Metrics | None = None, **changes: object) -> Windows:
    options = {"settings": RULES, "metrics": metrics or new_metrics(), "idle_s": FOREVER_S} | changes
    return Windows(folder / "windows", log, **options)  # type: ignore[arg-type]


@contextmanager
def running(log: EmbeddedLog, windows: Windows, *, max_records: int = 2_000) -> Iterator[None]:
    roles = [windows_role(windows, topic, kinds=DEFAULT_KINDS) for topic in (EVENTS, EXPOSURES)]
    runner = Runner(log, roles, metrics=windows.metrics, settings=RunnerSettings(poll_s=0.02, max_records=max_records))
    runner.start()
    try:
        yield
    finally:
        assert runner.stop(DEADLINE_S) == []


def all_read(log: EmbeddedLog, windows: Windows) -> bool:
    return all(windows.positions(topic) == log.ends(topic) for topic in (EVENTS, EXPOSURES))


def run_through(log: EmbeddedLog, windows: Windows, **options: int) -> None:
    with running(log, windows, **options):
        wait_until(lambda: all_read(log, windows), "all read")


def some_traffic(n_feeds: int = 60, seed: int = 3) -> list[Exposure | Interaction]:
    rng = random.Random(seed)
    records: list[Exposure | Interaction] = []
    for feed in range(n_feeds):
        user, ts_ms = f"user-{rng.randrange(7)}", 1_000_000 + 20_000 * feed
        items = [f"item-{rng.randrange(9)}" for _ in range(4)]
        records.append(
            shown(f"feed-{feed}", ts_ms, *dict.fromkeys(items), user=user, experiment="x", arm="ab"[feed % 2])
        )
        for n in range(3):
            event_ms = ts_ms + rng.randrange(150_000)
            records.append(
                click(f"e-{feed}-{n}", event_ms, rng.choice(items), user=user, kind=rng.choice(["click", "like"]))
            )
    return sorted(records, key=lambda record: record.ts_ms)


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


def expected(tmp_path: Path, records: Sequence[Exposure | Interaction]) -> tuple[dict[str, Outcome], list[ArmCount]]:
    """Outcomes and arms of a run without interruption, on a log of its own."""
    folder = tmp_path / "expected"
    folder.mkdir()
    with open_log(folder) as log:
        publish(log, [*records, *closers()])
        windows = new_windows(log, folder)
        run_through(log, windows)
        found = outcomes(log)
        assert len(found) == len({outcome.outcome_id for outcome in found})
        return {outcome.outcome_id: outcome for outcome in found}, windows.arms()


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


def test_other_topics_have_no_windows(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, pytest.raises(ValueError, match="topic 'items' has no windows"):
        windows_role(new_windows(log, tmp_path), ITEMS, kinds=DEFAULT_KINDS)
