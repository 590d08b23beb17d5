import errno
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumers.learning.segments import BadManifest, BadSegment
from consumers.learning.training_buffer import (
    BufferSettings,
    DiskFiles,
    TrainingBuffer,
    load_events,
    load_items,
    read_manifest,
)
from stream.events import ItemUpsert

Row = tuple[Any, ...]
SMALL = BufferSettings(flush_rows=10, merge_files=3, merge_rows=12)


class Crash(Exception):
    """The process died here."""


class CrashingFiles(DiskFiles):
    """Does `n_steps` steps of writing, then dies before the next."""

    def __init__(self, n_steps: int) -> None:
        self.left = n_steps

    def write(self, path: Path, data: memoryview) -> None:
        if not self.left:
            path.write_bytes(bytes(data)[: len(data) // 2])  # torn
        self._step()
        super().write(path, data)

    def rename(self, path: Path, target: Path) -> None:
        self._step()
        super().rename(path, target)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def _step(self) -> None:
        if not self.left:
            raise Crash
        self.left -= 1


def event_rows(first: int, last: int, partition: int = 0) -> list[Row]:
    return [(f"{partition}-{n}", "ada", f"item-{n}", n, "click", None, partition, n) for n in range(first, last)]


def item_row(offset: int, item_id: str, title: str, *, is_removed: bool = False) -> Row:
    return (item_id, offset, is_removed, title, "", None, '{"genre":"drama"}', b"\x00\x3c", None, 0, offset)


def event_ids(root: Path) -> list[str]:
    ids: list[str] = load_events(root)["event_id"].to_pylist()
    return ids


def feed(buffer: TrainingBuffer, last: int, batch: int) -> None:
    """What the role does: from the manifest's offset on, a batch a flush."""
    while (start := buffer.next_offset("events", 0)) < last:
        end = min(start + batch, last)
        buffer.append("events", event_rows(start, end), {0: end})


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_rows_are_on_the_disk_before_the_manifest_names_them(
    tmp_path: Path, disk_steps: Callable[[Path], list[str]]
) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1", settings=SMALL)
    buffer.append("events", event_rows(0, 10), {0: 10})

    assert disk_steps(tmp_path) == [
        step
        for name in ("events-00000000.parquet", "manifest.json")
        for step in (f"force {name}", f"rename {name}", "force .")
    ]


def test_rows_and_offsets_are_written_together(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1")
    buffer.append("events", [*event_rows(0, 2), *event_rows(0, 1, partition=1)], {0: 3, 1: 1})
    buffer.append("items", [item_row(0, "x", "X")], {0: 1})
    assert json.loads((tmp_path / "manifest.json").read_text()) == {
        "version": 1,
        "log_id": "log-1",
        "segments": [
            {
                "file": "events-00000000.parquet",
                "topic": "events",
                "rows": 3,
                "from": {"0": 0, "1": 0},
                "to": {"0": 3, "1": 1},
            },
            {"file": "items-00000001.parquet", "topic": "items", "rows": 1, "from": {"0": 0}, "to": {"0": 1}},
        ],
        "next": {"events": {"0": 3, "1": 1}, "items": {"0": 1}},
        "retired": [],
    }
    assert event_ids(tmp_path) == ["0-0", "0-1", "1-0"]


def test_reopened_buffer_goes_on_where_it_stood(tmp_path: Path) -> None:
    feed(TrainingBuffer(tmp_path, "log-1"), 4, batch=2)
    buffer = TrainingBuffer(tmp_path, "log-1")
    assert buffer.next_offset("events", 0) == 4
    assert (buffer.next_offset("events", 1), buffer.next_offset("items", 0)) == (0, 0)
    feed(buffer, 6, batch=2)
    assert event_ids(tmp_path) == [f"0-{n}" for n in range(6)]


def test_records_without_rows_only_move_the_offsets(tmp_path: Path) -> None:
    TrainingBuffer(tmp_path, "log-1").append("events", [], {0: 7})
    assert TrainingBuffer(tmp_path, "log-1").next_offset("events", 0) == 7
    assert files(tmp_path) == ["manifest.json"]


def test_event_published_twice_is_loaded_once(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1")
    buffer.append("events", event_rows(0, 3), {0: 3})
    again = [(*event_rows(1, 2)[0][:-1], 3)]
    buffer.append("events", [*again, *event_rows(4, 5)], {0: 5})
    assert event_ids(tmp_path) == ["0-0", "0-1", "0-2", "0-4"]
    assert load_events(tmp_path)["offset"].to_pylist() == [0, 1, 2, 4]


def test_ids_are_of_their_user_as_everywhere_else(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1")
    rows = [("1", user, "x", 0, "click", None, 0, offset) for offset, user in enumerate(["ada", "bob", "ada"])]
    buffer.append("events", rows, {0: 3})

    assert load_events(tmp_path)["offset"].to_pylist() == [0, 1]


def test_catalogue_is_the_last_upsert_of_what_was_not_removed(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1")
    rows = [item_row(0, "x", "old"), item_row(1, "y", "Y"), item_row(2, "z", "Z")]
    buffer.append("items", rows, {0: 3})
    buffer.append("items", [item_row(3, "y", "", is_removed=True), item_row(4, "x", "new")], {0: 5})
    items = load_items(tmp_path)
    assert list(items) == ["x", "z"]
    assert items["x"] == ItemUpsert(
        item_id="x", ts_ms=4, title="new", attributes={"genre": "drama"}, text_vector=b"\x00\x3c"
    )


def test_the_last_on_the_log_counts_whatever_its_time_as_in_the_catalogue(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1")
    late_upsert = item_row(1, "x", "last", is_removed=False)
    late_removal = item_row(2, "y", "", is_removed=True)
    rows = [item_row(5, "x", "first"), item_row(5, "y", "removed"), late_upsert, late_removal]

    buffer.append("items", rows, {0: 4})

    assert {item_id: item.title for item_id, item in load_items(tmp_path).items()} == {"x": "last"}


def test_buffer_nobody_wrote_is_empty(tmp_path: Path) -> None:
    assert read_manifest(tmp_path).segments == []
    assert load_events(tmp_path).num_rows == 0
    assert load_items(tmp_path) == {}


@pytest.mark.parametrize("n_steps", range(5))
def test_crash_after_any_step_loses_and_doubles_nothing(tmp_path: Path, n_steps: int) -> None:
    """Steps 1 to 4 of a flush, and before the first; step 5 only reports."""
    feed(TrainingBuffer(tmp_path, "log-1"), 4, batch=4)
    crashing = TrainingBuffer(tmp_path, "log-1", files=CrashingFiles(n_steps))
    if n_steps < 4:
        with pytest.raises(Crash):
            feed(crashing, 8, batch=4)
    else:
        feed(crashing, 8, batch=4)
    restarted = TrainingBuffer(tmp_path, "log-1")
    counted = {segment.file for segment in read_manifest(tmp_path).segments}
    assert {name for name in files(tmp_path) if name != "manifest.json"} == counted
    feed(restarted, 12, batch=4)
    assert event_ids(tmp_path) == [f"0-{n}" for n in range(12)]


@pytest.mark.parametrize("seed", range(3))
def test_crash_at_every_step_of_a_long_run_with_merges_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for n_steps in range(40):
        try:
            disk = CrashingFiles(n_steps % 13)
            buffer = TrainingBuffer(tmp_path, "log-1", settings=SMALL, files=disk, now_s=lambda: 0.0)
            feed(buffer, 150, batch=rng.randint(1, 9))
        except Crash:
            continue
    feed(TrainingBuffer(tmp_path, "log-1", settings=SMALL), 150, batch=7)
    assert load_events(tmp_path)["offset"].to_pylist() == list(range(150))
    assert sum(segment.rows for segment in read_manifest(tmp_path).segments) == 150


def test_failed_flush_can_be_repeated_by_the_same_process(tmp_path: Path) -> None:
    disk = CrashingFiles(3)
    buffer = TrainingBuffer(tmp_path, "log-1", files=disk)
    with pytest.raises(Crash):
        feed(buffer, 3, batch=3)
    assert buffer.next_offset("events", 0) == 0
    disk.left = 100
    feed(buffer, 3, batch=3)
    assert event_ids(tmp_path) == ["0-0", "0-1", "0-2"]


class FullAfter(DiskFiles):
    """The disk is full after `n_writes` files, half-way through the next."""

    def __init__(self, n_writes: int) -> None:
        self.left = n_writes

    def write(self, path: Path, data: memoryview) -> None:
        if not self.left:
            path.write_bytes(bytes(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        self.left -= 1
        super().write(path, data)


def test_rows_that_count_are_not_asked_for_again_when_the_merge_after_them_fails(tmp_path: Path) -> None:
    feed(TrainingBuffer(tmp_path, "log-1", settings=SMALL), 4, batch=2)
    buffer = TrainingBuffer(tmp_path, "log-1", settings=SMALL, files=FullAfter(2))

    with capture_logs() as logs:
        buffer.append("events", event_rows(4, 6), {0: 6})

    assert [entry["event"] for entry in logs] == ["training_buffer_not_merged"]
    assert load_events(tmp_path)["offset"].to_pylist() == [0, 1, 2, 3, 4, 5]
    feed(TrainingBuffer(tmp_path, "log-1", settings=SMALL), 8, batch=2)
    assert read_manifest(tmp_path).rows("events") == 8


def test_a_segment_that_did_not_fit_gives_its_space_back(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1", files=FullAfter(0))

    with pytest.raises(OSError, match="No space left"):
        buffer.append("events", event_rows(0, 2), {0: 2})

    assert files(tmp_path) == []


def test_small_segments_become_one_and_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1", settings=SMALL)
    feed(buffer, 120, batch=4)
    segments = read_manifest(tmp_path).of("events")
    assert event_ids(tmp_path) == [f"0-{n}" for n in range(120)]
    assert len(segments) <= 120 // SMALL.merge_rows + SMALL.merge_files
    assert [segment.from_[0] for segment in segments[1:]] == [segment.to[0] for segment in segments[:-1]]


def test_what_items_were_before_is_let_go_when_segments_are_merged(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1", settings=SMALL)
    buffer.append("items", [item_row(0, "gone", "G"), item_row(1, "x", "first")], {0: 2})
    buffer.append("items", [item_row(9, "x", "second"), item_row(3, "y", "Y")], {0: 4})
    assert buffer.manifest.rows("items") == 4

    buffer.append("items", [item_row(8, "x", "last"), item_row(5, "gone", "", is_removed=True)], {0: 6})

    assert [segment.rows for segment in buffer.manifest.of("items")] == [3]
    assert {item_id: item.title for item_id, item in load_items(tmp_path).items()} == {"x": "last", "y": "Y"}
    buffer.append("items", [item_row(4, "gone", "here again")], {0: 7})
    assert list(load_items(tmp_path)) == ["gone", "x", "y"]
    assert buffer.next_offset("items", 0) == 7


def test_the_oldest_events_are_let_go_and_not_asked_for_again(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1", settings=replace(SMALL, keep_events=30))
    for last in range(4, 121, 4):
        feed(buffer, last, batch=4)
        assert event_ids(tmp_path)[-30:] == [f"0-{n}" for n in range(max(0, last - 30), last)]
        assert len(event_ids(tmp_path)) < 30 + SMALL.merge_rows + 4 * SMALL.merge_files

    again = TrainingBuffer(tmp_path, "log-1", settings=SMALL)
    assert again.next_offset("events", 0) == 120


def test_merged_files_stay_for_their_readers_then_go(tmp_path: Path) -> None:
    now_s = [0.0]
    buffer = TrainingBuffer(tmp_path, "log-1", settings=SMALL, now_s=lambda: now_s[0])
    feed(buffer, 4, batch=2)
    old = read_manifest(tmp_path)
    feed(buffer, 6, batch=2)
    assert len(read_manifest(tmp_path).of("events")) == 1
    assert load_events(tmp_path, old.of("events"))["offset"].to_pylist() == [0, 1, 2, 3]
    now_s[0] = SMALL.retire_s
    feed(buffer, 12, batch=2)
    with pytest.raises(FileNotFoundError):
        load_events(tmp_path, old.of("events"))
    assert event_ids(tmp_path) == [f"0-{n}" for n in range(12)]


def test_buffer_of_another_log_is_refused(tmp_path: Path) -> None:
    feed(TrainingBuffer(tmp_path, "log-1"), 2, batch=2)
    with pytest.raises(BadManifest, match=r"belongs to log 'log-1', the log here is 'log-2'; move the folder"):
        TrainingBuffer(tmp_path, "log-2")
    assert event_ids(tmp_path) == ["0-0", "0-1"]


def test_damaged_manifest_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BadManifest, match=r"manifest\.json cannot be read: .*; move the folder away"):
        TrainingBuffer(tmp_path, "log-1")


def test_settings_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="flush_rows=5 must be 1 to merge_rows=5 less one"):
        BufferSettings(flush_rows=5, merge_rows=5)
    with pytest.raises(ValueError, match="merge_files=1 must be at least 2"):
        BufferSettings(merge_files=1)
    with pytest.raises(ValueError, match="keep_events=9 must be at least merge_rows=12"):
        replace(SMALL, keep_events=9)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def test_a_damaged_segment_stops_neither_flushes_nor_merges_nor_letting_go(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1", settings=replace(SMALL, keep_events=30))
    feed(buffer, 4, batch=4)
    damage(tmp_path / "events-00000000.parquet")

    with capture_logs() as logs:
        feed(buffer, 28, batch=4)
        with pytest.raises(
            BadSegment, match=r"events-00000000\.parquet cannot be read: .*; move this file away and st"
        ):
            load_events(tmp_path)
        assert [line["event"] for line in logs] == ["segment_damaged"]
        assert [part.rows for part in buffer.manifest.of("events")] == [4, 12, 12]
        feed(buffer, 52, batch=4)

    assert event_ids(tmp_path) == [f"0-{n}" for n in range(16, 52)]


def test_a_bit_that_turned_in_a_segments_values_is_noticed(tmp_path: Path) -> None:
    feed(TrainingBuffer(tmp_path, "log-1"), 40, batch=40)
    path, expected = tmp_path / "events-00000000.parquet", load_events(tmp_path)
    raw = path.read_bytes()
    footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")

    n_noticed = 0
    for at in range(4, footer, 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        try:
            assert load_events(tmp_path).equals(expected)  # a bit that says nothing
        except BadSegment:
            n_noticed += 1

    assert n_noticed > 100


def test_events_whose_file_was_moved_away_are_gone_after_a_start_and_the_others_stay(tmp_path: Path) -> None:
    feed(TrainingBuffer(tmp_path, "log-1"), 6, batch=2)
    (tmp_path / "events-00000001.parquet").rename(tmp_path / "aside")

    with capture_logs() as logs:
        again = TrainingBuffer(tmp_path, "log-1")

    assert [(line["event"], line["n_rows"]) for line in logs] == [("segment_missing", 2)]
    assert event_ids(tmp_path) == ["0-0", "0-1", "0-4", "0-5"]
    assert again.next_offset("events", 0) == 6
    assert TrainingBuffer(tmp_path, "log-1").manifest.rows("events") == 4


def test_items_are_read_again_where_a_file_of_theirs_was_moved_away(tmp_path: Path) -> None:
    buffer = TrainingBuffer(tmp_path, "log-1")
    feed(buffer, 2, batch=2)
    buffer.append("items", [item_row(0, "x", "X")], {0: 1})
    buffer.append("items", [item_row(1, "y", "Y")], {0: 2})
    damage(tmp_path / "items-00000001.parquet")
    with pytest.raises(BadSegment, match=r"start the service again: the items are read from the log again"):
        load_items(tmp_path)

    (tmp_path / "items-00000001.parquet").unlink()
    again = TrainingBuffer(tmp_path, "log-1")

    assert again.next_offset("items", 0) == 0
    assert again.next_offset("events", 0) == 2
    assert load_items(tmp_path) == {}
    assert files(tmp_path) == ["events-00000000.parquet", "manifest.json"]
