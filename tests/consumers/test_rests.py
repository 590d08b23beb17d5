"""Work beside answering: when it rests, and that the memory can be asked while it does."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from consumers.memory.blending import BlendLearner
from consumers.memory.follower import TransitionsFollower
from consumers.memory.links import Link
from consumers.memory.role import MemoryRole
from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import SharedBlend
from consumers.memory.snapshots import MemorySnapshots
from consumers.rests import REST_S, rested
from stream.events import TransitionRow, encode
from stream.kinds import DEFAULT_KINDS
from stream.log import Record
from stream.topics import EVENTS, TRANSITIONS
from tests.consumers.memory.blend_bench import Slot
from tests.consumers.store_support import click, new_metrics, open_log

One = TypeVar("One")

N = 10


@pytest.mark.parametrize(("work_s", "n_rests"), [(0.0, 0), (0.0004, 3), (0.0011, N)])
def test_a_rest_comes_before_the_next_after_each_millisecond_of_work(work_s: float, n_rests: int) -> None:
    looks, rests = count(), list[float]()  # of the clock: at the start, before each, after a rest

    given = list(rested(range(N), worked_s=lambda: work_s * next(looks), rest=rests.append))

    assert given == list(range(N))
    assert rests == [REST_S] * n_rests


def learn(memory: SharedMemory, folder: Path) -> None:
    links = [Link(f"user-{nth}", ["item-0"], f"item-{nth}", nth) for nth in range(N)]
    BlendLearner(Slot(None), memory, SharedBlend(), log_id="log", metrics=new_metrics()).link(links, {0: 0})


def link_alone(memory: SharedMemory, folder: Path) -> None:
    records = [
        Record(EVENTS, 0, nth, b"user", encode(click(nth, user=f"user-{nth}", item=f"item-{nth}")), 1)
        for nth in range(N)
    ]
    with open_log(folder) as log:
        snapshots = MemorySnapshots(folder / "memory", log.log_id, length=20, max_seen=20)
        role = MemoryRole(memory, snapshots, log, kinds=DEFAULT_KINDS, metrics=new_metrics())
        role.gained([0])
        role.handle(records)


def follow(memory: SharedMemory, folder: Path) -> None:
    rows = [TransitionRow(item_id=f"item-{nth}", ts_ms=1, n_events=1, count=1.0, partners=()) for nth in range(N)]
    records = [Record(TRANSITIONS, 0, nth, row.item_id.encode(), encode(row), 1) for nth, row in enumerate(rows)]
    TransitionsFollower(memory, metrics=new_metrics()).handle(records)


@pytest.mark.parametrize("work", [learn, link_alone, follow])
def test_the_memory_can_be_asked_between_two_events_and_between_two_rows(
    work: Callable[[SharedMemory, Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory, n_items = SharedMemory(), list[int]()

    def asked_between(each: Iterable[One]) -> Iterator[One]:
        for one in each:
            n_items.append(len(memory.scores(["item-0"])))  # would wait for ever on one who holds the memory
            yield one

    for module in ("role", "blending", "follower"):
        monkeypatch.setattr(f"consumers.memory.{module}.rested", asked_between)

    work(memory, tmp_path)

    assert memory.n_items == N
    assert len(n_items) == N
    assert n_items == sorted(n_items)
