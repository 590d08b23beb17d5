"""Workers that are killed, stopped and stuck: nothing is lost, and readers that keep one of each id see each once."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType

import httpx
import pytest
from kafka import KafkaProducer

from broker.cluster import Cluster
from stream.events import Outcome
from tests.kafka.worker_process import N_PARTITIONS, SESSION_S, START_AGAIN, WorkerProcess, World, wait_until
from tests.kafka.worker_traffic import Said, ending, expected_outcomes, expected_trending, traffic

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

AGO_MS = 86_400_000 // 2
N_KILLS = 4
CHUNK = 200
PACE_S = 0.3
MOST = 100_000  # records, more than are published before the last kill


@pytest.fixture
def world(broker: Cluster, tmp_path: Path) -> Iterator[World]:
    with World(broker, tmp_path) as made:
        yield made


def test_killed_workers_lose_nothing_and_readers_see_each_outcome_once(world: World) -> None:
    rng = random.Random(1)
    workers = [world.worker(name).start() for name in ("one", "two")]
    with Writer(world, traffic(MOST, start_ms=time.time_ns() // 1_000_000 - AGO_MS)) as writer:
        for _ in range(N_KILLS):
            victim = rng.choice(workers)
            wait_until(lambda worker=victim: handles(worker), "the worker handles records")
            victim.kill()
            victim.start()
        said = writer.stop()
    last = ending(said, N_PARTITIONS)
    world.say(last)
    said += last
    expected = expected_outcomes(said)

    outcomes = world.wait_for_outcomes(expected)

    kept: dict[str, Outcome] = {}
    for outcome in outcomes:
        assert kept.setdefault(outcome.outcome_id, outcome) == outcome, "a repeat must say the same"
    assert kept == expected
    trending = expected_trending(said, N_PARTITIONS)
    wait_until(lambda: {p: dict(c.trending) for p, c in world.counts().items()} == trending, "the counts")


def test_worker_that_stood_still_past_its_session_ends_and_another_goes_on(world: World) -> None:
    said = traffic(2_000, start_ms=time.time_ns() // 1_000_000 - AGO_MS)
    said += ending(said, N_PARTITIONS)
    sleeper = world.worker("sleeper").start().wait_until_ready()
    sleeper.is_supervised = False
    world.say(said[:1_000])
    wait_until(lambda: sleeper.metric("freshet_worker_events_total") > 100, "the sleeper handles records")
    sleeper.signal(signal.SIGSTOP)
    other = world.worker("other").start().wait_until_ready()
    wait_until(
        lambda: len(other.facts()["partitions"]) == N_PARTITIONS, "the other holds all", deadline_s=10 * SESSION_S
    )
    world.say(said[1_000:])

    sleeper.signal(signal.SIGCONT)

    assert sleeper.wait(10) == START_AGAIN
    assert "it stood still for" in sleeper.printed()
    expected = expected_outcomes(said)
    kept = {outcome.outcome_id: outcome for outcome in world.wait_for_outcomes(expected)}
    assert kept == expected


def test_worker_is_not_ready_while_brokers_are_away_and_goes_on_after(broker_jars: Path, tmp_path: Path) -> None:
    with Cluster(tmp_path / "kafka", cache=broker_jars) as cluster, World(cluster, tmp_path) as world:
        said = traffic(400, start_ms=time.time_ns() // 1_000_000 - AGO_MS)
        said += ending(said, N_PARTITIONS)
        worker = world.worker("one").start().wait_until_ready()
        (node,) = cluster.nodes

        node.kill()
        wait_until(lambda: not worker.facts()["is_ready"], "the worker misses its broker", deadline_s=3 * SESSION_S)
        assert worker.facts()["brokers_silent_s"] >= 0.75 * SESSION_S
        node.start()
        node.wait()
        world.say(said)

        world.wait_for_outcomes(expected_outcomes(said))
        worker.wait_until_ready()


def test_recovery_that_waits_for_ever_ends_the_process(world: World) -> None:
    said = traffic(400, start_ms=time.time_ns() // 1_000_000 - AGO_MS)
    world.say(said)
    worker = world.worker("one").start().wait_until_ready()
    wait_until(lambda: worker.metric("freshet_worker_events_total") >= len(said), "all is handled")
    worker.signal(signal.SIGTERM)
    worker.wait(15)
    commit_to_changelog(world)

    other = world.worker("two", WORKER_STUCK_S="3").start()

    assert other.wait(60) == START_AGAIN
    assert "recovery has not come on for 3.0 s" in other.printed()


def test_value_that_cannot_be_read_costs_one_user(world: World) -> None:
    said = traffic(400, start_ms=time.time_ns() // 1_000_000 - AGO_MS)
    said += ending(said, N_PARTITIONS)
    world.worker("one").start().wait_until_ready().kill()
    world.send("worker-users-changelog", b"user-7", b"\xc1 not a state")
    world.flush()
    worker = world.worker("two").start().wait_until_ready()
    world.say(said)

    world.wait_for_outcomes(expected_outcomes(said))

    assert worker.metric("freshet_worker_damaged_total") >= 1


class Writer:
    """Publishes in chunks at a steady pace, from a thread, until it is stopped."""

    def __init__(self, world: World, said: list[Said]) -> None:
        self._world, self._said = world, said
        self._n_said = 0
        self._is_enough = threading.Event()
        self._thread = threading.Thread(target=self._say)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> list[Said]:
        """What was published."""
        self._is_enough.set()
        self._thread.join()
        return self._said[: self._n_said]

    def _say(self) -> None:
        while self._n_said < len(self._said) and not self._is_enough.wait(PACE_S):
            chunk = self._said[self._n_said : self._n_said + CHUNK]
            self._world.say(chunk)
            self._n_said += len(chunk)


def handles(worker: WorkerProcess) -> bool:
    try:
        return bool(worker.metric("freshet_worker_events_total") > CHUNK)
    except httpx.TransportError:
        return False


def commit_to_changelog(world: World) -> None:
    """End the changelog with a commit marker: the end of the log is an offset that no reader is ever given."""
    config = {**world.kafka.client(), "transactional_id": world.prefix, "enable_idempotence": True, "acks": "all"}
    with closing(KafkaProducer(**config)) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        for partition in range(N_PARTITIONS):
            name = f"{world.prefix}worker-users-changelog"
            producer.send(name, key=b"nobody", value=None, partition=partition)
        producer.commit_transaction()
