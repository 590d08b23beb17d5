"""Watches the service from outside while the demo runs: constant requests, and how long an event takes to count."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from urllib.parse import quote

import httpx

from freshet.client import Answer, Client, key_headers
from stream.events import Interaction

REQUESTS_PER_S = 20.0
TIMEOUT_S = 5.0
JOIN_S = 10.0


class FeedProbe:
    """Asks for feeds at a steady rate and judges every answer.

    An answer fails when it is no 200, or carries items without saying who made them.

    Args:
        url: Of the service.
        users: Asked for in turn.

    Attributes:
        by_version: Good answers by who made them; "none" is before the first model.
    """

    def __init__(self, url: str, users: Sequence[str]) -> None:
        self._url = url
        self._users = itertools.cycle(users)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed-probe", daemon=True)
        self.n_failed = 0
        self.failures: list[str] = []
        self.by_version: Counter[str] = Counter()
        self.latencies_s: list[float] = []

    @property
    def n_requests(self) -> int:
        """Answers so far, failed ones too."""
        return self.by_version.total() + self.n_failed

    def start(self) -> None:
        """Begin asking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stopping.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_S, headers=key_headers()) as http:
            while not self._stopping.wait(1 / REQUESTS_PER_S):
                self._ask(http, next(self._users))

    def _ask(self, http: httpx.Client, user_id: str) -> None:
        started = time.perf_counter()
        try:
            response = http.get(f"/v1/feeds/{quote(user_id, safe='')}")
            response.raise_for_status()
            answer = response.json()
        except (httpx.HTTPError, ValueError) as exc:
            self._fail(f"{user_id}: {exc}")
            return
        self.latencies_s.append(time.perf_counter() - started)
        if answer["model_version"] is None and answer["degraded"] is None:
            self._fail(f"{user_id}: an answer without a model does not say that it is degraded")
            return
        self.by_version[answer["model_version"] or "none"] += 1

    def _fail(self, why: str) -> None:
        self.n_failed += 1
        self.failures.append(why)
        del self.failures[:-20]


class FreshnessProbe:
    """Sends an event, asks at once for the feed that reflects it, and takes the time of both together.

    Args:
        client: Talks to the service.
        user_id: A user of its own.

    Attributes:
        n_stale: Feeds that said they do not reflect the event; they are not timed.
    """

    def __init__(self, client: Client, user_id: str) -> None:
        self._client = client
        self._user_id = user_id
        self._last: Answer | None = None
        self.n_stale = 0
        self.accepted_to_feed_s: list[float] = []

    def measure_next(self) -> None:
        """Click the first item of the last feed. The event names the feed it followed, so it is not organic."""
        if self._last is None or not self._last["items"]:
            self._last = self._client.feed(self._user_id)
        if self._last["items"]:
            self._measure(self._last["items"][0]["item_id"], self._last["feed_id"])

    def _measure(self, item_id: str, feed_id: str) -> None:
        event = Interaction(
            event_id=f"{self._user_id}-{time.time_ns()}",
            user_id=self._user_id,
            item_id=item_id,
            ts_ms=time.time_ns() // 1_000_000,
            feed_id=feed_id,
        )
        position = self._client.send([event])
        accepted = time.perf_counter()
        answer = self._client.feed(self._user_id, after=position)
        seconds = time.perf_counter() - accepted
        if answer["stale"]:
            self.n_stale += 1
        else:
            self.accepted_to_feed_s.append(seconds)
        self._last = answer
