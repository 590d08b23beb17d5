"""Replicas and workers that come and go every few seconds: partitions change hands all the time, nothing is lost."""

import random
import time

import pytest

from tests.faults.process import wait_until
from tests.faults.traffic import put_catalogue
from tests.kafka.faults.figures import check
from tests.kafka.faults.load import Load
from tests.kafka.faults.site import Site, handled, held

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

N_ROUNDS = 3
MOST_S = 3.0  # that a newcomer stays, once it holds partitions


def test_storm_of_replicas_and_workers_loses_nothing(site: Site) -> None:
    rng = random.Random(6)
    put_catalogue(site.start_replicas("one")[0])
    site.start_workers("worker-one")
    replica = site.service("two", "feeds")
    with Load(site) as load:
        for turn in range(N_ROUNDS):
            replica.spawn()
            worker = site.start_worker("worker-two")
            site.wait_until_back(replica)
            wait_until(lambda new=worker: held(replica) or handled(new), "a newcomer has its share")
            time.sleep(rng.uniform(0.0, MOST_S))  # when it goes is drawn
            since_s = time.monotonic()
            site.remove(worker)
            site.alive.remove(replica)
            if turn % 2:
                replica.kill()
            else:
                assert replica.stop() == 0
            if turn == N_ROUNDS - 1:
                load.wait_until_served(since_s)
                site.wait_until_handled()
    fault = f"{N_ROUNDS} times a replica and a worker added and removed, every second time killed"
    check(site, load, fault, name="rebalance_storm")
