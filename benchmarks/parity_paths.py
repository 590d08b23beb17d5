"""The paths of `benchmarks.parity`: the same records in, and what came of them out, in one form to be compared.

in_process     the sequences role and the windows' roles in the runner, on whatever log is given
with_workers   two Faust workers as processes; sequences are read from the changelog of their table
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from kafka.admin import KafkaAdminClient
from prometheus_client import CollectorRegistry

from benchmarks.brokers import opened_log
from benchmarks.live import stop_service, wait_for
from benchmarks.parity_data import Told
from broker.node import free_port
from consumers.roles import OffsetOwner
from consumers.runner import Runner
from consumers.sequences.role import SequencesRole, Snapshots
from consumers.sequences.user_sequences import UserSequences
from consumers.windows.role import windows_role
from consumers.windows.windows import Windows
from monitoring.metrics import Metrics
from stream.events import Outcome, decode_outcome, decode_partition_counts
from stream.kinds import DEFAULT_KINDS
from stream.log import Log, Message, Position, QueueFull, Record
from stream.topics import COUNTS, EVENTS, EXPOSURES, OUTCOMES, Topic, topics
from stream.windows.arms import summed
from stream.windows.attribution import AttributionSettings
from stream.workers.user_state import CLOCK_KEY, decode_state

BATCH = 1_000
TIMEOUT_S = 1_200.0
STOP_S = 30.0
READY_S = 120.0
STEADY_S = 15.0  # longer than an input may be silent before the stream clock goes on without it
N_WORKERS = 2
CHANGELOG = "worker-users-changelog"
INPUTS = (EVENTS, EXPOSURES)


@dataclass
class State:
    """What came of the records.

    Attributes:
        seconds: from the first poll to the last outcome, publishing not included.
        sequences: item, time and kind of each event, oldest first, by user.
        outcomes: one by id.
        trending: newest hour, and items with their counts, by partition.
        arms: by experiment, arm and hour.
        n_outcomes_sent: repeats included.
        n_dropped: events and exposures too late, or beyond a user's bounds; must be 0 to be compared.
    """

    seconds: float = 0.0
    sequences: dict[str, list[Any]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    trending: dict[int, list[Any]] = field(default_factory=dict)
    arms: list[Any] = field(default_factory=list)
    n_outcomes_sent: int = 0
    n_dropped: int = 0

    def add_outcomes(self, records: Sequence[Record]) -> None:
        """Keep one by id.

        Raises:
            AssertionError: two of one id differ.
        """
        self.n_outcomes_sent = len(records)
        for outcome in (decode_outcome(record.value) for record in records):
            if self.outcomes.setdefault(outcome.outcome_id, outcome) != outcome:
                raise AssertionError(f"{outcome} was told before as {self.outcomes[outcome.outcome_id]}")


def publish(log: Log, records: Sequence[Told]) -> float:
    """All of them, each topic in order; seconds until they are durable."""
    started = time.perf_counter()
    written = []
    for start in range(0, len(records), BATCH):
        some = records[start : start + BATCH]
        for topic in INPUTS:
            written.append(send(log, topic, [record.message for record in some if record.topic == topic]))
    for future in written:
        future.result(TIMEOUT_S)
    return time.perf_counter() - started


def send(log: Log, topic: str, messages: Sequence[Message]) -> Future[list[Position]]:
    """Publish; where too much waits, again."""
    while True:
        try:
            return log.publish(topic, messages)
        except QueueFull:
            continue


def in_process(log: Log, folder: Path) -> State:
    """Everything that is on the log, through the roles of one process."""
    metrics = Metrics(CollectorRegistry())
    sequences = UserSequences(len(log.ends(EVENTS)))
    windows = Windows(folder / "windows", log, settings=AttributionSettings(), metrics=metrics)
    snapshots = Snapshots(folder / "snapshots", log.log_id)
    sequences_role = SequencesRole(sequences, snapshots, log, kinds=DEFAULT_KINDS, metrics=metrics)
    window_roles = [windows_role(windows, topic, kinds=DEFAULT_KINDS) for topic in INPUTS]
    runner = Runner(log, [sequences_role, *window_roles], metrics=metrics)
    started = time.perf_counter()
    runner.start()
    roles: list[OffsetOwner] = [sequences_role, *window_roles]
    wait_for(lambda: all(dict(role.positions()) == log.ends(role.topic) for role in roles), "all roles", TIMEOUT_S)
    state = State(seconds=time.perf_counter() - started)
    busy = runner.stop(STOP_S)
    if busy:
        raise RuntimeError(f"roles {busy} have not ended within {STOP_S} s")
    for partition, held in sequences.held().items():
        for user in held.store.users:
            state.sequences[user] = [[entry.item_id, entry.ts_ms, entry.kind] for entry in held.store.history(user)]
        state.trending[partition] = [held.trending.newest_hour, held.trending.most(1_000)]
    state.arms = [msgspec.to_builtins(count) for count in windows.arms()]
    state.n_dropped = sum(_value(metrics, "freshet_windows_late_total", topic) for topic in INPUTS)
    state.add_outcomes(read_all(log, OUTCOMES))
    return state


def with_workers(server: str, prefix: str, folder: Path, *, records: Sequence[Told]) -> State:
    """Records that are published while Faust workers run, each of which has its share before the first."""
    with closing(KafkaAdminClient(bootstrap_servers=server)) as admin, ExitStack() as stack:
        log = stack.enter_context(opened_log(server, prefix=prefix))
        urls = [stack.enter_context(started_worker(server, prefix, folder / f"w-{n}")) for n in range(N_WORKERS)]
        wait_for(lambda: _are_shared(urls, len(log.ends(EVENTS))), "workers that share the partitions", READY_S)
        started = time.perf_counter()
        publish(log, records)
        ends = {f"{prefix}{topic}": log.ends(topic) for topic in INPUTS}
        wait_for(lambda: _is_done(admin, f"{prefix}worker", ends), "workers that have handled all", TIMEOUT_S)
        seconds = time.perf_counter() - started
        wait_for(_Steady(log), "outcomes and counts that come no more", TIMEOUT_S)
    return read_workers(server, prefix, seconds)


def read_workers(server: str, prefix: str, seconds: float) -> State:
    """What the workers left on the log."""
    state = State(seconds=seconds)
    changelog = Topic(CHANGELOG, topics()[EVENTS].partitions, compacted=True)
    known = topics() | {CHANGELOG: changelog}
    with opened_log(server, known, prefix=prefix) as log:
        state.add_outcomes(read_all(log, OUTCOMES))
        counts = {record.key: decode_partition_counts(record.value) for record in read_all(log, COUNTS)}
        users = {record.key: record.value for record in read_all(log, CHANGELOG) if record.key != CLOCK_KEY}
    for count in counts.values():
        state.trending[count.partition] = [count.hour, list(count.trending)]
    arms = summed(arm for count in counts.values() for arm in count.arms)
    state.arms = [msgspec.to_builtins(arm) for arm in arms]
    for user, raw in users.items():
        kept = decode_state(raw)
        state.n_dropped += kept.window.n_dropped
        if kept.ring:
            state.sequences[(user or b"").decode()] = [[e.item_id, e.ts_ms, e.kind] for e in kept.ring]
    return state


@contextmanager
def started_worker(server: str, prefix: str, folder: Path) -> Iterator[str]:
    """One worker, ended after the `with`.

    Yields:
        Where it tells how it is.
    """
    folder.mkdir(parents=True)
    port = free_port()
    variables = {
        "FRESHET_LOG": f"kafka://{server}/{prefix}",
        "FRESHET_WORKER_DATA_DIR": str(folder / "data"),
        "FRESHET_WORKER_STANDBYS": "0",
        "FRESHET_METRICS_PORT": str(port),
    }
    command = [sys.executable, "-m", "faust", "-A", "stream.worker", "worker", "-l", "info", "--without-web"]
    with (folder / "worker.log").open("wb") as out:
        worker = subprocess.Popen(command, env=os.environ | variables, stdout=out, stderr=out)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop_service(worker)


def read_all(log: Log, topic: str) -> list[Record]:
    """Every record of a topic, in order within a partition."""
    ends = {partition: end for partition, end in log.ends(topic).items() if end}
    next_offsets = dict.fromkeys(ends, 0)
    records: list[Record] = []
    deadline = time.monotonic() + TIMEOUT_S
    with closing(log.reader(topic, partitions=sorted(ends) or [0])) as reader:
        while any(next_offsets[partition] < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} is not read to its end within {TIMEOUT_S} s: {next_offsets} of {ends}")
            polled = reader.poll(max_records=5_000, timeout_s=1.0)
            records += polled
            next_offsets.update({record.partition: record.offset + 1 for record in polled})
    return records


class _Steady:
    """True once the ends of what workers write have been the same for a while."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seen: list[dict[int, int]] = []
        self._since = time.monotonic()

    def __call__(self) -> bool:
        seen = [self._log.ends(OUTCOMES), self._log.ends(COUNTS)]
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
        return time.monotonic() - self._since >= STEADY_S


def _are_shared(urls: Sequence[str], n_partitions: int) -> bool:
    """Whether every worker is ready and has some, and all are somebody's."""
    try:
        states = [httpx.get(f"{url}/readyz") for url in urls]
    except httpx.TransportError:
        return False  # not listening yet
    held = [state.json()["partitions"] for state in states if state.status_code == 200]
    return len(held) == len(urls) and all(held) and sum(map(len, held)) == n_partitions


def _is_done(admin: KafkaAdminClient, group: str, ends: Mapping[str, Mapping[int, int]]) -> bool:
    committed = {(tp.topic, tp.partition): at.offset for tp, at in admin.list_group_offsets([group])[group].items()}
    return all(
        committed.get((topic, partition), 0) >= end for topic, of in ends.items() for partition, end in of.items()
    )


def _value(metrics: Metrics, name: str, topic: str) -> int:
    return int(metrics.registry.get_sample_value(name, {"topic": topic}) or 0)
