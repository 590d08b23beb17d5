"""Model swaps under constant requests: no answer may fail, and none may mix two versions.

Command   python -m benchmarks.swaps --json FILE [--dir FOLDER] [--swaps N]
Data      the synthetic shop; the users whose feeds are asked for stay as they are, others send events
Hardware  2 CPU cores
Minutes   4
Expected  at least 5 swaps; 0 failed, 0 that the version they name does not give; at 50 feeds/s and 50 events/s

Two published versions are promoted in turn through the API, while cycles go on and publish further ones. Afterwards
every version is loaded here, apart from the service, and every feed is made again from the user's history: items and
scores must be those of the version that the feed names. How many feeds another version gives as well is counted too:
it says how sharp the check is.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks.live import CycleWatch, LiveService, wait_for
from benchmarks.load import Connection, Load, Rates
from benchmarks.machine import keep, machine, milliseconds
from consumers.catalog.catalog import CatalogItem
from consumers.learning.segments import load_items
from freshet.client import Client
from freshet.paths import Paths
from models.content.encode import encode_items
from models.content.features import FeatureStore
from models.loading import load_ranker
from models.ranker import FeedRequest, Ranker
from models.registry.bundle import Bundle
from models.registry.registry import Registry
from models.towers.pair import load_towers
from stream.events import Interaction
from stream.images import ImageStore

SETTINGS = {
    "GATE_MARGIN": "0.99",  # what a cycle makes is published, so that there is something to swap
    "BLEND": "false",  # a feed can be made again from its version alone
}
RATES = Rates(events=50.0, fresh_feeds=5.0)
N_READERS = 4
FEEDS_PER_S = 50.0
N_USERS = 100
MAX_HISTORY = 50  # a user with fewer events has seen nothing but the history shows
BETWEEN_S = 4.0
SWAP_TIMEOUT_S = 30.0
POLL_S = 0.1
K = 20
TOLERANCE = 1e-3  # of scores of about 1 to 30: a batch of another size sums in another order


class Answer(NamedTuple):
    """A feed as a client got it."""

    user_id: str
    version: str
    items: tuple[tuple[str, float, bool], ...]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure swaps under constant requests.")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--dir", type=Path, help="folder to keep the service in; a temporary one by default")
    parser.add_argument("--swaps", type=int, default=12, help="promotions by hand (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder, LiveService(Path(folder), SETTINGS) as service:
        keep(measure(service, arguments.swaps), arguments.json)


def measure(service: LiveService, n_swaps: int) -> dict[str, Any]:
    with Client(service.url) as client, tempfile.TemporaryDirectory() as copies:
        histories = steady_users(client)
        versions = Versions(Paths(service.folder), Path(copies))
        with Load(service.url, events_of_others(service, histories), list(histories), RATES) as load:
            wait_for(lambda: len(client.get("/v1/models")["models"]) > 1, "second version")
            before = machine()
            with CycleWatch(service) as cycles, Readers(service.url, list(histories)) as readers:
                since = time.perf_counter()
                promote_in_turn(service.url, n_swaps, versions)
        return {
            "command": "python -m benchmarks.swaps",
            "machine": before,
            "asked": {"swaps": 5, "n_failed": 0, "n_mixed": 0},
            "feeds_per_s": FEEDS_PER_S,
            "figures": judged(readers, versions, histories),
            "training": cycles.report,
            "beside_ms": load.samples.report(since),
        }


class History(NamedTuple):
    """A user's events, oldest first."""

    items: list[str]
    times_ms: list[int]


def steady_users(client: Client) -> dict[str, History]:
    """Users of whom the history shows all they have seen."""
    histories: dict[str, History] = {}
    for user_id in client.get("/v1/users?limit=500")["users"]:
        events = client.get(f"/v1/users/{user_id}/history?limit={MAX_HISTORY}")["items"][::-1]
        if len(events) < MAX_HISTORY:
            histories[user_id] = History([one["item_id"] for one in events], [one["ts_ms"] for one in events])
        if len(histories) == N_USERS:
            break
    return histories


def events_of_others(service: LiveService, steady: Mapping[str, object]) -> Iterator[Interaction]:
    return (event for event in service.live_events() if event.user_id not in steady)


def promote_in_turn(url: str, n_swaps: int, versions: Versions) -> None:
    """Promote the newest version that does not answer now, wait until it does, and again."""
    connection = Connection(url)
    for _ in range(n_swaps):
        versions.copy()
        now = connection.ask("GET", "/v1/models").answer
        other = next(model["version"] for model in now["models"] if model["version"] != now["serving"])
        connection.ask("POST", f"/v1/models/{other}/promote", {"reason": "benchmark"})
        deadline = time.monotonic() + SWAP_TIMEOUT_S
        while connection.ask("GET", "/v1/models").answer["serving"] == now["serving"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{other} does not answer {SWAP_TIMEOUT_S} s after its promotion")
            time.sleep(POLL_S)
        time.sleep(BETWEEN_S)
    versions.copy()


class Readers:
    """Clients that ask for feeds all the time and keep every answer.

    Args:
        url: Of the service.
        users: Asked for in turn.
    """

    def __init__(self, url: str, users: Sequence[str]) -> None:
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self._url = url
        self._users = users
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(N_READERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, first: int) -> None:
        connection = Connection(self._url)
        due = time.perf_counter()
        for user_id in cycle([*self._users[first:], *self._users[:first]]):
            due += N_READERS / FEEDS_PER_S
            if self._stopping.wait(max(0.0, due - time.perf_counter())):
                return
            try:
                self._ask(connection, user_id)
            except (OSError, HTTPException, ValueError, KeyError) as exc:
                self.failures.append(f"{user_id}: {type(exc).__name__}: {exc}")

    def _ask(self, connection: Connection, user_id: str) -> None:
        started = time.perf_counter()
        reply = connection.ask("GET", f"/v1/feeds/{user_id}?k={K}")
        feed = reply.answer
        if reply.status != 200 or feed["degraded"] or feed["stale"] or feed["model_version"] is None:
            self.failures.append(f"{user_id}: {reply.status}: {feed}")
            return
        items = tuple((item["item_id"], item["score"], item["is_new"]) for item in feed["items"])
        self.answers.append(Answer(user_id, feed["model_version"], items, reply.ended - started))


class Versions:
    """Published versions, copied before they are pruned, and rankers of them that are not the service's.

    Args:
        paths: Of the service.
        copies: A folder for the copies.
    """

    def __init__(self, paths: Paths, copies: Path) -> None:
        self._paths = paths
        self._copies = copies
        self._registry = Registry(paths.folders.registry)

    def copy(self) -> None:
        """Copy what is new."""
        for version in self._registry.versions():
            if not (self._copies / version).exists():
                shutil.copytree(self._registry.path(version), self._copies / version)

    def ranker(self, version: str) -> Ranker:
        """The version with the whole catalogue, made from the disk alone."""
        bundle = Bundle.open(self._copies / version)
        folders = self._paths.folders
        items = load_items(folders.buffer).values()
        content = encode_items(
            [CatalogItem.of(item).content for item in items],
            load_towers(bundle.towers),
            store=FeatureStore(folders.features),
            read_image=ImageStore(folders.images).get,
        )
        return load_ranker(bundle, content)


def judged(readers: Readers, versions: Versions, histories: Mapping[str, History]) -> dict[str, Any]:
    """Make every feed again with the version it names, and with every other."""
    by_version = Counter(answer.version for answer in readers.answers)
    scores = {version: Scores(versions.ranker(version), histories) for version in by_version}
    mixed = [answer for answer in readers.answers if not scores[answer.version].give(answer)]
    ambiguous = sum(
        any(other.give(answer) for version, other in scores.items() if version != answer.version)
        for answer in readers.answers
    )
    return {
        "n_feeds": len(readers.answers),
        "n_failed": len(readers.failures),
        "n_mixed": len(mixed),
        "n_that_another_version_gives_too": ambiguous,
        "by_version": dict(by_version),
        "feed_ms": milliseconds([answer.seconds for answer in readers.answers]),
        "failures": readers.failures[:5],
        "mixed": mixed[:5],
    }


class Scores:
    """What one version gives each user."""

    def __init__(self, ranker: Ranker, histories: Mapping[str, History]) -> None:
        self._by_user = {
            user_id: {
                item.item_id: item.score
                for item in ranker.recommend([FeedRequest(*one, exclude=set(one.items), k=ranker.n_items)])[0]
            }
            for user_id, one in histories.items()
        }

    def give(self, answer: Answer) -> bool:
        """Whether these are the version's best items, with its scores; a newcomer has its place without being one."""
        scores = self._by_user[answer.user_id]
        least = sorted(scores.values(), reverse=True)[:K][-1]
        return len(answer.items) == min(K, len(scores)) and all(
            abs(scores.get(item_id, math.inf) - score) <= TOLERANCE and (is_new or score >= least - TOLERANCE)
            for item_id, score, is_new in answer.items
        )


if __name__ == "__main__":
    main()
