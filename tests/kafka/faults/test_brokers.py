"""Brokers that stop, die, or have no room: what was acknowledged stays, feeds go on, and all comes back by itself."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.cluster import Cluster
from broker.node import Node, free_port
from tests.faults.process import DEADLINE_S, wait_until
from tests.faults.test_disk import disk, fill
from tests.faults.traffic import put_catalogue
from tests.kafka.faults.figures import check
from tests.kafka.faults.load import Load
from tests.kafka.faults.site import Site

__all__ = ["disk"]  # a fixture
pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

AWAY_S = 3.0
NOTICED_SOON = {"broker.session.timeout.ms": "4000", "broker.heartbeat.interval.ms": "500"}
SMALL_SEGMENTS = {"log.segment.bytes": "1048576", "log.index.size.max.bytes": "65536"}


def serve(site: Site) -> None:
    """A replica and a worker on a site."""
    put_catalogue(site.start_replicas("one")[0])
    site.start_workers("worker")


@contextmanager
def supervised(node: Node) -> Iterator[None]:
    """Start the node whenever it has ended, as what runs it would; it may take its time to end."""
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(0.2):
            if not node.is_running:
                node.start()

    thread = threading.Thread(target=watch, name="supervisor")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(DEADLINE_S)


def test_broker_stopped_and_killed_loses_nothing(broker_jars: Path, tmp_path: Path) -> None:
    with Cluster(tmp_path / "kafka", cache=broker_jars) as cluster, Site(cluster, tmp_path) as site:
        serve(site)
        (node,) = cluster.nodes
        with Load(site) as load:
            for end in (node.stop, node.kill):
                load.wait_for_progress()
                n_feeds = load.visits.n_answered
                end()
                time.sleep(AWAY_S)  # how long it is away is what is tested
                node.start()
                node.wait()
                load.wait_until_served(time.monotonic())
                assert load.visits.n_answered > n_feeds
            load.wait_for_progress(300)
        check(site, load, "the only broker stopped for 3 s, then killed for 3 s", name="broker_away")


def test_one_broker_of_three_killed_loses_nothing_and_stops_nothing(broker_jars: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    ports = [free_port() for _ in range(3)]
    with (
        Cluster(tmp_path / "kafka", cache=broker_jars, ports=ports, properties=NOTICED_SOON) as cluster,
        Site(cluster, tmp_path) as site,
    ):
        serve(site)
        with Load(site) as load:
            for node in rng.sample(cluster.nodes, 2):
                load.wait_for_progress(rng.randrange(50, 200))
                since_s = time.monotonic()
                node.kill()
                load.wait_until_served(since_s)
                load.wait_for_progress()
                node.start()
                node.wait()
        fault = "one broker of three killed, two of three copies in sync asked for"
        check(site, load, fault, name="broker_of_three_killed")
        for node in cluster.nodes:
            node.kill()  # those that are asked to end wait for each other


def test_broker_without_disk_space_refuses_events_until_there_is_some(
    broker_jars: Path, tmp_path: Path, disk: Path
) -> None:
    """Kafka ends its process when its only disk takes no more; a supervisor starts it again."""
    with Cluster(disk, cache=broker_jars, properties=SMALL_SEGMENTS) as cluster, Site(cluster, tmp_path) as site:
        serve(site)
        (node,) = cluster.nodes
        with Load(site) as load:
            load.wait_for_progress()
            n_refused = load.n_refused
            fill(disk / "filler")
            wait_until(lambda: load.n_refused > n_refused, "an event is refused")
            n_feeds = load.visits.n_answered
            wait_until(lambda: load.visits.n_answered > n_feeds + 10, "feeds go on")
            (disk / "filler").unlink()
            with supervised(node):
                load.wait_until_served(time.monotonic())
                load.wait_for_progress(300)
        check(site, load, "the broker's disk full, then with room again", name="broker_disk_full")
