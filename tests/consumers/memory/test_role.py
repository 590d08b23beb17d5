"""Events on a real log become rows of the memory, whatever stops and starts in between."""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumers.memory.follower import TransitionsFollower
from consumers.memory.role import MemoryRole, MemorySettings
from consumers.memory.shared import SharedMemory
from consumers.memory.snapshots import MemorySnapshots
from consumers.roles import Role
from consumers.runner import Runner, RunnerSettings
from models.memory.transitions import MemoryConfig
from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.events import Interaction, TransitionRow, decode_transition_row, encode
from stream.kinds import DEFAULT_KINDS
from stream.log import Message, Record
from stream.partition import partition_of
from stream.topics import EVENTS, TRANSITIONS
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

CONFIG = MemoryConfig(n_last=4, row_size=32, half_life_ms=100_000, half_life_events=math.inf)  # no order counts
OFTEN = MemorySettings(snapshot_s=1e6, publish_s=0.01)


def some_clicks(n_events: int = 300, seed: int = 3) -> list[Interaction]:
    rng = random.Random(seed)
    return [
        click(nth, user=f"user-{rng.randrange(9)}", item=f"item-{int(30 * rng.random() ** 2)}")
        for nth in range(1, n_events + 1)
    ]


def new_role(
    log: EmbeddedLog, folder: Path, *, metrics: Metrics | None = None, settings: MemorySettings = OFTEN
) -> tuple[MemoryRole, SharedMemory]:
    memory = SharedMemory(CONFIG)
    snapshots = MemorySnapshots(folder / "memory", log.log_id, length=20, max_seen=20)
    metrics = metrics or new_metrics()
    return MemoryRole(memory, snapshots, log, kinds=DEFAULT_KINDS, metrics=metrics, settings=settings), memory


@contextmanager
def running(log: EmbeddedLog, *roles: Role) -> Iterator[None]:
    settings = RunnerSettings(poll_s=0.02, max_records=17)
    runner = Runner(log, roles, metrics=new_metrics(), settings=settings)
    runner.start()
    try:
        yield
    finally:
        assert runner.stop(DEADLINE_S) == []


def run_through(log: EmbeddedLog, role: MemoryRole) -> None:
    with running(log, role):
        wait_until(lambda: role.positions() == log.ends(EVENTS), "all read")


def scores(memory: SharedMemory, history: Sequence[str]) -> dict[str, float]:
    item_ids = [f"item-{number}" for number in range(30)]
    numbers, found = memory.numbers(item_ids), memory.scores(history)
    return {item_id: float(found[n]) for item_id, n in zip(item_ids, numbers.tolist(), strict=True) if n >= 0}


def rows_on(log: EmbeddedLog) -> list[TransitionRow]:
    rows = []
    for partition in range(N_PARTITIONS):
        reader = log.reader(TRANSITIONS, partitions=[partition])
        while records := reader.poll(max_records=500, timeout_s=0):
            rows += [decode_transition_row(record.value) for record in records]
        reader.close()
    return rows


def read_records(log: EmbeddedLog, partition: int) -> list[Record]:
    reader = log.reader(EVENTS, partitions=[partition])
    records = reader.poll(max_records=10_000, timeout_s=0)
    reader.close()
    return records


def test_what_came_after_an_item_scores_after_it(tmp_path: Path) -> None:
    metrics = new_metrics()
    with open_log(tmp_path) as log:
        role, memory = new_role(log, tmp_path, metrics=metrics)
        publish(log, [click(1, item="a"), click(2, item="b"), click(2, item="b"), click(3, user="bob", item="c")])
        bad = [Message(b"ada", b"{}"), Message(b"ada", encode(click(4, kind="no-such-kind")))]
        log.publish(EVENTS, bad).result(DEADLINE_S)
        run_through(log, role)

    (number,) = memory.numbers(["b"]).tolist()
    assert memory.scores(["a"])[number] == pytest.approx(1 / (1 + CONFIG.shrinkage), rel=1e-2)
    assert memory.scores(["c"]).max() == 0
    assert value(metrics, "memory_events_total", {"result": "linked"}) == 3
    assert value(metrics, "memory_events_total", {"result": "skipped"}) == 3
    assert value(metrics, "memory_items") == 3
    assert value(metrics, "event_to_memory_seconds_count") == 6


def test_records_read_again_are_not_measured_as_new(tmp_path: Path) -> None:
    metrics = new_metrics()
    with open_log(tmp_path) as log:
        role, memory = new_role(log, tmp_path, metrics=metrics)
        role.gained([0])
        role.handle([Record(EVENTS, 0, 0, b"ada", encode(click(1)), ts_ms=1_000)])
        role.close()
    assert memory.n_items == 1
    assert value(metrics, "event_to_memory_seconds_count") == 0


def test_restart_goes_on_from_the_snapshot_and_links_nothing_twice(tmp_path: Path) -> None:
    clicks = some_clicks()
    history = [event.item_id for event in clicks[-4:]]
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    with open_log(tmp_path / "whole") as log:
        publish(log, clicks)
        role, whole = new_role(log, tmp_path / "whole")
        run_through(log, role)
    with open_log(tmp_path / "cut") as log:
        for start in range(0, len(clicks), 40):
            publish(log, clicks[max(0, start - 10) : start + 40])  # ten of them again
            role, cut = new_role(log, tmp_path / "cut")
            run_through(log, role)

    assert scores(cut, history) == pytest.approx(scores(whole, history), rel=1e-5)
    assert max(scores(cut, history).values()) > 0.1


def test_state_lost_after_the_last_snapshot_is_learned_again_and_no_event_counts_twice(tmp_path: Path) -> None:
    clicks = some_clicks()
    history = [event.item_id for event in clicks[-4:]]
    with open_log(tmp_path) as log:
        publish(log, clicks[:200])
        run_through(log, new_role(log, tmp_path)[0])
        saved = (tmp_path / "memory" / "memory.npz").read_bytes()
        publish(log, clicks[200:])
        role, before = new_role(log, tmp_path)
        run_through(log, role)
        (tmp_path / "memory" / "memory.npz").write_bytes(saved)  # as if killed before it was saved again
        role, after = new_role(log, tmp_path)
        run_through(log, role)

    assert scores(after, history) == pytest.approx(scores(before, history), rel=1e-4)
    assert max(scores(after, history).values()) > 0.1


def test_memory_ahead_of_an_older_log_is_kept_and_links_every_new_event(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        role, memory = new_role(log, tmp_path)
        role.gained([0, 1])
        part = partition_of(b"ada", N_PARTITIONS)
        role.handle([Record(EVENTS, part, n, b"ada", encode(click(n, item=f"item-{n}")), 0) for n in range(1, 9)])
        role.close()
        role, memory = new_role(log, tmp_path)
        with running(log, role):
            wait_until(lambda: role.positions() == log.ends(EVENTS), "the log's ends")
            publish(log, [click(10, item="item-20"), click(11, item="item-21")])
            wait_until(lambda: role.positions() == log.ends(EVENTS), "what is new")
        assert new_role(log, tmp_path)[0].gained([0, 1]) == log.ends(EVENTS)
    assert {"item-2", "item-21"} <= scores(memory, ["item-1", "item-20"]).keys()


def test_partitions_are_let_go_also_when_the_memory_cannot_be_saved(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, capture_logs() as logs:
        role, _ = new_role(log, tmp_path)
        role.gained([0, 1])
        (tmp_path / "memory" / "memory.npz").mkdir()  # takes no file in its place
        role.lost([0])
        assert role.positions() == {1: 0}
    assert [line["event"] for line in logs] == ["snapshot_failed"]


def test_role_started_again_goes_on_with_what_it_has(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, some_clicks(50))
        role, memory = new_role(log, tmp_path)
        role.gained(range(N_PARTITIONS))
        records = read_records(log, 0)
        role.handle(records)
        history = memory.numbers([f"item-{number}" for number in range(30)]).tolist()

        offsets = role.gained(range(N_PARTITIONS))
        role.handle(records)

    assert offsets == {0: len(records), 1: 0}
    assert memory.numbers([f"item-{number}" for number in range(30)]).tolist() == history


def test_another_process_follows_what_was_published(tmp_path: Path) -> None:
    clicks = some_clicks()
    history = [event.item_id for event in clicks[-4:]]
    metrics = new_metrics()
    followed = SharedMemory(CONFIG)
    with open_log(tmp_path) as log:
        role, memory = new_role(log, tmp_path, metrics=metrics)
        with running(log, role, TransitionsFollower(followed, metrics=metrics)):
            publish(log, clicks)
            wait_until(lambda: role.positions() == log.ends(EVENTS) and not memory.changed_rows(1), "all published")
            learned = pytest.approx(scores(memory, history), rel=1e-3)
            wait_until(lambda: scores(followed, history) == learned, "followed")
        rows = rows_on(log)
    assert {row.item_id for row in rows} == {event.item_id for event in clicks}
    assert value(metrics, "memory_rows_total", {"result": "published"}) == len(rows)
    assert value(metrics, "memory_items") == memory.n_items


def test_no_more_rows_are_published_at_once_than_are_allowed(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, some_clicks(100))
        role, memory = new_role(log, tmp_path, settings=MemorySettings(publish_s=0.0, max_rows=3))
        role.gained(range(N_PARTITIONS))
        role.handle(read_records(log, 0))
        n_changed = memory.n_items - 3
        assert [len(rows_on(log)), len(memory.changed_rows(99))] == [3, n_changed]
        role.idle()
        assert [len(rows_on(log)), len(memory.changed_rows(99))] == [6, n_changed - 3]


def test_where_nobody_follows_nothing_is_published(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, some_clicks(100))
        role, _ = new_role(log, tmp_path, settings=MemorySettings(publish_s=None))
        run_through(log, role)
        assert rows_on(log) == []


def test_rows_that_were_not_published_before_a_stop_are_published_after_it(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, some_clicks(100))
        run_through(log, new_role(log, tmp_path, settings=MemorySettings(publish_s=1e6))[0])
        assert rows_on(log) == []
        role, memory = new_role(log, tmp_path)
        with running(log, role):
            wait_until(lambda: len(rows_on(log)) == memory.n_items > 0, "all published")


def test_partitions_that_are_lost_are_not_reported_and_go_on_where_they_stood(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, some_clicks(50))
        role, _ = new_role(log, tmp_path)
        role.gained([0, 1])
        records = read_records(log, 0)
        role.handle(records)

        role.lost([0])

        assert role.positions() == {1: 0}
        assert role.gained([0]) == {0: len(records)}


def test_snapshots_are_written_when_they_are_due_and_when_partitions_are_lost(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        publish(log, some_clicks(50))
        records = read_records(log, 0)
        for name, snapshot_s in (("due", 0.0), ("lost", 1e6)):
            settings = MemorySettings(snapshot_s=snapshot_s, publish_s=None)
            role, _ = new_role(log, tmp_path / name, settings=settings)
            role.gained([0])
            role.handle(records)
            kept = MemorySnapshots(tmp_path / name / "memory", log.log_id, length=20, max_seen=20)
            assert kept.path.exists() == (name == "due")
            role.lost([0])
            saved = kept.load()
            assert saved is not None
            assert saved.next_offsets == {0: len(records)}


@pytest.mark.parametrize("damage", ["short", "altered", "empty"])
def test_damaged_snapshot_is_set_aside_and_everything_learned_again(tmp_path: Path, damage: str) -> None:
    with open_log(tmp_path) as log:
        publish(log, some_clicks())
        role, memory = new_role(log, tmp_path)
        run_through(log, role)
        path = tmp_path / "memory" / "memory.npz"
        content = path.read_bytes()
        damaged = {
            "short": content[: len(content) // 2],
            "altered": content.replace(b'"log_id"', b'"log_ie"'),
            "empty": b"",
        }
        path.write_bytes(damaged[damage])
        role, again = new_role(log, tmp_path)
        with capture_logs() as logs:
            run_through(log, role)

    assert [entry["event"] for entry in logs if entry["event"] == "snapshot_set_aside"] == ["snapshot_set_aside"]
    assert (tmp_path / "memory" / "memory.npz.damaged").exists()
    assert again.n_items == memory.n_items


def test_no_rows_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="max_rows=0 must be at least 1; 100 is usual"):
        MemorySettings(max_rows=0)


def test_tombstones_and_what_is_no_row_are_passed_over() -> None:
    memory = SharedMemory(CONFIG)
    follower = TransitionsFollower(memory, metrics=new_metrics())

    follower.handle([Record(TRANSITIONS, 0, offset, b"a", raw, 1) for offset, raw in enumerate((None, b"\xff", b"{}"))])

    assert memory.n_items == 0
