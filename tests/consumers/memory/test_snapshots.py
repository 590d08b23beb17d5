"""One file with everything in it, of one moment."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.memory.links import LinkReader
from consumers.memory.shared import SharedMemory
from consumers.memory.snapshots import FORMAT, MemorySnapshots, SavedMemory
from stream.kinds import DEFAULT_KINDS
from tests.consumers.memory.blend_bench import Bench
from tests.consumers.store_support import click

MEMORY_ARRAYS = {"changed", "counts", "item_ids", "moments", "now", "partners", "sizes", "weights"}
BLEND_ARRAYS = {"age", "judge_counts", "judge_sums", "model_version", "number", "recent", "recent_ids", "weights"}


def saved_memory() -> SavedMemory:
    memory, reader = SharedMemory(), LinkReader(DEFAULT_KINDS, length=3, max_seen=5, n_last=2)
    reader.hold(0)
    reader.hold(3)
    for link in reader.links(0, [click(n, user=f"user-{n % 3}") for n in range(20)]):
        memory.link(link.history, link.item_id, link.ts_ms)
    return SavedMemory({0: 20, 3: 0}, reader.stores, memory.state(), {"number": np.array(7)})


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = saved_memory()
    MemorySnapshots(tmp_path, "log", length=3, max_seen=5).save(saved)

    loaded = MemorySnapshots(tmp_path, "log", length=3, max_seen=5).load()

    assert loaded is not None
    assert loaded.next_offsets == {0: 20, 3: 0}
    assert {name: array.tobytes() for name, array in loaded.memory.items()} == {
        name: array.tobytes() for name, array in saved.memory.items()
    }
    for user in ("user-0", "user-1", "user-2"):
        assert loaded.stores[0].history(user) == saved.stores[0].history(user)
        assert sorted(loaded.stores[0].seen(user)) == sorted(saved.stores[0].seen(user))
        assert len(loaded.stores[0].seen(user)) > 5
    assert loaded.stores[3].n_users == 0
    assert {name: array.tolist() for name, array in loaded.blend.items()} == {"number": 7}


def test_snapshot_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, disk_steps: Callable[[Path], list[str]]
) -> None:
    MemorySnapshots(tmp_path, "log", length=3, max_seen=5).save(saved_memory())

    assert disk_steps(tmp_path) == ["force memory.npz", "rename memory.npz", "force ."]


def test_the_format_is_of_these_arrays(tmp_path: Path) -> None:
    """What is saved under other names is of another format: raise `FORMAT`, so that an older file is set aside."""
    state = Bench().learner.state()
    snapshots = MemorySnapshots(tmp_path, "log", length=3, max_seen=5)
    snapshots.save(replace(saved_memory(), blend=state))

    with np.load(snapshots.path) as file:
        names = {name for name in file.files if not name[0].isdigit()}

    assert FORMAT == 3
    assert names == {"meta"} | {f"memory/{name}" for name in MEMORY_ARRAYS} | {f"blend/{name}" for name in BLEND_ARRAYS}


def test_a_file_of_before_there_was_a_blend_is_loaded(tmp_path: Path) -> None:
    MemorySnapshots(tmp_path, "log", length=3, max_seen=5).save(replace(saved_memory(), blend={}))

    loaded = MemorySnapshots(tmp_path, "log", length=3, max_seen=5).load()

    assert loaded is not None
    assert loaded.blend == {}


def test_a_file_says_where_it_stands_after_it_was_written_or_read(tmp_path: Path) -> None:
    snapshots = MemorySnapshots(tmp_path, "log", length=3, max_seen=5)
    assert not snapshots.stands_at({0: 20, 3: 0})

    snapshots.save(saved_memory())
    again = MemorySnapshots(tmp_path, "log", length=3, max_seen=5)
    again.load()

    assert snapshots.stands_at({0: 20, 3: 0})
    assert again.stands_at({0: 20, 3: 0})
    assert not again.stands_at({0: 21, 3: 0})


def test_nothing_is_loaded_where_nothing_was_saved_and_unfinished_files_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "memory.npz.1f.tmp").write_bytes(b"half")

    assert MemorySnapshots(tmp_path, "log", length=3, max_seen=5, unfinished_s=0.0).load() is None
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_is_writing_is_left_to_it(tmp_path: Path) -> None:
    being_written = tmp_path / "memory.npz.1f.tmp"
    being_written.write_bytes(b"half")

    assert MemorySnapshots(tmp_path, "log", length=3, max_seen=5).load() is None
    assert list(tmp_path.iterdir()) == [being_written]


@pytest.mark.parametrize(("log_id", "length", "max_seen"), [("log", 4, 5), ("another", 3, 5), ("log", 3, 6)])
def test_memory_of_another_log_or_length_is_not_taken_over(
    tmp_path: Path, log_id: str, length: int, max_seen: int
) -> None:
    MemorySnapshots(tmp_path, "log", length=3, max_seen=5).save(saved_memory())

    assert MemorySnapshots(tmp_path, log_id, length=length, max_seen=max_seen).load() is None
    assert (tmp_path / "memory.npz.damaged").exists()


def test_no_altered_byte_gives_another_memory(tmp_path: Path) -> None:
    snapshots = MemorySnapshots(tmp_path, "log", length=3, max_seen=5)
    snapshots.save(saved_memory())
    content = snapshots.path.read_bytes()
    wanted = {name: array.tobytes() for name, array in saved_memory().memory.items()}

    for at in range(0, len(content), 13):
        snapshots.path.write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])
        loaded = snapshots.load()
        assert loaded is None or {name: array.tobytes() for name, array in loaded.memory.items()} == wanted, at
