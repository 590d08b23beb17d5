"""Load on a site, and the ledger of it: what was sent, what was acknowledged, and what must have come of it.

A sender sends one stream in order, events over HTTP and what was shown straight to the log, each again until it is
acknowledged; now and then it sends again what was acknowledged already. Visitors ask for feeds all the time.

The stream is two hours old, so that it can be ended, but what feeds show to visitors is new: in one partition with it,
it would make the stream late. Where workers join, visitors have a partition of their own.
"""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any

import httpx
import msgspec

from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS
from stream.log import LogError, Message
from stream.partition import partition_of
from stream.topics import EVENTS, EXPOSURES
from tests.faults.process import ServiceProcess, wait_until
from tests.kafka.faults.site import Site
from tests.kafka.worker_process import N_PARTITIONS
from tests.kafka.worker_traffic import Said, ending, traffic

AGO_MS = 7_200_000
VISITED = N_PARTITIONS - 1
N_USERS = 300
N_RECORDS = 24_000  # more than any test sends
BATCH = 15
PAUSE_S = 0.1  # between batches: the machine needs time for the rest
REPEAT_SHARE = 0.05  # of batches sent again on purpose
AGAIN_S = 0.1
REQUEST_S = 15.0
VISIT_S = 0.1
PUBLISH_S = 10.0
STOP_S = 90.0
ACCEPTED, OK, UNAVAILABLE = httpx.codes.ACCEPTED, httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE


class GivenUp(Exception):
    """The test failed, or an answer came that sending again does not change."""


@dataclass
class Visits:
    """What visitors saw."""

    n_answered: int = 0
    n_stale: int = 0
    failed: list[str] = field(default_factory=list)
    longest_s: float = 0.0


class Load:
    """Sender and visitors of a site.

    Args:
        site: Whose living replicas are sent to.
        seed: Of the stream, and of what is sent again.
    """

    def __init__(self, site: Site, *, seed: int = 0) -> None:
        start_ms = time.time_ns() // 1_000_000 - AGO_MS
        all_said = traffic(N_RECORDS, start_ms=start_ms, n_users=N_USERS, seed=seed)
        users = [f"user-{number}" for number in range(N_USERS)]
        apart = {user for user in users if site.workers and _partition(user) == VISITED}
        self._visitors = sorted(apart) or users
        self._stream = [said for said in all_said if _leaves_a_trace(said) and said.user_id not in apart]
        self.acknowledged: list[Said] = []
        self.n_events_sent = 0  # again and again counted
        self.n_refused = 0  # requests and publishes that were not acknowledged
        self.unexpected: list[str] = []
        self.visits = Visits()
        self.recovered_s: list[float] = []
        self.started_at = time.monotonic()
        self._site = site
        self._rng = random.Random(seed)
        self._turn = count()
        self._log = site.log()
        self._http = httpx.Client(timeout=REQUEST_S)
        self._stopping = threading.Event()
        self._is_given_up = False
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._send_all, self._visit)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is under way is sent until it is acknowledged; then the stream is ended, so that all windows close."""
        self._stopping.set()
        self._is_given_up = exc is not None
        with closing(self._http), closing(self._log):
            for thread in self._threads:
                thread.join(STOP_S)
                assert not thread.is_alive() or exc is not None, "what was sent is not acknowledged"
            if exc is None and not self.unexpected:
                self._send(ending(self.acknowledged, N_PARTITIONS))

    def wait_for_progress(self, n_records: int = 100) -> None:
        """Until so many more records are acknowledged."""
        wanted = len(self.acknowledged) + n_records
        wait_until(lambda: len(self.acknowledged) >= wanted or self.unexpected, f"{n_records} more acknowledgements")
        assert self.unexpected == []

    def wait_until_served(self, since_s: float) -> None:
        """Until each partition takes an event and shows it; notes the seconds from `since_s`."""
        for user_id in _user_by_partition():
            event = self._probe(user_id)
            wait_until(lambda event=event: self._post([event]), f"an event of {user_id} is acknowledged")
            self.acknowledged.append(_said(event))
            wait_until(lambda event=event: self._is_shown(event), f"the event of {user_id} is shown")
        self.recovered_s.append(time.monotonic() - since_s)

    def _probe(self, user_id: str) -> Interaction:
        now_ms = max(said.what.ts_ms for said in self.acknowledged[-BATCH:])
        event_id = f"{user_id}-{next(self._turn)}"
        return Interaction(event_id=event_id, user_id=user_id, item_id=f"item-{event_id}", ts_ms=now_ms)

    def _is_shown(self, event: Interaction) -> bool:
        answer = self._request("GET", f"/v1/users/{event.user_id}/history")
        if answer is None or answer.status_code != OK:
            return False
        return any((item["item_id"], item["ts_ms"]) == (event.item_id, event.ts_ms) for item in answer.json()["items"])

    # The sender -------------------------------------------------------------------------------------------------

    def _send_all(self) -> None:
        with suppress(GivenUp):
            self._send_stream()

    def _send_stream(self) -> None:
        for start in range(0, len(self._stream), BATCH):
            self._send(self._stream[start : start + BATCH])
            if self._rng.random() < REPEAT_SHARE:
                self._send_again(self.acknowledged[-self._rng.randrange(BATCH, 50 * BATCH) :][:BATCH])
            if self._stopping.wait(PAUSE_S):
                return
        self.unexpected.append(f"the stream of {len(self._stream)} records came to its end")

    def _send(self, batch: Sequence[Said]) -> None:
        """What is shown goes first, as in life."""
        self._send_again(batch)
        self.acknowledged += batch

    def _send_again(self, batch: Sequence[Said]) -> None:
        shown = [said for said in batch if said.topic == EXPOSURES]
        events = [said.what for said in batch if isinstance(said.what, Interaction)]
        while shown and not self._publish(shown):
            self._try_again()
        while events and self._post(events) is None:
            self._try_again()

    def _try_again(self) -> None:
        """After a moment, unless there is no use in it."""
        if self._is_given_up or self.unexpected:
            raise GivenUp(f"not acknowledged; {self.unexpected[:1]}")
        self.n_refused += 1
        time.sleep(AGAIN_S)

    def _publish(self, shown: Sequence[Said]) -> bool:
        messages = [Message(said.user_id.encode(), said.value) for said in shown]
        try:
            self._log.publish(EXPOSURES, messages).result(PUBLISH_S)
        except (LogError, FutureTimeoutError):
            return False
        return True

    def _post(self, events: Sequence[Interaction]) -> httpx.Response | None:
        """The answer, if it was an acknowledgement."""
        self.n_events_sent += len(events)
        answer = self._request("POST", "/v1/events", json={"events": [_body(event) for event in events]})
        if answer is None or answer.status_code == ACCEPTED:
            return answer
        if answer.status_code != UNAVAILABLE:
            self.unexpected.append(answer.text)
        return None

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response | None:
        """Of the living replicas in turn."""
        replica = self._next()
        try:
            return self._http.request(method, f"{replica.url}{path}", **arguments) if replica else None
        except httpx.TransportError:
            return None

    def _next(self) -> ServiceProcess | None:
        alive = list(self._site.alive)
        return alive[next(self._turn) % len(alive)] if alive else None

    # Visitors ---------------------------------------------------------------------------------------------------

    def _visit(self) -> None:
        rng = random.Random(1)
        with httpx.Client(timeout=REQUEST_S) as http:
            while not self._stopping.wait(VISIT_S):
                replica = self._next()
                if replica is not None:
                    self._visit_one(http, replica, rng.choice(self._visitors))

    def _visit_one(self, http: httpx.Client, replica: ServiceProcess, user_id: str) -> None:
        """A replica that was alive before and after must have answered."""
        url, visits, began_s = replica.url, self.visits, time.monotonic()
        try:
            answer = http.get(f"{url}/v1/feeds/{user_id}")
            problem = "" if answer.status_code == OK else answer.text
        except httpx.TransportError as exc:
            problem = repr(exc)
        if problem:
            if replica in self._site.alive and replica.url == url:
                visits.failed.append(problem)
            return
        visits.longest_s = max(visits.longest_s, time.monotonic() - began_s)
        visits.n_answered += 1
        visits.n_stale += answer.json()["stale"]


def _user_by_partition() -> list[str]:
    found: dict[int, str] = {}
    for number in range(1_000):
        found.setdefault(_partition(f"probe-{number}"), f"probe-{number}")
    return list(found.values())


def _partition(user_id: str) -> int:
    return partition_of(user_id.encode(), N_PARTITIONS)


def _leaves_a_trace(said: Said) -> bool:
    """Not what leaves no trace in a history."""
    return not isinstance(said.what, Interaction) or DEFAULT_KINDS.get(said.what.kind).enters_sequence


def _body(event: Interaction) -> dict[str, Any]:
    """As clients send it, who know no types."""
    return {name: getattr(event, name) for name in event.__struct_fields__}


def _said(event: Interaction) -> Said:
    return Said(EVENTS, event.user_id, msgspec.json.encode(event), event)
