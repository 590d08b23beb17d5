"""The memory by item id: learned in one process, followed in another."""

import random
from threading import Thread

import numpy as np
import pytest

from consumers.memory.shared import PUBLISHED_SIZE, SharedMemory
from models.memory.transitions import MemoryConfig
from stream.events import decode_transition_row, encode

CONFIG = MemoryConfig(n_last=3, row_size=8, history_decay=0.5, half_life_ms=3_600_000, half_life_events=1_000)


def walk(memory: SharedMemory, *, n_events: int = 300, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    history: list[str] = []
    for nth in range(n_events):
        item_id = f"item-{int(40 * rng.random() ** 2)}"
        memory.link(history[-3:], item_id, 60_000 * nth)
        history.append(item_id)
    return history


def by_id(memory: SharedMemory, history: list[str], item_ids: list[str]) -> list[float]:
    scores = memory.scores(history)
    return [float(scores[number]) for number in memory.numbers(item_ids)]


def test_items_are_numbered_in_the_order_they_come_and_unknown_ones_are_told() -> None:
    memory = SharedMemory()
    memory.link(["b"], "a", 1)
    memory.link([], "c", 2)

    assert memory.numbers(["c", "a", "none", "b"]).tolist() == [2, 1, -1, 0]
    assert memory.scores(["b"]) == pytest.approx([0.0, 1 / (16 * 17) ** 0.5, 0.0], rel=1e-4)


def test_an_item_nobody_knows_keeps_its_place_in_the_history() -> None:
    memory = SharedMemory(MemoryConfig(history_decay=0.5, shrinkage=1.0, half_life_ms=np.inf, half_life_events=np.inf))
    memory.link(["a"], "b", 1)

    assert by_id(memory, ["a", "new"], ["b"]) == pytest.approx([0.5 / 2**0.5])


def test_one_who_follows_published_rows_scores_as_the_one_who_learned() -> None:
    learner, follower = SharedMemory(CONFIG), SharedMemory(CONFIG)
    history = walk(learner)
    rows = learner.changed_rows(1_000)
    item_ids = [row.item_id for row in rows]

    for row in reversed(rows):  # in another order, so under other numbers
        follower.take(decode_transition_row(encode(row)))

    assert len(rows) == learner.n_items == follower.n_items
    assert follower.numbers(item_ids).tolist() != learner.numbers(item_ids).tolist()
    assert by_id(follower, history, item_ids) == pytest.approx(by_id(learner, history, item_ids), rel=1e-4)


def test_changed_rows_are_given_out_until_they_are_published() -> None:
    memory = SharedMemory()
    memory.link(["a", "b"], "c", 1)

    first = memory.changed_rows(2)
    assert [row.item_id for row in first] == ["c", "b"]
    assert [row.item_id for row in memory.changed_rows(2)] == ["c", "b"]
    memory.mark_published(first)
    assert [row.item_id for row in memory.changed_rows(2)] == ["a"]


def test_weights_travel_with_six_digits() -> None:
    memory = SharedMemory(MemoryConfig(pair_decay=0.7))
    memory.link(["a", "b"], "c", 1)

    assert dict(memory.changed_rows(1)[0].partners) == {"b": 1.0, "a": 0.7}


def test_of_a_long_row_the_strongest_partners_travel() -> None:
    memory = SharedMemory(MemoryConfig(n_last=1, half_life_ms=np.inf, half_life_events=np.inf))
    partners = [f"item-{number}" for number in range(PUBLISHED_SIZE + 5)]
    for partner in [*partners, *partners[5:]]:
        memory.link(["a"], partner, 1)

    (row,) = [row for row in memory.changed_rows(1_000) if row.item_id == "a"]
    assert dict(row.partners) == dict.fromkeys(partners[5:], 2.0)


def test_restored_memory_scores_and_numbers_as_before() -> None:
    memory, other = SharedMemory(CONFIG), SharedMemory(CONFIG)
    history = walk(memory)
    memory.mark_published(memory.changed_rows(10))

    other.restore(memory.state())

    assert other.scores(history).tolist() == memory.scores(history).tolist()
    assert other.numbers(history).tolist() == memory.numbers(history).tolist()
    assert other.changed_rows(1_000) == memory.changed_rows(1_000)


def test_many_may_ask_while_one_learns() -> None:
    memory = SharedMemory(CONFIG)
    writer = Thread(target=walk, args=(memory,), kwargs={"n_events": 2_000})
    writer.start()
    n_asked = 0
    while writer.is_alive():
        scores = memory.scores(["item-0", "item-1"])
        assert np.isfinite(scores).all()
        assert len(scores) <= memory.n_items
        n_asked += 1
    writer.join()

    assert n_asked > 0
    assert memory.scores(["item-0"]).max() > 0
