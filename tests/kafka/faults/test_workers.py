"""kill -9 of workers while replicas take events: each outcome is there once for readers that keep one of each id."""

import random
import time

import pytest

from tests.kafka.faults.figures import check
from tests.kafka.faults.load import Load
from tests.kafka.faults.site import Site

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

N_KILLS = 2


def test_workers_killed_at_random_under_load_lose_nothing(site: Site) -> None:
    rng = random.Random(3)
    site.start_replicas("one")
    workers = site.start_workers("worker-one", "worker-two")
    with Load(site) as load:
        for _ in range(N_KILLS):
            load.wait_for_progress(rng.randrange(100, 400))
            since_s = time.monotonic()
            rng.choice(workers).kill()
            site.wait_until_handled()
            load.recovered_s.append(time.monotonic() - since_s)
    check(site, load, "a worker of two killed (SIGKILL)", name="worker_killed")
