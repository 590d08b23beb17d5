"""Workers as processes of their own on a real broker, and what they leave on the log. All waits have a deadline."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from broker.cluster import Cluster
from broker.node import free_port
from stream.events import Outcome, PartitionCounts, decode_outcome, decode_partition_counts
from stream.kafka.connect import connected
from stream.kafka.settings import KafkaSettings
from stream.kafka.topics import ensure_topics
from stream.partition import partition_of
from stream.topics import COUNTS, OUTCOMES, topics
from tests import waiting
from tests.kafka.worker_traffic import LATENESS_MS, LENGTH, WINDOW_MS, Said

ROOT = Path(__file__).parents[2]
DEADLINE_S = 150.0
N_PARTITIONS = 4
SESSION_S = 10.0
START_AGAIN = 75  # exit status of a worker that wants a supervisor to start it again
wait_until = partial(waiting.wait_until, deadline_s=DEADLINE_S)


class World:
    """A corner of the broker: its topics, writing to them, reading what came of it."""

    def __init__(self, broker: Cluster, folder: Path) -> None:
        self.folder = folder
        self.prefix = f"w{uuid.uuid4().hex[:10]}-"
        self.kafka = KafkaSettings(tuple(broker.addresses.split(",")), self.prefix)
        client = self.kafka.client()
        self._producer = connected(KafkaProducer, {**client, "linger_ms": 5})
        self._consumer = connected(KafkaConsumer, {**client, "enable_auto_commit": False, "metrics_enabled": False})
        self._workers: list[WorkerProcess] = []
        with closing(KafkaAdminClient(**self.kafka.client())) as admin:
            ensure_topics(admin, topics(N_PARTITIONS), prefix=self.prefix)

    def __enter__(self) -> "World":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()
        self._producer.close(timeout=10)
        self._consumer.close()

    def worker(self, name: str, **settings: str) -> "WorkerProcess":
        """A worker that is not started yet; settings are variables without FRESHET_."""
        worker = WorkerProcess(self, name, settings)
        self._workers.append(worker)
        return worker

    def say(self, said: Sequence[Said]) -> None:
        """Publish in order and wait until all is durable."""
        for one in said:
            self.send(one.topic, one.user_id.encode(), one.value)
        self._producer.flush(timeout=DEADLINE_S)

    def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Publish one record, not waited for."""
        partition = partition_of(key or b"", N_PARTITIONS)
        self._producer.send(self.prefix + topic, key=key, value=value, partition=partition)

    def flush(self) -> None:
        """All sent is durable."""
        self._producer.flush(timeout=DEADLINE_S)

    def read(self, topic: str) -> list[Any]:
        """Every record of a topic, in order within a partition."""
        consumer = self._consumer
        name = self.prefix + topic
        partitions = [TopicPartition(name, p) for p in sorted(consumer.partitions_for_topic(name) or ())]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        deadline = time.monotonic() + DEADLINE_S
        records: list[Any] = []
        while any(consumer.position(tp) < end for tp, end in ends.items()):
            assert time.monotonic() < deadline, f"{topic} is not read to its end"
            records += [r for polled in consumer.poll(timeout_ms=200).values() for r in polled]
        return records

    def outcomes(self) -> list[Outcome]:
        """All, repeats too."""
        return [decode_outcome(record.value) for record in self.read(OUTCOMES)]

    def counts(self) -> dict[int, PartitionCounts]:
        """The newest by partition."""
        said = [decode_partition_counts(record.value) for record in self.read(COUNTS)]
        return {counts.partition: counts for counts in said}

    def wait_for_outcomes(self, ids: Iterable[str]) -> list[Outcome]:
        """All outcomes, once each of these ids is there."""
        wanted = set(ids)
        end = time.monotonic() + DEADLINE_S
        while True:
            outcomes = self.outcomes()
            self.start_again()
            missing = wanted - {outcome.outcome_id for outcome in outcomes}
            if not missing:
                return outcomes
            assert time.monotonic() < end, (
                f"{len(missing)} of {len(wanted)} outcomes are missing, as {min(missing)}; {self.workers_now()}"
            )

    def start_again(self) -> None:
        """What a supervisor does: start workers again that ended themselves, as one does on a machine that stalls."""
        for worker in self._workers:
            if worker.is_supervised and worker.process is not None and worker.process.poll() == START_AGAIN:
                worker.start()

    def workers_now(self) -> str:
        """What became of the workers, for messages."""
        return "\n".join(worker.state_now() for worker in self._workers)


class WorkerProcess:
    """`faust -A stream.worker worker`; may be started again after it ended."""

    def __init__(self, world: World, name: str, settings: dict[str, str]) -> None:
        self.name = name
        self.log = world.folder / f"{name}.log"
        self.port = free_port()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")},
            "FRESHET_LOG": f"kafka://{','.join(world.kafka.servers)}/{world.prefix}",
            "FRESHET_PARTITIONS": str(N_PARTITIONS),
            "FRESHET_WORKER_DATA_DIR": str(world.folder / name),
            "FRESHET_ATTRIBUTION_WINDOW_S": str(WINDOW_MS / 1_000),
            "FRESHET_LATENESS_S": str(LATENESS_MS / 1_000),
            "FRESHET_SEQUENCE_LENGTH": str(LENGTH),
            "FRESHET_WORKER_SESSION_TIMEOUT_S": str(SESSION_S),
            "FRESHET_METRICS_PORT": str(self.port),
            **{f"FRESHET_{key}": value for key, value in settings.items()},
        }
        self.is_supervised = True
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "WorkerProcess":
        """Start and return at once."""
        command = [sys.executable, "-W", "error::DeprecationWarning:stream", "-m", "faust", "-A", "stream.worker"]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, "worker", "-l", "warn"], cwd=ROOT, env=self._environment, stdout=out, stderr=out
            )
        return self

    def wait_until_ready(self) -> "WorkerProcess":
        """Until it handles records."""
        wait_until(lambda: self._is("readyz"), f"{self.name} is ready: {self.printed()[-2_000:]}")
        return self

    def _is(self, path: str) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended with {self.process.poll()}: {self.printed()[-3_000:]}"
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/{path}", timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def facts(self) -> dict[str, Any]:
        """What /readyz says."""
        facts: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).json()
        return facts

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def state_now(self) -> str:
        """Whether it runs, what it says of itself, and its last words."""
        status = None if self.process is None else self.process.poll()
        says = ""
        if status is None:
            with suppress(httpx.HTTPError):
                lag = self.metric("freshet_worker_lag_records")
                says = f"{self.facts()}, lag {lag}, closing {self.metric('freshet_worker_closing_users')}"
        return f"{self.name}: status {status} {says}\n{self.printed()[-1_500:]}"

    def printed(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL; fine when it is gone already."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE_S)

    def signal(self, number: signal.Signals) -> None:
        """Any signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, deadline_s: float) -> int:
        """Its exit status."""
        assert self.process is not None
        return self.process.wait(deadline_s)
