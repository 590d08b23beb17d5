"""One worker on a real broker: what it makes of the log, what it refuses, how it starts and ends."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaProducer

from broker.cluster import Cluster
from stream.events import decode_dead_letter
from stream.partition import partition_of
from stream.topics import DEAD_LETTER, EVENTS, EXPOSURES
from tests.kafka.worker_process import N_PARTITIONS, World, wait_until
from tests.kafka.worker_traffic import Said, ending, expected_outcomes, expected_trending, traffic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

STOP_S = 15.0
AGO_MS = 3_600_000


@pytest.fixture
def world(broker: Cluster, tmp_path: Path) -> Iterator[World]:
    with World(broker, tmp_path) as made:
        yield made


def n_counted_outcomes(world: World) -> int:
    return sum(arm.n_outcomes for counts in world.counts().values() for arm in counts.arms)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def say_in_transaction(world: World, said: list[Said]) -> None:
    with closing(KafkaProducer(**world.kafka.client(), transactional_id=f"{world.prefix}foreign")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        for one in said:
            key = one.user_id.encode()
            producer.send(world.prefix + one.topic, one.value, key, partition=partition_of(key, N_PARTITIONS))
        producer.commit_transaction()


def test_outcomes_and_counts_are_those_of_everything_at_once(world: World) -> None:
    said = traffic(3_000, start_ms=now_ms() - AGO_MS)
    said += ending(said, N_PARTITIONS)
    world.say(said)
    worker = world.worker("one").start().wait_until_ready()
    expected = expected_outcomes(said)

    outcomes = world.wait_for_outcomes(expected)

    assert {outcome.outcome_id: outcome for outcome in outcomes} == expected
    assert len(outcomes) == len(expected) > 300
    trending = expected_trending(said, N_PARTITIONS)
    wait_until(lambda: {p: dict(c.trending) for p, c in world.counts().items()} == trending, "the counts")
    wait_until(lambda: n_counted_outcomes(world) == len(expected), "the arms' counts")
    assert worker.metric("freshet_worker_outcomes_total") == len(expected)
    assert worker.metric("freshet_worker_events_total") == len(said)


def test_users_with_much_to_catch_up_with_lose_nothing(world: World) -> None:
    """Read without regard to time, exposures would come to their end first: hundreds a user, open all at once."""
    said = traffic(40_000, start_ms=now_ms() - 2 * AGO_MS, n_users=20)
    said += ending(said, N_PARTITIONS)
    world.say(said)
    worker = world.worker("one").start().wait_until_ready()
    expected = expected_outcomes(said)

    outcomes = world.wait_for_outcomes(expected)

    assert {outcome.outcome_id: outcome for outcome in outcomes} == expected
    assert worker.metric("freshet_worker_dropped_total") == 0


def test_worker_ends_in_order_when_asked(world: World) -> None:
    world.say(traffic(2_000, start_ms=now_ms() - AGO_MS))
    worker = world.worker("one").start().wait_until_ready()

    worker.signal(signal.SIGTERM)

    assert worker.wait(STOP_S) == 0
    assert "Traceback" not in worker.printed()
    assert "WARN" not in worker.printed()


def test_worker_ends_in_order_while_records_wait_for_the_other_topic(world: World) -> None:
    world.say([one for one in traffic(2_000, start_ms=now_ms() - AGO_MS) if one.topic == EXPOSURES])
    worker = world.worker("one").start().wait_until_ready()
    wait_until(lambda: worker.metric("freshet_worker_events_total") > 0, "exposures of a window were handled")

    worker.signal(signal.SIGTERM)

    assert worker.wait(STOP_S) == 0


def test_transaction_of_somebody_else_does_not_hold_the_other_topic_up(world: World) -> None:
    """Its marker lies at the end of the topic as a record that never comes."""
    said = traffic(2_000, start_ms=now_ms() - AGO_MS)
    say_in_transaction(world, [one for one in said if one.topic == EVENTS][:100])
    exposures = [one for one in said if one.topic == EXPOSURES]
    world.say(exposures)
    worker = world.worker("one").start().wait_until_ready()

    wait_until(
        lambda: worker.metric("freshet_worker_events_total") == 100 + len(exposures),
        "exposures of all windows",
        deadline_s=60.0,
    )

    wait_until(lambda: worker.metric("freshet_worker_lag_records") == 0, "nothing is left to read", deadline_s=60.0)


def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(world: World) -> None:
    for value in (b"\xff\x00", b"{}", None, b"x" * 70_000):
        world.send(EVENTS, b"user-1", value)
        world.send(EXPOSURES, b"\xff", value)
    said = traffic(200, start_ms=now_ms() - AGO_MS)
    said += ending(said, N_PARTITIONS)
    world.say(said)
    world.worker("one").start().wait_until_ready()

    world.wait_for_outcomes(expected_outcomes(said))

    letters = [decode_dead_letter(record.value) for record in world.read(DEAD_LETTER)]
    assert sorted(letter.source_topic for letter in letters) == [EVENTS] * 4 + [EXPOSURES] * 4
    assert {letter.value for letter in letters} == {b"\xff\x00", b"{}", None, b"x" * 70_000}


def test_topic_with_other_partitions_is_refused_with_what_to_do(world: World) -> None:
    worker = world.worker("one", PARTITIONS="8").start()

    assert worker.wait(60) == 1
    assert "worker cannot start: topic" in worker.printed()
    assert "has 4 partitions and partitions=8 is asked for" in worker.printed()
    assert "Traceback" not in worker.printed()


def test_second_worker_in_a_folder_is_refused_with_what_to_do(world: World) -> None:
    first = world.worker("one").start().wait_until_ready()
    second = world.worker("two", WORKER_DATA_DIR=str(world.folder / "one")).start()

    assert second.wait(60) == 1
    assert f"is held by process {first.process.pid}; stop it, or use another data folder" in second.printed()
    assert "Traceback" not in second.printed()
