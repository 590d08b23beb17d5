"""The processes that `benchmarks.kafka` times: each reads the whole topic once and prints one line of JSON.

    python -m benchmarks.kafka_readers bare SERVER TOPIC N_EVENTS
    python -m benchmarks.kafka_readers freshet SERVER TOPIC N_EVENTS

bare      kafka-python's poll in a loop; records are counted and thrown away
freshet   the sequences role in the runner, as a serving process has it: decode, check, apply, commit, metrics

The clock runs from the first records in hand to the last of them done with.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from threading import Event

from kafka import KafkaConsumer
from prometheus_client import CollectorRegistry

from benchmarks.digests import digest_of
from consumers.runner import Runner
from consumers.sequences.role import SequencesRole, Snapshots
from consumers.sequences.user_sequences import UserSequences
from monitoring.metrics import Metrics
from stream.kafka.log import KafkaLog
from stream.kafka.settings import KafkaSettings
from stream.kinds import DEFAULT_KINDS
from stream.log import Record
from stream.topics import EVENTS, topics

TIMEOUT_S = 120.0
SWITCH_S = 0.0005  # as a serving process sets it


class Clock:
    """Seconds of the wall and of all cores from the first start to the last stop."""

    def __init__(self) -> None:
        self._started: tuple[float, float] | None = None
        self.seconds = self.cpu_s = 0.0

    def start(self) -> None:
        """Begin, unless it runs."""
        if self._started is None:
            self._started = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """End; may be called again."""
        started_s, started_cpu_s = self._started or (time.perf_counter(), time.process_time())
        self.seconds, self.cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s


class TimedRole(SequencesRole):
    """The role, and when its first batch began and the last expected event was applied."""

    n_expected = 0
    n_handled = 0
    clock: Clock
    is_done: Event

    def handle(self, records: list[Record]) -> None:
        """Apply a batch."""
        self.clock.start()
        super().handle(records)
        self.n_handled += len(records)
        if self.n_handled >= self.n_expected:
            self.clock.stop()
            self.is_done.set()


def read_bare(server: str, topic: str, n_events: int) -> dict[str, object]:
    """Poll and count."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=server,
        group_id=f"bare-{uuid.uuid4()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=2_000,
    )
    with closing(consumer):
        clock, n_read = Clock(), 0
        deadline_s = time.monotonic() + TIMEOUT_S
        while n_read < n_events and time.monotonic() < deadline_s:
            polled = consumer.poll(timeout_ms=250)
            if polled:
                clock.start()
            n_read += sum(len(records) for records in polled.values())
        clock.stop()
    return _result(n_read, clock)


def read_freshet(server: str, topic: str, n_events: int) -> dict[str, object]:
    """Run the sequences role until it has everything."""
    sys.setswitchinterval(SWITCH_S)
    settings = KafkaSettings((server,), topic.removesuffix(EVENTS))
    known = topics()
    with tempfile.TemporaryDirectory() as folder, closing(KafkaLog(settings, known)) as log:
        sequences = UserSequences(known[EVENTS].partitions)
        metrics = Metrics(CollectorRegistry())
        snapshots = Snapshots(Path(folder), log.log_id)
        role = TimedRole(sequences, snapshots, log, kinds=DEFAULT_KINDS, metrics=metrics)
        role.group = f"sequences-{uuid.uuid4()}"
        role.n_expected, role.is_done, role.clock = n_events, Event(), Clock()
        runner = Runner(log, [role], metrics=metrics)
        gc.collect()
        gc.freeze()
        runner.start()
        role.is_done.wait(TIMEOUT_S)
        digest = digest_of(
            [user, sequences.sequence(user)] for state in sequences.held().values() for user in state.store.users
        )
        runner.stop(TIMEOUT_S)
    return _result(role.n_handled, role.clock) | {"digest": digest}


def _result(n_events: int, clock: Clock) -> dict[str, object]:
    return {"n_events": n_events, "seconds": clock.seconds, "cpu_s": clock.cpu_s}


READERS = {"bare": read_bare, "freshet": read_freshet}


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a topic once.")
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("server")
    parser.add_argument("topic")
    parser.add_argument("n_events", type=int)
    arguments = parser.parse_args()
    print(json.dumps(READERS[arguments.reader](arguments.server, arguments.topic, arguments.n_events)))


if __name__ == "__main__":
    main()
