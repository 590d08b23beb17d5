"""A topic with another number of partitions: nothing starts, the reason is said in a line, and nothing is touched."""

from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from kafka.admin import KafkaAdminClient

from broker.cluster import Cluster
from stream.kafka.settings import KafkaSettings
from stream.kafka.topics import ensure_topics
from stream.topics import EVENTS, topics
from tests.faults.process import SMALL, run_freshet
from tests.kafka.worker_process import World

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]


def test_topic_with_another_number_of_partitions_is_refused_and_nothing_is_touched(
    broker: Cluster, tmp_path: Path
) -> None:
    prefix = f"t{uuid4().hex[:10]}-"
    kafka = KafkaSettings((broker.addresses,), prefix)
    with closing(KafkaAdminClient(**kafka.client())) as admin:
        ensure_topics(admin, {EVENTS: topics(3)[EVENTS]}, prefix=prefix)
        before = described(admin, prefix)

        url = f"kafka://{broker.addresses}/{prefix}"
        settings = {**SMALL, "LOG": url, "PARTITIONS": "4"}
        finished = run_freshet("serve", "--data-dir", str(tmp_path / "data"), "--port", "0", settings=settings)

        assert finished.returncode == 1
        assert finished.stderr == (
            f"freshet: topic '{prefix}events' has 3 partitions and partitions=4 is asked for; "
            "keys would change places: set 3, or use a new prefix\n"
        )
        assert described(admin, prefix) == before
        assert list(before) == [f"{prefix}events"]


def test_worker_that_would_join_topics_of_another_size_is_refused(broker: Cluster, tmp_path: Path) -> None:
    with World(broker, tmp_path) as world, closing(KafkaAdminClient(**world.kafka.client())) as admin:
        before = described(admin, world.prefix)
        worker = world.worker("one", PARTITIONS="6").start()
        assert worker.wait(60) != 0
        assert f"topic '{world.prefix}events' has 4 partitions and partitions=6 is asked for" in worker.printed()
        assert described(admin, world.prefix) == before


def described(admin: KafkaAdminClient, prefix: str) -> dict[str, object]:
    """Topics of a prefix with all that is known of them, by name."""
    names = sorted(name for name in admin.list_topics() if name.startswith(prefix))
    return {topic["name"]: topic for topic in admin.describe_topics(names)}
