"""kill -9 of the whole service under load, again and again over one data folder."""

import random
import threading
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from consumers.learning.segments import MANIFEST, load_events, read_manifest
from models.registry.registry import Registry
from stream.embedded.log import EmbeddedLog
from stream.events import decode_interaction
from stream.topics import EVENTS, topics
from tests.faults.process import ServiceProcess, wait_until
from tests.faults.traffic import Event, Sender, expected_history, put_catalogue, wait_for_history

N_KILLS = 30
N_LANES = 2
KILLED_STARTING = 6  # every so many kills, one comes while the service starts
KILLED_TRAINER = 4  # every so many, the trainer alone goes first


def live_and_die(service: ServiceProcess, senders: list[Sender], rng: random.Random, turn: int) -> None:
    """One life of the service, of random length, under load."""
    service.spawn()
    if turn % KILLED_STARTING == 0:
        threading.Event().wait(rng.uniform(0.0, 5.0))  # the moment of the kill is what varies
    else:
        service.wait_until_serving()
        n_before = sum(len(sender.acknowledged) for sender in senders)
        wait_until(lambda: sum(len(sender.acknowledged) for sender in senders) > n_before, "an acknowledgement")
        threading.Event().wait(rng.uniform(0.0, 2.0))
        if turn % KILLED_TRAINER == 0:
            service.kill_trainer()
            threading.Event().wait(rng.uniform(0.0, 1.0))
    service.kill()
    wait_until(lambda: not service.trainer_pids(), "the trainer dies with its parent")


def event_ids_on_the_log(data_dir: Path) -> list[str]:
    log = EmbeddedLog(data_dir / "log.sqlite", topics())
    reader = log.reader(EVENTS, partitions=list(log.ends(EVENTS)))
    ids: list[str] = []
    while records := reader.poll(max_records=5_000, timeout_s=0.0):
        ids += [decode_interaction(record.value).event_id for record in records]
    reader.close()
    log.close()
    return ids


def check_folder(data_dir: Path, acknowledged: list[Event]) -> None:
    """Nothing acknowledged is missing, nothing counts twice, nothing half-written is left."""
    on_log = event_ids_on_the_log(data_dir)
    assert {sent["event_id"] for sent in acknowledged} == set(on_log)

    segments = data_dir / "segments"
    manifest = read_manifest(segments)
    tables = [pq.read_table(segments / part.file, columns=["partition", "offset"]) for part in manifest.of(EVENTS)]
    places = Counter(tuple(row.values()) for table in tables for row in table.to_pylist())
    assert set(places.values()) == {1}
    assert len(places) == len(on_log)
    learnt = load_events(segments)["event_id"].to_pylist()
    assert len(learnt) == len(set(learnt))
    assert set(learnt) == set(on_log)

    counted = {part.file for part in manifest.segments} | {MANIFEST}
    merged_away = {part.file for part in manifest.retired}  # removed at a start; the next flush strikes them out
    on_disk = {path.name for path in segments.iterdir()}
    assert counted <= on_disk <= counted | merged_away
    registry = Registry(data_dir / "registry")
    pointer = registry.current()
    assert pointer is not None
    assert pointer.version in registry.versions()
    for version in registry.versions():
        registry.open(version)
    half_written = [path for path in data_dir.rglob("*.tmp") if "features" not in path.parts]  # those go when old,
    assert half_written == []  # and so do stages of the registry


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_service_killed_thirty_times_under_load_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    rng = random.Random(7)
    service = ServiceProcess(tmp_path / "data").start()
    put_catalogue(service)
    senders = [Sender(service, lane=lane, n_lanes=N_LANES) for lane in range(N_LANES)]
    for sender in senders:
        sender.start()
    service.kill()
    for turn in range(1, N_KILLS):
        live_and_die(service, senders, rng, turn)

    service.start()
    for sender in senders:
        sender.stop()
        assert sender.unexpected == []
    acknowledged = [sent for sender in senders for sent in sender.acknowledged]
    assert sum(sender.n_sent_again for sender in senders) > 0
    service.wait_for_model()
    service.wait_until_ready()
    wait_for_history(service, expected_history(acknowledged))
    for item_id, ref in (pair for sender in senders for pair in sender.items.items()):
        assert service.get(f"/v1/items/{item_id}")["image"] == ref
    assert service.stop() == 0
    wait_until(lambda: not service.trainer_pids(), "the trainer ends with its parent")

    service.start()  # which cleans away what the kills left
    assert service.stop() == 0
    check_folder(service.data_dir, acknowledged)
