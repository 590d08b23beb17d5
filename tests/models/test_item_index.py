import threading

import torch

from models.encoder.m2se import ItemVectors
from models.item_index import FIRST_CAPACITY, ItemIndex


def vectors(*values: float) -> ItemVectors:
    """Items of width 2 along the first axis for text and the second for image, each of the given length."""
    column = torch.tensor(values)[:, None]
    return ItemVectors(column * torch.tensor([1.0, 0.0]), column * torch.tensor([0.0, 1.0]))


def index_of(*item_ids: str) -> ItemIndex:
    index = ItemIndex(2, 2)
    index.append(item_ids, vectors(*range(1, len(item_ids) + 1)))
    return index


def test_appended_items_have_rows_in_order_and_directions_of_length_one() -> None:
    index = index_of("a", "b")

    table = index.table()

    assert (index.row("a"), index.row("b"), index.row("c")) == (0, 1, None)
    assert (len(index), "a" in index, "c" in index) == (2, True, False)
    assert index.live_ids() == table.item_ids == ["a", "b"]
    assert table.vectors.text[: table.n].tolist() == [[1.0, 0.0], [2.0, 0.0]]
    assert table.directions[: table.n].tolist() == [[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]]


def test_replaced_item_lives_in_its_new_row_only() -> None:
    index = index_of("a", "b")

    index.append(["a"], vectors(7.0))

    table = index.table()
    assert index.row("a") == 2
    assert len(index) == 2
    assert sorted(index.live_ids()) == ["a", "b"]
    assert table.alive[: table.n].tolist() == [False, True, True]
    assert table.vectors.text[2].tolist() == [7.0, 0.0]


def test_item_placed_anew_as_it_was_keeps_its_row_and_takes_no_memory() -> None:
    index = index_of("a", "b")

    for _ in range(5):
        index.append(["b", "c", "a"], vectors(2.0, 3.0, 1.0))

    table = index.table()
    assert (table.n, table.item_ids) == (3, ["a", "b", "c"])
    assert table.alive[:3].tolist() == [True, True, True]
    assert (index.row("a"), index.row("b"), index.row("c")) == (0, 1, 2)


def test_removed_item_is_dead_but_its_vectors_stay_readable() -> None:
    index = index_of("a", "b")

    index.remove(["a", "nobody"])

    table = index.table()
    assert index.row("a") is None
    assert index.live_ids() == ["b"]
    assert table.alive[: table.n].tolist() == [False, True]
    assert table.vectors.text[0].tolist() == [1.0, 0.0]


def test_removed_item_can_come_back() -> None:
    index = index_of("a")
    index.remove(["a"])

    index.append(["a"], vectors(5.0))

    assert index.row("a") == 1
    assert index.table().alive[:2].tolist() == [False, True]


def test_who_holds_a_table_sees_no_later_append_replacement_or_removal() -> None:
    index = index_of("a", "b", "c")
    held = index.table()

    index.append(["d", "b"], vectors(8.0, 9.0))
    index.remove(["a"])

    assert held.n == 3
    assert held.item_ids[: held.n] == ["a", "b", "c"]
    assert held.alive[: held.n].tolist() == [True, True, True]
    assert held.vectors.text[: held.n, 0].tolist() == [1.0, 2.0, 3.0]


def test_growth_past_the_capacity_keeps_everything() -> None:
    n = 2 * FIRST_CAPACITY + 1
    index = index_of("first", "gone")
    index.remove(["gone"])
    held = index.table()

    index.append([f"item-{number}" for number in range(n)], vectors(*[3.0] * n))

    table = index.table()
    assert table.n == n + 2
    assert len(table.alive) >= table.n
    assert table.alive[:3].tolist() == [True, False, True]
    assert table.vectors.text[:3, 0].tolist() == [1.0, 2.0, 3.0]
    assert table.vectors.image[:3, 1].tolist() == [1.0, 2.0, 3.0]
    assert table.directions[0].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert (index.row("first"), index.row(f"item-{n - 1}")) == (0, n + 1)
    assert held.item_ids == ["first", "gone"]


def test_readers_beside_a_writer_always_see_whole_items() -> None:
    index = ItemIndex(2, 2)
    wrong: list[str] = []
    stopping = threading.Event()

    def read() -> None:
        while not stopping.is_set():
            table = index.table()
            numbers = [int(item_id) for item_id in table.item_ids[: table.n]]
            if table.vectors.text[: table.n, 0].tolist() != [float(number + 1) for number in numbers]:
                wrong.append(f"vectors of another item among {table.n}")
            if int(table.alive[: table.n].sum()) != len(set(numbers)):
                wrong.append(f"an item is missing or there twice among {table.n}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(FIRST_CAPACITY + 200):
        index.append([str(number)], vectors(float(number + 1)))
        index.append([str(number // 2)], vectors(float(number // 2 + 1)))
    stopping.set()
    for reader in readers:
        reader.join(10.0)

    assert wrong == []
    assert len(index) == FIRST_CAPACITY + 200
