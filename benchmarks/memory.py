"""The fast memory: what an event and an answer cost as the data grows, and how long who asks waits for who learns.

Command:   python -m benchmarks.memory --json FILE
Data:      synthetic, seeded: 4,000 items with full rows, then 16,000 and 64,000; each user's history of 10 items
Hardware:  2 CPU cores, 2 GB of memory
Minutes:   1
Expected:  an event at most 150 us, at 16 times the data at most 1.5 times as much; an answer for a
           catalogue of 4,000 items at most 1,000 us; asked beside learning that rests, p99 at most a
           tenth of that beside learning that does not

Microseconds at 1, 4 and 16 times the data; then milliseconds of an answer while another thread learns without end, at
the pace of the service (`consumers.rests`) and without a rest.

An answer is as long as the catalogue it is for. Rows are put in place rather than learned, since full ones cost most.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consumers.memory.shared import SharedMemory
from consumers.rests import rested
from freshet.service import SWITCH_S
from models.memory.rows import Moment, Row
from models.memory.transitions import MemoryConfig, Transitions

N_ITEMS, TIMES = 4_000, (1, 4, 16)
N_EVENTS, N_ANSWERS, N_ASKED, N_LAST = 4_000, 1_000, 1_000, 10
CONFIG = MemoryConfig(half_life_ms=3e9, half_life_events=1e6)  # both, so that everything fades


def full_memory(n_items: int) -> Transitions:
    """A memory in which every row is full."""
    rng = np.random.default_rng(0)
    memory = Transitions(CONFIG)
    steps = np.arange(CONFIG.row_size) * (n_items // CONFIG.row_size)
    for item in range(n_items):
        weights = rng.random(CONFIG.row_size, dtype=np.float32) + 1
        memory.put_row(item, Row((item + 1 + steps) % n_items, weights, 100.0, Moment(item, item)))
    return memory


def median_us(act: Callable[[int], object], n: int) -> float:
    """Median microseconds of one act, of n."""
    seconds = []
    for nth in range(n):
        started = time.perf_counter()
        act(nth)
        seconds.append(time.perf_counter() - started)
    return round(float(np.median(seconds)) * 1e6, 1)


def measure(n_items: int) -> dict[str, Any]:
    """One size of data."""
    memory = full_memory(n_items)
    rng = np.random.default_rng(1)
    histories = rng.integers(0, n_items, (max(N_EVENTS, N_ANSWERS), N_LAST)).tolist()
    near = rng.integers(0, N_ITEMS, (N_ANSWERS, N_LAST)).tolist()
    items = rng.integers(0, n_items, N_EVENTS).tolist()
    return {
        "n_items": n_items,
        "event_us": median_us(lambda nth: memory.update(histories[nth], items[nth], n_items + nth), N_EVENTS),
        "answer_us": median_us(lambda nth: memory.scores(near[nth], N_ITEMS), N_ANSWERS),
        "answer_for_all_items_us": median_us(lambda nth: memory.scores(histories[nth], n_items), N_ANSWERS),
    }


def asked_ms(pace: Callable[[Sequence[list[str]]], Iterable[list[str]]]) -> dict[str, float]:
    """Milliseconds that one thread waits for an answer while another learns all the time at this pace, and how fast."""
    rng = np.random.default_rng(2)
    memory = SharedMemory(CONFIG)
    numbers = rng.integers(0, N_ITEMS, (N_EVENTS, N_LAST + 1)).tolist()
    histories = [[f"item-{number}" for number in row] for row in numbers]
    stopping = threading.Event()
    events_per_s: list[float] = []

    def learn() -> None:
        nth, started = 0, time.perf_counter()
        while not stopping.is_set():
            for history in pace(histories):
                memory.link(history[:-1], history[-1], nth)
                nth += 1
        events_per_s.append(nth / (time.perf_counter() - started))

    for nth, history in enumerate(histories):
        memory.link(history[:-1], history[-1], nth)
    learner = threading.Thread(target=learn)
    learner.start()
    seconds = []
    for nth in range(N_ASKED):
        time.sleep(0.002)
        started = time.perf_counter()
        memory.scores(histories[nth])
        seconds.append(time.perf_counter() - started)
    stopping.set()
    learner.join()
    waits = {f"p{level}": round(float(np.percentile(seconds, level)) * 1e3, 2) for level in (50, 99)}
    return waits | {"events_per_s": round(events_per_s[0])}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Cost of the fast memory as the data grows.")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    file = parser.parse_args().json
    runs = []
    for times in TIMES:
        runs.append({"times": times, **measure(times * N_ITEMS)})
        print(runs[-1], flush=True)
    growth = round(runs[-1]["event_us"] / runs[0]["event_us"], 2)
    sys.setswitchinterval(SWITCH_S)
    asked = {"beside_learning_that_rests": asked_ms(rested), "beside_learning_that_does_not": asked_ms(iter)}
    print(asked, flush=True)
    result = {
        "python": platform.python_version(),
        "row_size": CONFIG.row_size,
        "runs": runs,
        "event_growth": growth,
        "asked_ms": asked,
    }
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"an event costs {growth} times as much at {TIMES[-1]} times the data")


if __name__ == "__main__":
    main()
