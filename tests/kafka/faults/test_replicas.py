"""API replicas that are killed, stand still, come and go: users stay served and no event is lost or counted twice."""

import os
import random
import signal
import time

import pytest

from tests.faults.process import wait_until
from tests.faults.traffic import put_catalogue
from tests.kafka.faults.figures import check
from tests.kafka.faults.load import Load
from tests.kafka.faults.site import Site, held
from tests.kafka.worker_process import N_PARTITIONS

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

N_KILLS = 2


def test_replicas_killed_at_random_under_load_lose_nothing(site: Site) -> None:
    rng = random.Random(2)
    put_catalogue(site.start_replicas("one", "two")[0])
    with Load(site) as load:
        for _ in range(N_KILLS):
            load.wait_for_progress(rng.randrange(20, 400))
            victim = rng.choice(site.alive)
            since_s = time.monotonic()
            site.kill(victim)
            load.wait_until_served(since_s)
            site.wait_until_back(victim)
    check(site, load, "an API replica of two killed (SIGKILL)", name="replica_killed")


def test_replica_that_stood_still_past_its_session_gives_way_and_comes_back(site: Site) -> None:
    sleeper, other = site.start_replicas("sleeper", "other")
    put_catalogue(other)
    with Load(site) as load:
        load.wait_for_progress()
        site.alive.remove(sleeper)
        since_s = time.monotonic()
        os.kill(sleeper.pid, signal.SIGSTOP)
        load.wait_until_served(since_s)
        assert len(held(other)) == N_PARTITIONS
        load.wait_for_progress(400)
        since_s = time.monotonic()
        os.kill(sleeper.pid, signal.SIGCONT)
        wait_until(lambda: held(sleeper) and len(held(sleeper) + held(other)) == N_PARTITIONS, "both share again")
        site.alive.append(sleeper)
        load.wait_until_served(since_s)
    check(site, load, "an API replica stopped past its session (SIGSTOP), then continued", name="replica_paused")
