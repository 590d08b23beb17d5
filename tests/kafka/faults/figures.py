"""What a fault did, counted from what processes show and what lies on the log, and kept as one JSON file a fault.

`python -m tests.kafka.faults.report` makes the table of docs/reliability.md of the files.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial

import httpx

from benchmarks.machine import machine
from consumers.sequences.store import SequenceStore, apply_one
from stream.admission import admit
from stream.events import BadEvent, Interaction, Outcome, decode_outcome, decode_partition_counts
from stream.kinds import DEFAULT_KINDS
from stream.topics import COUNTS, EVENTS, OUTCOMES
from tests.faults.process import ROOT, ServiceProcess, wait_until
from tests.kafka.faults.load import Load
from tests.kafka.faults.site import LENGTH, Site
from tests.kafka.worker_process import N_PARTITIONS
from tests.kafka.worker_traffic import Said, expected_outcomes, expected_trending

HISTORY_S = 20.0
FOLDER = ROOT / "build" / "faults"
Shown = Counter[tuple[str, int, str]]  # item, event time, kind


@dataclass
class Figures:
    """Of one fault. Events are distinct; records are what the log has, repeats too.

    Attributes:
        fault: what was done.
        n_faults: how often.
        n_sent: events sent, those sent again counted each time.
        n_repeated: records of `events` that repeat an event.
        n_outcomes: distinct; None where no worker ran.
        n_repeated_outcomes: records of `outcomes` that repeat one.
        n_feeds_stale: answered without the user's newest events, and marked so.
        recovered_s: from each fault until every partition shows a new event, or is handled by a worker.
        n_worker_ends: how often a worker ended, and was started again by its supervisor.
        slowest_feed_s: the longest that a visitor waited.
    """

    fault: str
    n_faults: int
    n_sent: int
    n_acknowledged: int
    n_applied: int
    n_lost: int
    n_duplicated: int
    n_repeated: int
    n_outcomes: int | None
    n_repeated_outcomes: int | None
    recovered_s: list[float]
    n_feeds: int
    n_feeds_stale: int
    n_feeds_failed: int
    n_worker_ends: int
    slowest_feed_s: float
    seconds: float

    def keep(self, name: str) -> None:
        """Write them down, with the machine and the day."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**asdict(self), "machine": machine()}, indent=2)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def check(site: Site, load: Load, fault: str, *, name: str) -> Figures:
    """Compare everything that processes show with what was acknowledged; fails where they differ.

    Args:
        site: its living replicas and the log are looked at; with workers, outcomes and trending counts too.
        load: has ended.
        fault: what was done, for the table.
        name: of the file.
    """
    site.wait_until_nothing_lags()
    expected, shown = expected_histories(load.acknowledged), {}
    for user_id, history in expected.items():
        shown[user_id] = _wait_for_history(site.alive[0], user_id, history)
    on_log = _event_ids(site)
    acknowledged = {said.what.event_id for said in load.acknowledged if isinstance(said.what, Interaction)}
    outcomes = _check_outcomes(site, load.acknowledged) if site.workers else (None, None)
    figures = Figures(
        fault=fault,
        n_faults=len(load.recovered_s),
        n_sent=load.n_events_sent,
        n_acknowledged=len(acknowledged),
        n_applied=sum(map(Counter.total, shown.values())),
        n_lost=sum((expected[user] - shown[user]).total() for user in expected),
        n_duplicated=sum((shown[user] - expected[user]).total() for user in expected),
        n_repeated=len(on_log) - len(set(on_log)),
        n_outcomes=outcomes[0],
        n_repeated_outcomes=outcomes[1],
        recovered_s=[round(seconds, 1) for seconds in load.recovered_s],
        n_feeds=load.visits.n_answered,
        n_feeds_stale=load.visits.n_stale,
        n_feeds_failed=len(load.visits.failed),
        n_worker_ends=site.n_restarts,
        slowest_feed_s=round(load.visits.longest_s, 1),
        seconds=round(time.monotonic() - load.started_at, 1),
    )
    figures.keep(name)
    assert load.unexpected == []
    assert load.visits.failed == []
    assert set(on_log) == acknowledged
    assert (figures.n_lost, figures.n_duplicated) == (0, 0)
    assert figures.n_applied == figures.n_acknowledged
    return figures


def expected_histories(said: Iterable[Said]) -> dict[str, Shown]:
    """By user, what the history must have: every acknowledged event, once."""
    store = SequenceStore(length=LENGTH)
    users: set[str] = set()
    for one in said:
        if isinstance(one.what, Interaction):
            apply_one(store, one.what, DEFAULT_KINDS)
            users.add(one.user_id)
    return {
        user: Counter((entry.item_id, entry.ts_ms, DEFAULT_KINDS[entry.kind].name) for entry in store.history(user))
        for user in sorted(users)
    }


def _wait_for_history(replica: ServiceProcess, user_id: str, expected: Shown) -> Shown:
    """What is shown in the end; it is asked again for some time, as the last events may be on their way.

    So it is when a replica answers that another one, which has this user, was too slow: nothing shown is lost to the
    figures then, and a user who is never answered counts as all lost.
    """
    last = [Shown()]
    with suppress(AssertionError):  # the figures say by how much it differs
        wait_until(partial(_shows, replica, user_id, expected, last), f"history of {user_id}", deadline_s=HISTORY_S)
    return last[-1]


def _shows(replica: ServiceProcess, user_id: str, expected: Shown, last: list[Shown]) -> bool:
    answer = replica.request("GET", f"/v1/users/{user_id}/history?limit=500")
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return False
    items = answer.raise_for_status().json()["items"]
    last[:] = [Counter((item["item_id"], item["ts_ms"], item["kind"]) for item in items)]
    return last[0] == expected


def _check_outcomes(site: Site, acknowledged: list[Said]) -> tuple[int, int]:
    """Distinct outcomes, and repeats on the log; both must say the same."""
    expected = expected_outcomes(acknowledged)
    kept: dict[str, Outcome] = {}
    wait_until(lambda: {one.outcome_id for one in _outcomes(site)} >= set(expected), "every outcome")
    outcomes = _outcomes(site)
    for outcome in outcomes:
        assert kept.setdefault(outcome.outcome_id, outcome) == outcome, "a repeat must say the same"
    assert kept == expected
    trending = expected_trending(acknowledged, N_PARTITIONS)
    wait_until(lambda: _trending(site) == trending, "trending counts of all events, once each")
    return len(kept), len(outcomes) - len(kept)


def _event_ids(site: Site) -> list[str]:
    """Of every record of `events` that can be read, and is not from far ahead."""
    ids = []
    for record in site.read(EVENTS):
        with suppress(BadEvent):
            ids.append(admit(record, DEFAULT_KINDS).event_id)
    return ids


def _outcomes(site: Site) -> list[Outcome]:
    outcomes = []
    for record in site.read(OUTCOMES):
        with suppress(BadEvent):
            outcomes.append(decode_outcome(record.value))
    return outcomes


def _trending(site: Site) -> dict[int, dict[str, int]]:
    """By partition, what was said of it last."""
    said = {}
    for record in site.read(COUNTS):
        with suppress(BadEvent):
            counts = decode_partition_counts(record.value)
            said[counts.partition] = dict(counts.trending)
    return said
