"""Records that nobody can read: they are put aside with a reason, and everything else goes on.

In every topic but `transitions`: its followers leave out what they cannot read (`tests/consumers/memory/test_role.py`).
"""

import time
from contextlib import closing

import pytest

from stream.dead_letters import dead_letters
from stream.events import BadEvent, Exposure, Interaction, decode_dead_letter, encode
from stream.log import Message
from stream.topics import CONTROL, COUNTS, DEAD_LETTER, EVENTS, EXPOSURES, ITEMS, OUTCOMES
from tests.faults.process import run_freshet, wait_until
from tests.faults.traffic import put_catalogue
from tests.kafka.faults.figures import check
from tests.kafka.faults.load import Load
from tests.kafka.faults.site import Site, handled

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

POISONED = (EVENTS, ITEMS, EXPOSURES, OUTCOMES, COUNTS, CONTROL, DEAD_LETTER)
FAR_AHEAD_MS = 4_000_000_000_000  # 2096: would end every window, if it were believed
VALUES = (b"", b"\xff\xfe", b"null", b"{}", b'{"type": "interaction"}', b'{"type": "unheard of"}', b"[" * 20_000)
KEYS = (b"user-1", b"\xff\xfe", b"replica:\xff", b"0")
FROM_2096 = {
    EVENTS: encode(Interaction(event_id="ahead", user_id="user-1", item_id="item-1", ts_ms=FAR_AHEAD_MS)),
    EXPOSURES: encode(Exposure(feed_id="ahead", user_id="user-1", ts_ms=FAR_AHEAD_MS, item_ids=("item-1",))),
}


def poison(site: Site) -> None:
    """Every value under every key in each of these topics, and a key without a value."""
    with closing(site.log()) as log:
        for topic in POISONED:
            values = [*VALUES, *([FROM_2096[topic]] if topic in FROM_2096 else [])]
            messages = [Message(key, value) for key in KEYS for value in values] + [Message(b"\xff", None)]
            log.publish(topic, messages).result(30)


def rejected(site: Site) -> dict[str, int]:
    """Dead letters by the topic they came from."""
    found: dict[str, set[tuple[int, int]]] = {}
    with closing(site.log()) as log:
        for records in dead_letters(log, timeout_s=30):
            for record in records:
                try:
                    letter = decode_dead_letter(record.value)
                except BadEvent:  # the poison in the topic itself
                    continue
                found.setdefault(letter.source_topic, set()).add((letter.partition, letter.offset))
    return {topic: len(places) for topic, places in found.items()}


def test_poison_in_every_topic_is_put_aside_and_all_goes_on(site: Site) -> None:
    learner = site.service("learner", "learning").start()
    watcher = site.service("watcher", "watching").start()
    (replica,) = site.start_replicas("one")
    (worker,) = site.start_workers("worker")
    put_catalogue(replica)
    n_values = len(KEYS) * len(VALUES) + 1
    with Load(site) as load:
        load.wait_for_progress()
        since_s = time.monotonic()
        poison(site)
        load.wait_until_served(since_s)
        load.wait_for_progress(200)
        everywhere = {EVENTS: n_values + len(KEYS), ITEMS: n_values, EXPOSURES: n_values + len(KEYS)}
        wait_until(lambda: rejected(site) == everywhere, f"dead letters are {everywhere}")
    check(site, load, f"{n_values} records that nobody can read, in each of {len(POISONED)} topics", name="poison")
    for service in (replica, learner, watcher):
        service.wait_until_ready()
    assert handled(worker)
    assert site.n_restarts == 0
    arguments = ("dead-letters", "list", "--data-dir", str(site.data_dir), "--log", site.url)
    listed = run_freshet(*arguments, settings={"PARTITIONS": "4"})
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) > sum(everywhere.values())
