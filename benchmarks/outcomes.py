"""Faust: the join of exposures to outcomes beside a bare table counter of the same records, with one worker and two.

Command   python -m benchmarks.outcomes --json FILE [--records 60000]
Data      made here: records of which every fifth shows ten items and the others are events on them; 20,000 users by a
          power law, 3,000 items, seed 0; published while the workers run, 4 partitions
Hardware  2 CPU cores that broker, writer and workers share
Minutes   2; Java 17 and Maven are needed
Expected  the join at least 0.7x of the bare counter; two workers at least 1.4x of one, with the broker's share stated

Rates depend on what else the machine does; the records of a processor second of the workers hardly do, and are given
beside them. Workers are started and idle before the first record is published; the clock runs from there to the last
record that a table's changelog took. No copies of the table (standbys), which would give the second worker more to do.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from benchmarks.machine import keep, machine
from broker.cluster import Cluster
from stream.events import Exposure, Interaction, encode
from stream.kafka.settings import KafkaSettings
from stream.kafka.topics import ensure_topics
from stream.partition import partition_of
from stream.topics import EVENTS, EXPOSURES, OUTCOMES, topics

CACHE = Path(".kafka")
N_PARTITIONS = 4
N_USERS = 20_000
N_ITEMS = 3_000
SHOWN = 10
EXPOSURE_EVERY = 5
STEP_MS = 20
WINDOW_S = 120  # of event time, so that most windows close within the run
LATENESS_S = 10
DEADLINE_S = 300.0
READY_S = 60.0
LOOK_S = 0.1


class Written(NamedTuple):
    """One record to be published."""

    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        name: of its result, and of its topics.
        app: module of the Faust app.
        group: of the workers, after the prefix.
        changelog: of its table, likewise.
        sources: topics read.
        n_workers: processes.
    """

    name: str
    app: str
    group: str
    changelog: str
    sources: tuple[str, ...]
    n_workers: int


BARE = Case("bare", "benchmarks.bare_counter", "bare", "bare-counts-changelog", (EVENTS,), 1)
JOIN = Case("join", "stream.worker", "worker", "worker-users-changelog", (EVENTS, EXPOSURES), 1)
CASES = (
    BARE,
    JOIN,
    Case("bare-2", BARE.app, BARE.group, BARE.changelog, BARE.sources, 2),
    Case("join-2", JOIN.app, JOIN.group, JOIN.changelog, JOIN.sources, 2),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the join on Faust.")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--records", type=int, default=60_000, help="published in each case (default: %(default)s)")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure; a temporary one by default")
    arguments = parser.parse_args()
    before = machine()
    records = make_records(arguments.records)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        cluster = Cluster(Path(folder) / "broker", cache=CACHE)
        with cluster:
            figures = {case.name: measure(case, records, cluster, Path(folder)) for case in CASES}
    rate = {name: figure["records_per_s"] for name, figure in figures.items()}
    by_cpu = {name: figure["records_per_worker_cpu_s"] for name, figure in figures.items()}
    keep(
        {
            "command": f"python -m benchmarks.outcomes --records {arguments.records}",
            "machine": before,
            "figures": figures,
            "join_to_bare_ratio": round(rate["join"] / rate["bare"], 2),
            "two_workers_to_one_ratio": round(rate["join-2"] / rate["join"], 2),
            "two_bare_workers_to_one_ratio": round(rate["bare-2"] / rate["bare"], 2),
            "join_to_bare_ratio_by_cpu": round(by_cpu["join"] / by_cpu["bare"], 2),
        },
        arguments.json,
    )


def make_records(n_records: int) -> list[Written]:
    """In the order of event time, which ends now."""
    rng = random.Random(0)
    start_ms = time.time_ns() // 1_000_000 - n_records * STEP_MS
    shown: dict[str, Exposure] = {}
    records = []
    for i in range(n_records):
        user_id, ts_ms = f"user-{int(N_USERS * rng.random() ** 2)}", start_ms + i * STEP_MS
        if i % EXPOSURE_EVERY == 0:
            items = tuple(f"item-{int(N_ITEMS * rng.random() ** 2)}" for _ in range(SHOWN))
            shown[user_id] = Exposure(feed_id=f"feed-{i:08d}", user_id=user_id, ts_ms=ts_ms, item_ids=items)
            records.append(Written(EXPOSURES, user_id.encode(), encode(shown[user_id])))
            continue
        feed = shown.get(user_id)
        item_id = rng.choice(feed.item_ids) if feed is not None else f"item-{int(N_ITEMS * rng.random() ** 2)}"
        feed_id = feed.feed_id if feed is not None else None
        event = Interaction(event_id=f"event-{i:08d}", user_id=user_id, item_id=item_id, ts_ms=ts_ms, feed_id=feed_id)
        records.append(Written(EVENTS, user_id.encode(), encode(event)))
    return records


def measure(case: Case, records: Sequence[Written], cluster: Cluster, folder: Path) -> dict[str, Any]:
    """One case on topics of its own."""
    kafka = KafkaSettings((cluster.addresses,), prefix=f"{case.name}-")
    with closing(KafkaAdminClient(**kafka.client())) as admin, ExitStack() as stack:
        ensure_topics(admin, topics(N_PARTITIONS), prefix=kafka.prefix)
        workers = [
            stack.enter_context(started(case, kafka, folder / f"{case.name}-{i}")) for i in range(case.n_workers)
        ]
        wait_until_shared(case, kafka, admin)
        pids = {"broker": [cluster.nodes[0].pid], "workers": [worker.pid for worker in workers]}
        used_before = {name: sum(map(cpu_s, ids)) for name, ids in pids.items()}
        started_s = time.time()
        publish(case, records, kafka)
        wait_until_handled(case, kafka, admin)
        took_s = last_append_s(kafka, case.changelog) - started_s
        used_s = {name: sum(map(cpu_s, ids)) - used_before[name] for name, ids in pids.items()}
        n_outcomes = sum(ends(kafka, OUTCOMES).values())
    return {
        "workers": case.n_workers,
        "records": len(records),
        "seconds": round(took_s, 2),
        "records_per_s": round(len(records) / took_s),
        "outcomes": n_outcomes,
        "broker_cores": round(used_s["broker"] / took_s, 2),
        "workers_cores": round(used_s["workers"] / took_s, 2),
        "records_per_worker_cpu_s": round(len(records) / used_s["workers"]),
    }


@contextmanager
def started(case: Case, kafka: KafkaSettings, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that holds its share, or waits for it."""
    folder.mkdir(parents=True)
    variables = {
        "BROKER": kafka.servers[0],
        "PREFIX": kafka.prefix,
        "PARTITIONS": str(N_PARTITIONS),
        "STANDBYS": "0",
        "DATA": str(folder / "data"),
        "FRESHET_LOG": f"kafka://{kafka.servers[0]}/{kafka.prefix}",
        "FRESHET_PARTITIONS": str(N_PARTITIONS),
        "FRESHET_WORKER_STANDBYS": "0",
        "FRESHET_WORKER_DATA_DIR": str(folder / "data"),
        "FRESHET_ATTRIBUTION_WINDOW_S": str(WINDOW_S),
        "FRESHET_LATENESS_S": str(LATENESS_S),
        "FRESHET_METRICS_PORT": "0",
    }
    command = [sys.executable, "-m", "faust", "-A", case.app, "worker", "-l", "info", "--without-web"]
    log = folder / "worker.log"
    with log.open("wb") as out:
        worker = subprocess.Popen(command, env=os.environ | variables, stdout=out, stderr=out)
    try:
        wait_for(lambda: b"Worker ready" in log.read_bytes(), f"a worker of {case.name}, see {log}", READY_S)
        yield worker
    finally:
        worker.kill()
        worker.wait()


def wait_until_shared(case: Case, kafka: KafkaSettings, admin: KafkaAdminClient) -> None:
    """Until every worker holds partitions, and none is joining."""
    name = kafka.prefix + case.group

    def is_shared() -> bool:
        group = admin.describe_groups([name])[name]
        return group["group_state"] == "Stable" and len(group["members"]) == case.n_workers

    wait_for(is_shared, f"{case.n_workers} workers in group {name}", READY_S)
    time.sleep(3 * case.n_workers)  # each rebalance ends with a recovery that nothing outside shows


def publish(case: Case, records: Sequence[Written], kafka: KafkaSettings) -> None:
    """All records; a case that reads one topic gets them all there."""
    with closing(KafkaProducer(**kafka.client(), linger_ms=20, batch_size=200_000)) as producer:
        for record in records:
            topic = kafka.prefix + (record.topic if record.topic in case.sources else case.sources[0])
            partition = partition_of(record.key, N_PARTITIONS)
            producer.send(topic, key=record.key, value=record.value, partition=partition)
        producer.flush(timeout=DEADLINE_S)


def wait_until_handled(case: Case, kafka: KafkaSettings, admin: KafkaAdminClient) -> None:
    """Until the group has committed everything."""
    wanted = {tp: end for topic in case.sources for tp, end in ends(kafka, topic).items() if end}
    name = kafka.prefix + case.group

    def is_handled() -> bool:
        done = admin.list_group_offsets([name])[name]
        return all(tp in done and done[tp].offset >= end for tp, end in wanted.items())

    wait_for(is_handled, f"group {name} to handle all", DEADLINE_S)


def ends(kafka: KafkaSettings, topic: str) -> dict[TopicPartition, int]:
    """Offsets that are written next."""
    with closing(KafkaConsumer(**kafka.client())) as consumer:
        partitions = [TopicPartition(kafka.prefix + topic, p) for p in range(N_PARTITIONS)]
        found: dict[TopicPartition, int] = consumer.end_offsets(partitions)
        return found


def last_append_s(kafka: KafkaSettings, topic: str) -> float:
    """When the newest record was appended, seconds since 1970."""
    newest_ms = 0
    with closing(KafkaConsumer(**kafka.client(), enable_auto_commit=False)) as consumer:
        for partition, end in ends(kafka, topic).items():
            consumer.assign([partition])
            consumer.seek(partition, end - 1)
            polled = consumer.poll(timeout_ms=10_000)
            newest_ms = max([newest_ms, *(record.timestamp for batch in polled.values() for record in batch)])
    return newest_ms / 1_000


def wait_for(claim: Any, what: str, deadline_s: float) -> None:  # noqa: ANN401
    deadline = time.monotonic() + deadline_s
    while not claim():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {deadline_s} s: {what}")
        time.sleep(LOOK_S)


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
