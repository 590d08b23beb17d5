"""kill -9 of the trainer, and of the process that learns: another takes over, and every event is learnt once."""

import random
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest

from consumers.learning.segments import load_events, read_manifest
from stream.events import Interaction
from stream.topics import EVENTS
from tests.faults.process import ServiceProcess, wait_until
from tests.faults.traffic import put_catalogue
from tests.kafka.faults.figures import check
from tests.kafka.faults.load import Load
from tests.kafka.faults.site import Site

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


def test_killed_trainer_and_learner_lose_nothing_and_another_takes_over(site: Site) -> None:
    rng = random.Random(4)
    learner, standby = site.service("learner", "learning").start(), site.service("standby", "learning")
    (replica,) = site.start_replicas("one")
    put_catalogue(replica)
    with Load(site) as load:
        standby.start()
        first = replica.wait_for_model()
        wait_until(learner.trainer_pids, "a trainer runs")
        load.wait_for_progress(rng.randrange(50, 200))
        learner.kill_trainer()
        second = wait_for_another(replica, first)

        load.wait_for_progress(rng.randrange(50, 200))
        since_s = time.monotonic()
        learner.kill()
        wait_until(lambda: "learning_active" in standby.printed(), "the standby learns")
        load.recovered_s.append(time.monotonic() - since_s)
        wait_for_another(replica, second)
    wait_until(lambda: learnt(site) == ids(load), "every event is in a segment, once")
    check(site, load, "the trainer, then the process that learns, killed (SIGKILL)", name="learner_killed")
    assert standby.stop() == 0
    check_segments(site)


def wait_for_another(replica: ServiceProcess, version: str) -> str:
    """The version that follows."""
    wait_until(lambda: replica.get("/v1/models")["serving"] != version, "another version is served")
    return str(replica.get("/v1/models")["serving"])


def ids(load: Load) -> Counter[str]:
    """Of all acknowledged events, once each."""
    return Counter({said.what.event_id for said in load.acknowledged if isinstance(said.what, Interaction)})


def learnt(site: Site) -> Counter[str]:
    """Of all events that would be learnt from now."""
    return Counter(load_events(site.data_dir / "segments")["event_id"].to_pylist())


def check_segments(site: Site) -> None:
    """Every record of the log lies in one segment."""
    folder = site.data_dir / "segments"
    tables = [
        pq.read_table(folder / part.file, columns=["partition", "offset"]) for part in read_manifest(folder).of(EVENTS)
    ]
    places = Counter(tuple(row.values()) for table in tables for row in table.to_pylist())
    assert set(places) == {(record.partition, record.offset) for record in site.read(EVENTS)}
    assert set(places.values()) == {1}
