"""The embedded log: events from publish to the users' sequences, and the time to acknowledge one.

Command   python -m benchmarks.log --json FILE [--dir FOLDER]
Data      made here: 300,000 events of 200 bytes, 20,000 users, 3,000 items, seed 0
Hardware  2 CPU cores; FOLDER must lie on the disk to be measured (a tmpfs makes fsync free)
Minutes   under 1
Expected  end to end at least 50,000 events/s in batches of 1,000; one event acknowledged, fsynced, in at most
          10 ms (p50), alone and with 16 publishers; ratios against bare sqlite inserts of the same rows in the same run

End to end is one thread publishing encoded events and one that polls, decodes and applies them, side by side
as in the service; the clock stops when the last event is in its user's sequence.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from consumers.sequences.user_sequences import UserSequences
from stream.embedded.log import EmbeddedLog
from stream.events import Interaction, decode_interaction, encode
from stream.kinds import DEFAULT_KINDS
from stream.log import Log, Message, QueueFull
from stream.topics import EVENTS, topics

N_EVENTS = 300_000
N_USERS = 20_000
N_ITEMS = 3_000
N_PARTITIONS = 4
EVENT_BYTES = 200
BATCH = 1_000
POLL = 10_000
N_ACKS = 400
N_PUBLISHERS = 16
DEADLINE_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the embedded log.")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        result = measure(Path(folder))
    arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    for name, value in result["figures"].items():  # type: ignore[attr-defined]
        print(f"{name:44} {value:>14,.2f}")


def measure(folder: Path) -> dict[str, object]:
    messages = make_messages()
    batches = [messages[i : i + BATCH] for i in range(0, N_EVENTS, BATCH)]
    stages = publish_and_read(folder / "stages.db", batches)
    figures = {
        "bare_sqlite_rows_per_s": bare_rows_per_s(folder / "bare.db", batches),
        **stages,
        "end_to_end_events_per_s": end_to_end(folder / "log.db", batches),
        **acknowledgements(folder, messages),
    }
    figures["end_to_end_to_bare_ratio"] = figures["end_to_end_events_per_s"] / figures["bare_sqlite_rows_per_s"]
    figures["publish_to_bare_ratio"] = figures["publish_events_per_s"] / figures["bare_sqlite_rows_per_s"]
    figures["ack_to_bare_commit_ratio"] = figures["ack_1_p50_ms"] / figures["bare_sqlite_commit_p50_ms"]
    return {"command": "python -m benchmarks.log", "machine": machine(), "figures": figures}


def make_messages(n_events: int = N_EVENTS) -> list[Message]:
    """Events of exactly 200 bytes, a millisecond apart, users and items drawn by a power law."""
    rng = random.Random(0)
    messages = []
    for i in range(n_events):
        event = Interaction(
            event_id="",
            user_id=f"user-{int(N_USERS * rng.random() ** 2)}",
            item_id=f"item-{int(N_ITEMS * rng.random() ** 2)}",
            ts_ms=1_700_000_000_000 + i,
        )
        padding = EVENT_BYTES - len(encode(event))
        event = msgspec.structs.replace(event, event_id=f"{i:0{padding}d}")
        messages.append(Message(event.user_id.encode(), encode(event)))
    return messages


def publish_and_read(path: Path, batches: Sequence[Sequence[Message]]) -> dict[str, float]:
    """Each stage alone: publish until durable, then poll and decode."""
    with closing(EmbeddedLog(path, topics(N_PARTITIONS))) as log:
        with timer() as published_s:
            publish_all(log, batches)
        with closing(log.reader(EVENTS, group="benchmark")) as reader, timer() as read_s:
            n_read = 0
            while n_read < N_EVENTS:
                records = reader.poll(max_records=POLL, timeout_s=1.0)
                n_read += len([decode_interaction(record.value) for record in records])
    return {
        "publish_events_per_s": N_EVENTS / published_s(),
        "poll_and_decode_events_per_s": N_EVENTS / read_s(),
    }


def end_to_end(path: Path, batches: Sequence[Sequence[Message]]) -> float:
    """Events a second, from publish to the user's sequence."""
    with closing(EmbeddedLog(path, topics(N_PARTITIONS))) as log, ThreadPoolExecutor(1) as publisher:
        sequences = UserSequences(N_PARTITIONS)
        with closing(log.reader(EVENTS, group="benchmark")) as reader, timer() as took_s:
            publishing = publisher.submit(publish_all, log, batches)
            n_applied = 0
            while n_applied < N_EVENTS:
                n_applied += apply_next(reader.poll, sequences)
            publishing.result()
            reader.commit()
    if sequences.n_users < N_USERS // 2:
        raise AssertionError(f"only {sequences.n_users} users have a sequence; the measurement is wrong")
    return N_EVENTS / took_s()


def publish_all(log: Log, batches: Sequence[Sequence[Message]], topic: str = EVENTS) -> None:
    """Publish, and wait until all is durable."""
    written = []
    for batch in batches:
        while True:
            try:
                written.append(log.publish(topic, batch))
                break
            except QueueFull:  # the publisher's part of back-pressure; publish() has already waited
                continue
    for future in written:
        future.result(DEADLINE_S)


def apply_next(poll: Callable[..., list], sequences: UserSequences) -> int:  # type: ignore[type-arg]
    records = poll(max_records=POLL, timeout_s=1.0)
    by_partition: dict[int, list[Interaction]] = {}
    next_offsets: dict[int, int] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(decode_interaction(record.value))
        next_offsets[record.partition] = record.offset + 1
    for partition, events in by_partition.items():
        if partition not in sequences.held():
            sequences.hold(partition)
        sequences.apply(partition, events, DEFAULT_KINDS, next_offset=next_offsets[partition])
    return len(records)


def acknowledgements(folder: Path, messages: Sequence[Message]) -> dict[str, float]:
    """Milliseconds from publish to durable, of single events; bare commits in turn with them, on the same disk."""
    with closing(EmbeddedLog(folder / "acks.db", topics(N_PARTITIONS))) as log:
        with closing(bare_sqlite(folder / "bare-acks.db")) as sql:
            pairs = [
                (commit_bare(sql, i, message), acknowledge(log, message)) for i, message in enumerate(messages[:N_ACKS])
            ]
        bare_ms, alone_ms = (sorted(waits) for waits in zip(*pairs, strict=True))
        with ThreadPoolExecutor(N_PUBLISHERS) as publishers, timer() as took_s:
            some = messages[: N_ACKS * N_PUBLISHERS]
            many_ms = sorted(publishers.map(partial(acknowledge, log), some))
    return {
        "bare_sqlite_commit_p50_ms": statistics.median(bare_ms),
        "ack_1_p50_ms": statistics.median(alone_ms),
        "ack_1_p99_ms": alone_ms[len(alone_ms) * 99 // 100],
        "ack_16_p50_ms": statistics.median(many_ms),
        "ack_16_p99_ms": many_ms[len(many_ms) * 99 // 100],
        "ack_16_events_per_s": len(many_ms) / took_s(),
    }


def acknowledge(log: EmbeddedLog, message: Message) -> float:
    with timer() as took_s:
        log.publish(EVENTS, [message]).result(DEADLINE_S)
    return took_s() * 1_000


def commit_bare(sql: sqlite3.Connection, offset: int, message: Message) -> float:
    with timer() as took_s:
        sql.execute("INSERT INTO records VALUES (?, ?, ?, ?)", (offset, 0, *message))
    return took_s() * 1_000


def bare_rows_per_s(path: Path, batches: Sequence[Sequence[Message]]) -> float:
    """The same rows into one table, a transaction a batch of 100,000 as the log's queue allows."""
    rows = [(i, 0, *message) for i, message in enumerate(message for batch in batches for message in batch)]
    with closing(bare_sqlite(path)) as sql, timer() as took_s:
        for start in range(0, len(rows), 100_000):
            sql.execute("BEGIN")
            sql.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows[start : start + 100_000])
            sql.execute("COMMIT")
    return N_EVENTS / took_s()


def bare_sqlite(path: Path) -> sqlite3.Connection:
    sql = sqlite3.connect(path, isolation_level=None)
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("PRAGMA synchronous = FULL")
    sql.execute("CREATE TABLE IF NOT EXISTS records (offset INTEGER PRIMARY KEY, ts_ms INTEGER, key BLOB, value BLOB)")
    return sql


@contextmanager
def timer() -> Iterator[Callable[[], float]]:
    """Seconds spent inside; to be asked after it."""
    started_s = time.perf_counter()
    ended_s: list[float] = []
    yield lambda: ended_s[0] - started_s
    ended_s.append(time.perf_counter())


def machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "load_1_min": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
    }


if __name__ == "__main__":
    main()
