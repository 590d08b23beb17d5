import multiprocessing
import os
import threading
import time
from pathlib import Path, PosixPath

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.content import features
from models.content.features import FeatureStore, content_hash
from models.content.table import ContentError

HASHES = [content_hash(f"item {n}") for n in range(200)]


def put(store: FeatureStore, *numbers: int, revision: str = "r1", n_parts: int = 2) -> None:
    parts = torch.stack([torch.full((n_parts, 3), float(n)) for n in numbers])
    mask = torch.ones(len(numbers), n_parts, dtype=torch.bool)
    store.put(revision, [HASHES[n] for n in numbers], parts=parts, mask=mask)


def values(store: FeatureStore, *numbers: int, revision: str = "r1") -> list[float | None]:
    found = store.get(revision, [HASHES[n] for n in numbers])
    rows = [found.row_of.get(HASHES[n]) for n in numbers]
    return [None if row is None else float(found.parts[row, 0, 0]) for row in rows]


def test_what_was_put_is_found_and_the_rest_is_not(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    put(store, 1, 2)

    assert values(store, 2, 3, 1) == [2.0, None, 1.0]
    assert values(store, 1, revision="r2") == [None]


def test_vectors_survive_a_restart_rounded_to_float16(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.put("r", HASHES[:1], parts=torch.full((1, 1, 1), 0.1), mask=torch.tensor([[True]]))

    found = FeatureStore(tmp_path).get("r", HASHES[:1])

    assert found.parts.dtype == torch.float32
    assert found.parts.item() == pytest.approx(0.09997559)
    assert found.mask.tolist() == [[True]]


def test_items_with_fewer_parts_are_padded(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    put(store, 1, n_parts=1)
    put(store, 2, n_parts=3)

    found = store.get("r1", HASHES[1:3])

    assert found.mask[found.row_of[HASHES[1]]].tolist() == [True, False, False]
    assert found.mask[found.row_of[HASHES[2]]].tolist() == [True, True, True]


def test_another_store_on_the_folder_sees_what_is_put_later(tmp_path: Path) -> None:
    first, second = FeatureStore(tmp_path), FeatureStore(tmp_path)
    put(first, 7)

    assert values(second, 7) == [7.0]


def test_many_small_files_become_one_and_other_stores_still_find_all(tmp_path: Path) -> None:
    writer, reader = FeatureStore(tmp_path), FeatureStore(tmp_path)
    for n in range(features.MERGE_FILES - 1):
        put(writer, n)
    assert values(reader, 0, 1) == [0.0, 1.0]

    put(writer, features.MERGE_FILES - 1)

    assert len(list(tmp_path.glob("r1/*.safetensors"))) == 1
    everything = range(features.MERGE_FILES)
    assert values(reader, *everything) == [float(n) for n in everything]
    assert values(FeatureStore(tmp_path), *everything) == [float(n) for n in everything]


def test_merge_held_by_another_process_is_left_to_it(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    put(store, 1)
    put(store, 2)

    with features.file_lock(tmp_path / "r1" / ".merge.lock", timeout_s=0.0):
        store.merge("r1")

    assert len(list(tmp_path.glob("r1/*.safetensors"))) == 2


def test_merge_finds_nothing_left_where_another_store_merged_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SMALL_ROWS", 2)
    late, first = FeatureStore(tmp_path), FeatureStore(tmp_path)
    put(late, 1)
    put(late, 2)

    first.refresh("r1")
    first.merge("r1")
    late.merge("r1")

    assert values(late, 1, 2) == [1.0, 2.0]


def test_file_that_another_thread_adds_during_a_refresh_is_no_error(tmp_path: Path) -> None:
    class InterruptedPath(PosixPath):
        """While its hash is asked for, the first time, another thread writes."""

        def __hash__(self) -> int:
            if others:
                other = others.pop()
                other.start()
                other.join()
            return super().__hash__()

    others: list[threading.Thread] = []
    store = FeatureStore(tmp_path)
    put(store, 1)
    store._files["r1"] = {InterruptedPath(path): rows for path, rows in store._files["r1"].items()}
    others.append(threading.Thread(target=put, args=(store, 2)))

    store.refresh("r1")

    assert values(store, 1, 2) == [1.0, 2.0]


def test_half_written_files_are_ignored_and_cleaned_once_old(tmp_path: Path) -> None:
    put(FeatureStore(tmp_path), 1)
    fresh, old = tmp_path / "r1" / ".a.safetensors.x.tmp", tmp_path / "r1" / ".b.safetensors.x.tmp"
    fresh.write_bytes(b"half")
    old.write_bytes(b"half")
    long_ago = time.time() - 2 * features.STALE_S
    os.utime(old, (long_ago, long_ago))

    store = FeatureStore(tmp_path)

    assert values(store, 1) == [1.0]
    assert fresh.exists()
    assert not old.exists()


def test_damaged_file_is_forgotten_and_its_content_can_be_put_again(tmp_path: Path) -> None:
    put(FeatureStore(tmp_path), 1)
    (path,) = tmp_path.glob("r1/*.safetensors")
    path.write_bytes(path.read_bytes()[:-5])

    store = FeatureStore(tmp_path)

    assert values(store, 1) == [None]
    assert not path.exists()
    put(store, 1)
    assert values(store, 1) == [1.0]


@pytest.mark.parametrize("is_known", [True, False])
def test_file_with_a_value_turned_infinite_is_forgotten_too(tmp_path: Path, is_known: bool) -> None:
    store = FeatureStore(tmp_path)
    put(store, 1)
    (path,) = tmp_path.glob("r1/*.safetensors")
    tensors = load_file(path)
    tensors["parts"][0, 1, 2] = torch.inf
    save_file(tensors, path)
    store = store if is_known else FeatureStore(tmp_path)

    assert values(store, 1) == [None]
    assert not path.exists()
    put(store, 1)
    assert values(store, 1) == [1.0]


def test_hash_tells_texts_cut_at_other_places_apart() -> None:
    assert content_hash("ab", "c") != content_hash("a", "bc")
    assert content_hash("ab") == content_hash(b"ab")
    assert len(content_hash()) == 32


def _write(root: Path, first: int) -> None:
    store = FeatureStore(root)
    for n in range(first, first + 20):
        put(store, n)
        store.merge("r1")


def test_processes_that_write_and_merge_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, first)) for first in (0, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    assert [writer.exitcode for writer in writers] == [0, 0]
    assert values(FeatureStore(tmp_path), *range(40)) == [float(n) for n in range(40)]


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("-inf"), "-inf"), (70_000.0, "70000")])
def test_value_that_float16_does_not_hold_is_named_and_not_stored(tmp_path: Path, value: float, shown: str) -> None:
    store = FeatureStore(tmp_path)
    parts = torch.ones(2, 3, 4)
    parts[1, 2, 0] = value

    with pytest.raises(ContentError, match=f"^r1 gave {shown} in part 2 of row 1, wants numbers that float16 holds"):
        store.put("r1", HASHES[:2], parts=parts, mask=torch.ones(2, 3, dtype=torch.bool))

    assert values(FeatureStore(tmp_path), 0, 1) == [None, None]


def test_shapes_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)

    with pytest.raises(ContentError, match=r"r1 gave parts \(2, 3, 4\) and mask \(2, 3\) for 1 hashes, wants"):
        FeatureStore(tmp_path).put("r1", HASHES[:1], parts=torch.ones(2, 3, 4), mask=mask)
    with pytest.raises(ContentError, match=r"r1 gave parts \(2, 4, 4\) and mask \(2, 3\) for 2 hashes"):
        FeatureStore(tmp_path).put("r1", HASHES[:2], parts=torch.ones(2, 4, 4), mask=mask)


def test_two_widths_under_one_revision_are_named_with_their_folder(tmp_path: Path) -> None:
    store, mask = FeatureStore(tmp_path), torch.ones(1, 1, dtype=torch.bool)
    store.put("r1", HASHES[:1], parts=torch.ones(1, 1, 3), mask=mask)
    store.put("r1", HASHES[1:2], parts=torch.ones(1, 1, 5), mask=mask)

    with pytest.raises(ContentError, match=f"vectors of r1 are \\[3, 5\\] wide; delete {tmp_path / 'r1'}"):
        store.get("r1", HASHES[:2])
