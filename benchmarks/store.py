"""The sequence store: resident memory at 1,000,000 users x 50 positions, and events applied a second.

Command:   python -m benchmarks.store --json FILE
Data:      synthetic, seeded; ids of 12 characters, 50,000 items
Hardware:  2 CPU cores, 2 GB of memory
Minutes:   under 1
Expected:  at most 1.2 GB resident; at least 250,000 events/s, 60,000/s where one user sends most of a batch

The memory is that of this whole process after the store is full: ids, deduplication and Python included. The
rings are filled by `Rings.append`, which every event passes, with hashes drawn instead of computed.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from consumers.sequences.rings import Columns, Int64s
from consumers.sequences.store import SequenceStore, apply
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS

N_USERS, LENGTH, N_ITEMS = 1_000_000, 50, 50_000
N_EVENTS = 200_000
START_MS = 1_700_000_000_000
_FILL_ROWS = 50_000


def full_store(n_users: int) -> SequenceStore:
    """A store in which every user has `LENGTH` events."""
    rng = np.random.default_rng(0)
    store = SequenceStore(length=LENGTH)
    store.numbers_of([f"item-{number:07d}" for number in range(N_ITEMS)])
    for start in range(0, n_users, _FILL_ROWS):
        rows = store.rows_of([f"user-{number:07d}" for number in range(start, min(start + _FILL_ROWS, n_users))])
        for position in range(LENGTH):
            append(store, rows, START_MS + 60_000 * position, rng)
    return store


def append(store: SequenceStore, rows: Int64s, ts_ms: int, rng: np.random.Generator) -> None:
    """One drawn event for each row, at most a minute after `ts_ms`."""
    n = len(rows)
    times = ts_ms + rng.integers(0, 60_000, n)
    hashes = rng.integers(1, 2**63, n).astype(np.uint64)
    items = rng.integers(0, N_ITEMS, n).astype(np.uint32)
    store.rings.append(Columns(rows, times, hashes, items, np.ones(n, np.uint8)))


def streams() -> Iterator[tuple[str, Int64s, float]]:
    """Name, users of the events, and the share of events that come late."""
    rng = np.random.default_rng(1)
    yield "1,000,000 users, uniform", rng.integers(0, N_USERS, N_EVENTS), 0.0
    yield "20,000 users, Zipf 1.2", rng.zipf(1.2, N_EVENTS) % 20_000, 0.0
    yield "2,000 users, 10 % late", rng.integers(0, 2_000, N_EVENTS), 0.1
    heavy = np.where(rng.random(N_EVENTS) < 0.4, 0, rng.integers(1, 5_000, N_EVENTS))
    yield "one user in 40 % of events", heavy, 0.0
    yield "one user in all events", np.zeros(N_EVENTS, np.int64), 0.0


def events_of(run: int, users: Int64s, late: float) -> list[Interaction]:
    """Events of these users, one every 10 ms after those of the run before; late ones by up to ten minutes."""
    rng = np.random.default_rng(2)
    times = START_MS + 60_000 * LENGTH + 10 * (np.arange(len(users)) + run * N_EVENTS)
    times -= np.where(rng.random(len(users)) < late, rng.integers(0, 600_000, len(users)), 0)
    items = rng.zipf(1.3, len(users)) % N_ITEMS
    return [
        Interaction(event_id=f"event-{run}-{n}", user_id=f"user-{user:07d}", item_id=f"item-{item:07d}", ts_ms=ts_ms)
        for n, (user, item, ts_ms) in enumerate(zip(users.tolist(), items.tolist(), times.tolist(), strict=True))
    ]


def rates(store: SequenceStore, events: list[Interaction], batch: int) -> dict[str, int]:
    """Throughput of `apply`, by the clock and by the time it had a core (they differ on a busy machine)."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, len(events), batch):
        apply(store, events[start : start + batch], DEFAULT_KINDS)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return {"events_per_s": round(len(events) / wall_s), "events_per_core_s": round(len(events) / cpu_s)}


def memory_mb() -> dict[str, float]:
    """Memory of this process in MB (10^6 bytes): now (Linux only) and at its peak."""
    unit = 1 if sys.platform == "darwin" else 1_024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    statm = Path("/proc/self/statm")
    now = int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6 if statm.exists() else peak
    return {"resident_mb": round(now, 1), "peak_mb": round(peak, 1)}


def measure() -> dict[str, Any]:
    """All figures, memory first, while nothing else was allocated."""
    empty = memory_mb()
    started = time.perf_counter()
    full = full_store(N_USERS)
    memory = {**memory_mb(), "before_mb": empty["resident_mb"], "fill_s": round(time.perf_counter() - started, 1)}
    throughput = []
    for name, users, late in streams():
        for run, batch in enumerate((1_000, 5_000)):
            store = full if users.max() > 20_000 else SequenceStore(length=LENGTH)
            figures = rates(store, events_of(run, users, late), batch)
            throughput.append({"stream": name, "batch": batch, **figures})
    return {"n_users": N_USERS, "length": LENGTH, "memory": memory, "throughput": throughput}


def main() -> None:
    """Measure, print a table, and keep the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="file to keep the figures in")
    arguments = parser.parse_args()
    figures = {**measure(), "python": platform.python_version(), "machine": platform.machine()}
    memory = figures["memory"]
    print(f"{N_USERS:,} users x {LENGTH}: {memory['resident_mb']:,} MB resident, peak {memory['peak_mb']:,} MB")
    for line in figures["throughput"]:
        print(
            f"{line['stream']:28s} batches of {line['batch']:5,d}: {line['events_per_s']:9,d} events/s, "
            f"{line['events_per_core_s']:9,d} a second of core"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
