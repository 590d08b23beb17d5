"""How long a replica with 1,000,000 users takes from the start of its process until it answers and has caught up.

Command   python -m benchmarks.restart --json FILE [--dir FOLDER] [--log embedded] [--users N]
Data      made here: 1,000,000 users with 50 events over 25 days in a snapshot, then 500,000 events (1 %)
Hardware  2 CPU cores, 3 GB of memory, 3 GB in FOLDER, on the disk to be measured; Java 17 and Maven but for embedded
Minutes   2
Expected  at most 20 s from the start of the process until it is ready and the last event is in its user's sequence

The topic really holds the events after the snapshot, and some before it, at which the snapshot's offsets point. The
50,000,000 events that the snapshot was made of are not on it, as if retention had taken them: a restart reads none of
them. `freshet serve` is a process of its own; it is ready when /readyz says so, and has caught up when it has applied
every event, which its metrics tell. Both embedded and through a broker nothing is trained.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.brokers import opened_log, started_broker
from benchmarks.live import announced, start_service, stop_service
from benchmarks.log import publish_all, timer
from benchmarks.machine import keep, machine
from benchmarks.store import LENGTH, N_ITEMS, START_MS, append
from consumers.sequences.role import Snapshots
from consumers.sequences.user_sequences import UserSequences
from freshet.paths import Paths
from stream.embedded.log import EmbeddedLog
from stream.events import Interaction, encode
from stream.log import Log, Message
from stream.partition import partition_of
from stream.topics import EVENTS, topics

N_USERS = 1_000_000
SHARE_AFTER = 0.01  # of the events in the snapshot
N_BEFORE = 10_000
BATCH = 1_000
ROWS = 50_000
TIMEOUT_S = 180.0
POLL_S = 0.1
APART_MS = 12 * 3_600_000  # between a user's events, which so are of the last 25 days
ASKED_S = 20.0
PREFIX = "restart-"
N_CHECKED = 20
NEVER = {"FIRST_EVENTS": "1000000000", "LOG_LEVEL": "warning", "TEXT_TOWER": "tfidf"}


@dataclass(frozen=True)
class Place:
    """Where a service keeps its data, and what it is told."""

    folder: Path
    settings: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a restart.")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure; a temporary one by default")
    parser.add_argument("--log", choices=("embedded", "kafka"), default="kafka", help="default: %(default)s")
    parser.add_argument("--users", type=int, default=N_USERS, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as name, ExitStack() as stack:
        place = Place(Path(name), NEVER)
        if arguments.log == "kafka":
            server = stack.enter_context(started_broker(arguments.dir))
            kafka = {"LOG": f"kafka://{server}/{PREFIX}", "ROLES": '["feeds"]'}
            place = Place(Path(name), NEVER | kafka)
            with opened_log(server, prefix=PREFIX) as log:
                after = prepare(log, place, arguments.users)
        else:
            with closing(EmbeddedLog(Paths(place.folder).log, topics())) as embedded:
                after = prepare(embedded, place, arguments.users)
        before = machine()
        figures = restart(place, after)
    result = {"command": "python -m benchmarks.restart", "log": arguments.log, "machine": before, "asked_s": ASKED_S}
    keep(result | {"n_users": arguments.users, "n_events_after": len(after), **figures}, arguments.json)


def prepare(log: Log, place: Place, n_users: int) -> list[Interaction]:
    """Snapshots of all users, and events on the log before and after their offsets.

    Returns:
        The events after.
    """
    rng = np.random.default_rng(0)
    before = events_of("before", rng.integers(0, n_users, N_BEFORE), START_MS)
    publish(log, before)
    write_snapshots(log, place, n_users)
    n_after = int(n_users * LENGTH * SHARE_AFTER)
    after = events_of("after", rng.integers(0, n_users, n_after), START_MS + APART_MS * LENGTH)
    publish(log, after)
    return after


def write_snapshots(log: Log, place: Place, n_users: int) -> None:
    """One partition after the other, at the offset where its topic ends now."""
    rng = np.random.default_rng(1)
    folder = Paths(place.folder).snapshots
    snapshots = Snapshots(folder, log.log_id)
    ends = log.ends(EVENTS)
    sequences = UserSequences(len(ends))
    for partition, end in ends.items():
        state = sequences.empty_state()
        state.store.numbers_of([item_id(number) for number in range(N_ITEMS)])
        for users in blocks(partition, len(ends), n_users):
            rows = state.store.rows_of(users)
            for position in range(LENGTH):
                append(state.store, rows, START_MS + APART_MS * position, rng)
        state.next_offset = end
        snapshots.save(partition, state)


def blocks(partition: int, n_partitions: int, n_users: int) -> Iterator[list[str]]:
    """The users of a partition, some at a time."""
    users = [user_id(number) for number in range(n_users)]
    own = [user for user in users if partition_of(user.encode(), n_partitions) == partition]
    for start in range(0, len(own), ROWS):
        yield own[start : start + ROWS]


def restart(place: Place, after: Sequence[Interaction]) -> dict[str, Any]:
    """Start the service; seconds until it answers, is ready, and has applied every event.

    Raises:
        TimeoutError: it is not ready in time.
        AssertionError: a user's newest event is not there.
    """
    with timer() as seconds:
        process = start_service(place.folder, place.settings)
        try:
            started = time.perf_counter()
            url = announced(process)
            answers_s = time.perf_counter() - started
            ready_s = until(started, lambda: httpx.get(f"{url}/readyz").status_code == 200)
            caught_up_s = until(started, lambda: n_applied(url) >= len(after))
            check(url, after)
            n_users = httpx.get(f"{url}/v1/users").json()["n_users"]
        finally:
            stop_service(process)
    return {
        "answers_s": round(answers_s, 2),
        "ready_s": round(ready_s, 2),
        "ready_and_caught_up_s": round(max(ready_s, caught_up_s), 2),
        "n_users_after": n_users,
        "with_stop_s": round(seconds(), 2),
    }


def until(started: float, is_true: Any) -> float:  # noqa: ANN401 - any call
    """Seconds from `started` until it is true."""
    while not is_true():
        if time.perf_counter() - started > TIMEOUT_S:
            raise TimeoutError(f"the service was not ready and caught up within {TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)
    return time.perf_counter() - started


def n_applied(url: str) -> int:
    """Events that the sequences role has handled, whatever came of them."""
    lines = httpx.get(f"{url}/metrics", timeout=TIMEOUT_S).text.splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("freshet_events_applied_total{")))


def check(url: str, after: Sequence[Interaction]) -> None:
    """The last events are the newest of their users."""
    newest = {event.user_id: event for event in after}
    for event in list(newest.values())[-N_CHECKED:]:
        history = httpx.get(f"{url}/v1/users/{event.user_id}/history", timeout=TIMEOUT_S).json()["items"]
        if len(history) != LENGTH or history[0]["item_id"] != event.item_id:
            raise AssertionError(f"{event} is not the newest of {len(history)} in {history[:2]}")


def events_of(name: str, users: Any, start_ms: int) -> list[Interaction]:  # noqa: ANN401 - an array of integers
    """One event a millisecond."""
    return [
        Interaction(
            event_id=f"{name}-{n:032d}", user_id=user_id(user), item_id=item_id(n * 7 % N_ITEMS), ts_ms=start_ms + n
        )
        for n, user in enumerate(users.tolist())
    ]


def publish(log: Log, events: Sequence[Interaction]) -> None:
    messages = [Message(event.user_id.encode(), encode(event)) for event in events]
    publish_all(log, [messages[start : start + BATCH] for start in range(0, len(messages), BATCH)])


def user_id(number: int) -> str:
    return f"user-{number:07d}"


def item_id(number: int) -> str:
    return f"item-{number:07d}"


if __name__ == "__main__":
    main()
