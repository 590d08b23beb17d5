from pathlib import Path

from consumers.learning.buffer_roles import TrainingBufferRole, events_role, items_role
from consumers.learning.training_buffer import BufferSettings, TrainingBuffer, load_events, load_items, read_manifest
from consumers.runner import Runner, RunnerSettings
from stream.embedded.log import EmbeddedLog
from stream.events import ItemEvent, ItemRemoval, ItemUpsert, encode
from stream.kinds import DEFAULT_KINDS
from stream.log import Message, Record
from tests.consumers.store_support import DEADLINE_S, click, new_metrics, open_log, publish, value
from tests.waiting import wait_until


def record(number: int) -> Record:
    return Record("events", 0, number, b"ada", encode(click(number)), 10**12)


def new_role(tmp_path: Path, flush_rows: int, now_s: list[float] | None = None) -> TrainingBufferRole:
    settings = BufferSettings(flush_rows=flush_rows, flush_s=30.0)
    buffer = TrainingBuffer(tmp_path, "log-1", settings=settings)
    clock = (lambda: now_s[0]) if now_s else (lambda: 0.0)
    role = events_role(buffer, kinds=DEFAULT_KINDS, metrics=new_metrics(), clock=clock)
    role.gained([0])
    return role


def publish_items(log: EmbeddedLog, items: list[ItemEvent]) -> None:
    log.publish("items", [Message(item.item_id.encode(), encode(item)) for item in items]).result(DEADLINE_S)


def wait_for_all(buffer: TrainingBuffer, log: EmbeddedLog, topic: str) -> None:
    ends = log.ends(topic)
    wait_until(lambda: all(buffer.next_offset(topic, p) == end for p, end in ends.items()), f"all {topic}")


def test_rows_are_written_when_they_are_enough(tmp_path: Path) -> None:
    role = new_role(tmp_path, flush_rows=3)
    role.handle([record(0), record(1)])
    assert role.positions() == {0: 0}
    role.handle([record(2)])
    assert role.positions() == {0: 3}
    assert load_events(tmp_path)["event_id"].to_pylist() == ["e0", "e1", "e2"]


def test_rows_are_written_when_they_are_old(tmp_path: Path) -> None:
    now_s = [100.0]
    role = new_role(tmp_path, 1_000, now_s)
    role.handle([record(0)])
    now_s[0] = 129.9
    role.idle()
    assert role.positions() == {0: 0}
    now_s[0] = 130.0
    role.idle()
    assert role.positions() == {0: 1}


def test_rows_waiting_are_written_at_close(tmp_path: Path) -> None:
    role = new_role(tmp_path, 1_000)
    role.handle([record(0)])
    role.close()
    assert read_manifest(tmp_path).rows("events") == 1


def test_rejected_records_move_the_offset_and_leave_no_row(tmp_path: Path) -> None:
    role = new_role(tmp_path, 1_000)
    role.handle([record(0), Record("events", 0, 1, b"ada", b"\xff", 10**12)])
    role.close()
    assert role.positions() == {0: 2}
    assert load_events(tmp_path)["event_id"].to_pylist() == ["e0"]


def test_rows_of_a_partition_held_survive_gaining_another(tmp_path: Path) -> None:
    role = new_role(tmp_path, 1_000)
    role.handle([record(0)])
    assert role.gained([1]) == {1: 0}
    role.close()
    assert load_events(tmp_path)["event_id"].to_pylist() == ["e0"]


def test_buffer_ahead_of_an_older_log_keeps_its_rows_and_goes_on_from_the_logs_end(tmp_path: Path) -> None:
    role = new_role(tmp_path, 2)
    role.handle([record(0), record(1)])
    role.rewind({0: 1})
    assert read_manifest(tmp_path).next == {"events": {0: 1}}
    role.handle([Record("events", 0, 1, b"ada", encode(click(9)), 10**12)])
    role.close()
    assert load_events(tmp_path)["event_id"].to_pylist() == ["e0", "e1", "e9"]


def test_rows_waiting_are_read_again_after_an_error(tmp_path: Path) -> None:
    role = new_role(tmp_path, 1_000)
    role.handle([record(0)])
    assert role.gained([0]) == {0: 0}
    role.handle([record(0), record(1)])
    role.close()
    assert load_events(tmp_path)["event_id"].to_pylist() == ["e0", "e1"]


def test_both_topics_of_a_log_reach_the_buffer_over_restarts(tmp_path: Path) -> None:
    metrics = new_metrics()
    upsert = ItemUpsert(item_id="x", ts_ms=1, title="X", image="a.png", attributes={"genre": "drama"})
    with open_log(tmp_path) as log:
        for round_number in range(3):
            publish(log, [click(10 * round_number + n, user=f"user-{n}") for n in range(10)])
            publish_items(log, [upsert, ItemUpsert(item_id=f"y{round_number}", ts_ms=2)])
            publish_items(log, [ItemRemoval(item_id="y0", ts_ms=3)])
            settings = BufferSettings(flush_rows=4, flush_s=0.05)
            buffer = TrainingBuffer(tmp_path / "buffer", log.log_id, settings=settings)
            roles = [
                events_role(buffer, kinds=DEFAULT_KINDS, metrics=metrics),
                items_role(buffer, metrics=metrics),
            ]
            runner = Runner(log, roles, metrics=metrics, settings=RunnerSettings(poll_s=0.02))
            runner.start()
            wait_for_all(buffer, log, "events")
            wait_for_all(buffer, log, "items")
            assert runner.stop(DEADLINE_S) == []
    events = load_events(tmp_path / "buffer")
    assert sorted(events["event_id"].to_pylist()) == sorted(f"e{n}" for n in range(30))
    assert load_items(tmp_path / "buffer") == {
        "x": upsert,
        "y1": ItemUpsert(item_id="y1", ts_ms=2),
        "y2": ItemUpsert(item_id="y2", ts_ms=2),
    }
    assert value(metrics, "training_rows") == 30


def test_a_tombstone_of_the_log_removes_the_item_as_in_the_catalogue(tmp_path: Path) -> None:
    role = items_role(TrainingBuffer(tmp_path, "log-1"), metrics=new_metrics())
    role.gained([0])
    upsert = encode(ItemUpsert(item_id="mug", ts_ms=1))

    role.handle([Record("items", 0, 0, b"mug", upsert, 1), Record("items", 0, 1, b"mug", None, 2)])
    role.handle([Record("items", 0, 2, b"\xff", None, 3)])
    role.close()

    assert load_items(tmp_path) == {}
    assert role.positions() == {0: 3}
