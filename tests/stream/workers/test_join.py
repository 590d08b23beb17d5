"""The join on a table and a log that are plain lists, and that are durable when the test says so."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from stream.admission import MAX_AHEAD_MS
from stream.events import (
    Exposure,
    Interaction,
    decode_dead_letter,
    decode_outcome,
    decode_partition_counts,
    encode,
)
from stream.topics import COUNTS, DEAD_LETTER, EVENTS, EXPOSURES, MAX_DEAD_LETTER_BYTES, OUTCOMES
from stream.windows.attribution import AttributionSettings
from stream.workers.join import Join
from stream.workers.metrics import WorkerMetrics
from stream.workers.partition import JoinSettings

T0 = 1_700_000_000_000
WINDOW_MS = 1_000
IDLE_S = 0.05
SETTINGS = JoinSettings(AttributionSettings(window_ms=WINDOW_MS, lateness_ms=0), idle_s=IDLE_S)


class Table:
    """Values at once; durable when told."""

    def __init__(self) -> None:
        self.users: dict[str, bytes] = {}
        self.clock: bytes | None = None
        self.waiting: list[Callable[[], None]] = []

    def read(self, partition: int, user_id: str) -> bytes | None:
        return self.users.get(user_id)

    def write(self, partition: int, user_id: str, value: bytes, done: Callable[[], None]) -> None:
        self.users[user_id] = value
        self.waiting.append(done)

    def read_clock(self, partition: int) -> bytes | None:
        return self.clock

    def write_clock(self, partition: int, value: bytes, done: Callable[[], None]) -> None:
        self.clock = value
        self.waiting.append(done)

    def items(self, partition: int) -> Iterator[tuple[str, bytes]]:
        return iter(list(self.users.items()))

    def make_durable(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


class Sent:
    """What was published; durable when told."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, bytes, bytes]] = []
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, topic: str, partition: int, key: bytes, value: bytes, done: Callable[[], None]) -> None:
        self.records.append((topic, partition, key, value))
        self.waiting.append(done)

    def values(self, topic: str) -> list[bytes]:
        return [value for name, _, _, value in self.records if name == topic]

    def make_durable(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


class World:
    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table()
        self.sent = Sent()
        self.metrics = WorkerMetrics()
        self.acknowledged: list[int] = []
        self.join = Join(self.table, self.sent, settings=SETTINGS, metrics=self.metrics)
        self._offset = 0
        for _ in self.join.restore(0):
            pass

    def event(self, event_id: str, item_id: str, ts_ms: int, user_id: str = "ada") -> None:
        event = Interaction(event_id=event_id, user_id=user_id, item_id=item_id, ts_ms=ts_ms)
        self.join.handle_event(self._record(encode(event)))

    def exposure(self, feed_id: str, item_ids: tuple[str, ...], ts_ms: int, user_id: str = "ada") -> None:
        exposure = Exposure(feed_id=feed_id, user_id=user_id, ts_ms=ts_ms, item_ids=item_ids)
        self.join.handle_exposure(self._record(encode(exposure)))

    def raw(self, value: bytes | None) -> None:
        self.join.handle_event(self._record(value))

    def make_durable(self) -> None:
        self.sent.make_durable()
        self.table.make_durable()

    def end_windows(self) -> None:
        self.exposure("last", (), T0 + 2 * WINDOW_MS, user_id="bob")
        self.event("last", "x", T0 + 2 * WINDOW_MS, user_id="bob")

    def outcomes(self) -> list[str]:
        return [decode_outcome(value).outcome_id for value in self.sent.values(OUTCOMES)]

    def _record(self, value: bytes | None) -> Any:
        offset = self._offset
        self._offset += 1
        message = SimpleNamespace(partition=0, offset=offset, key=b"ada", value=value, timestamp=T0 / 1_000)
        return SimpleNamespace(message=message, ack=lambda: self.acknowledged.append(offset))


@pytest.fixture
def world() -> World:
    return World()


def test_record_is_acknowledged_when_the_table_has_it(world: World) -> None:
    world.event("e1", "a", T0)
    assert world.acknowledged == []

    world.make_durable()

    assert world.acknowledged == [0]


def test_window_closes_when_its_outcomes_are_durable_and_not_before(world: World) -> None:
    world.exposure("feed-1", ("a", "b"), T0)
    world.event("e1", "b", T0 + 10)
    world.end_windows()
    assert world.outcomes() == ["feed-1:b"]
    open_state = world.table.users["ada"]

    world.make_durable()

    assert world.table.users["ada"] != open_state
    assert world.join.partitions[0].n_closing == 0


def test_crash_before_outcomes_are_durable_sends_them_again_with_the_same_ids(world: World) -> None:
    world.exposure("feed-1", ("a", "b"), T0)
    world.event("e1", "b", T0 + 10)
    world.end_windows()

    other = World(world.table)
    other.join.close_due(other.join.partitions[0])

    assert other.sent.values(OUTCOMES) == world.sent.values(OUTCOMES)


def test_new_owner_goes_on_at_the_stream_time_of_the_last_one(world: World) -> None:
    world.exposure("feed-1", ("a",), T0)
    world.end_windows()
    world.make_durable()

    other = World(world.table)

    assert other.join.partitions[0].now_ms() == T0 + 2 * WINDOW_MS


def test_records_of_one_topic_after_a_rebalance_do_not_pass_the_other_by(world: World) -> None:
    for topic in (EVENTS, EXPOSURES):
        world.join.partitions[0].note_left(topic, is_left=False)
    world.exposure("feed-1", ("a",), T0)
    world.event("e1", "a", T0)
    world.join.pause()
    time.sleep(IDLE_S)

    world.event("e2", "b", T0 + 10 * WINDOW_MS)
    world.exposure("feed-2", ("b",), T0 + 10)
    world.event("e3", "b", T0 + 20)
    world.exposure("last", (), T0 + 10 * WINDOW_MS, user_id="bob")

    assert world.outcomes() == ["feed-1:a", "feed-2:b"]


def test_outcomes_on_their_way_when_partitions_are_lost_close_nothing(world: World) -> None:
    world.exposure("feed-1", ("a",), T0)
    world.event("e1", "a", T0 + 10)
    world.end_windows()
    state = world.table.users["ada"]

    world.join.pause()
    world.sent.make_durable()

    assert world.table.users["ada"] == state


def test_duplicate_is_written_again_and_counts_once(world: World) -> None:
    world.event("e1", "a", T0)
    world.make_durable()

    world.event("e1", "a", T0)

    assert len(world.table.waiting) == 1  # the changelog may not have what RocksDB has
    world.join.publish_counts()
    assert decode_partition_counts(world.sent.values(COUNTS)[-1]).trending == (("a", 1),)


def test_counts_are_published_only_when_they_changed(world: World) -> None:
    world.event("e1", "a", T0)
    world.join.publish_counts()
    world.join.publish_counts()

    assert len(world.sent.values(COUNTS)) == 1


def test_a_record_larger_than_any_of_ours_fits_into_a_dead_letter(world: World) -> None:
    world.raw(b"{" + b" " * 1_600_000)
    (raw,) = world.sent.values(DEAD_LETTER)
    assert len(raw) < MAX_DEAD_LETTER_BYTES
    assert decode_dead_letter(raw).reason.startswith("the first 1048576 of 1600")


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff"])
def test_what_is_no_event_goes_to_the_dead_letters_and_is_acknowledged_then(world: World, value: bytes | None) -> None:
    world.raw(value)
    assert world.acknowledged == []

    world.make_durable()

    (letter,) = [decode_dead_letter(raw) for raw in world.sent.values(DEAD_LETTER)]
    assert (letter.source_topic, letter.partition, letter.offset, letter.value) == ("events", 0, 0, value)
    assert world.acknowledged == [0]


def test_event_from_the_future_does_not_move_stream_time(world: World) -> None:
    world.event("e1", "a", T0 + MAX_AHEAD_MS + 1)

    assert "3600001 ms after it was appended" in decode_dead_letter(world.sent.values(DEAD_LETTER)[0]).reason
    assert world.join.partitions[0].now_ms() == 0


def test_state_that_cannot_be_read_starts_the_user_anew_and_is_counted(world: World) -> None:
    world.table.users["ada"] = b"\xc1"

    world.event("e1", "a", T0)

    assert world.metrics.damaged_total._value.get() == 1
