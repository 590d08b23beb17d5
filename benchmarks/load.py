"""Clients of a running service: events one by one, over HTTP or straight to the log, feeds beside them, all timed.

Every client has a connection and a Poisson schedule of its own, fixed before it starts; one that is late sends at
once. How late it was is kept as `late`; no other figure counts it.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlsplit

from benchmarks.machine import milliseconds
from serving.tokens import PositionToken
from stream.events import Interaction, encode
from stream.kafka.log import KafkaLog
from stream.log import LogError, Message
from stream.topics import EVENTS

TIMEOUT_S = 10.0
JOIN_S = 30.0
SWITCH_S = 0.0005  # between these threads, so that none waits 5 ms to note that its answer is there


class Reply(NamedTuple):
    """An answer, and when it was complete."""

    status: int
    answer: Any
    ended: float


class Accepted(NamedTuple):
    """An event is durable: the position to ask a feed with, and when."""

    position: str
    at: float


class Connection:
    """One kept-alive HTTP connection. For one thread."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)

    def ask(self, method: str, path: str, body: Any = None) -> Reply:  # noqa: ANN401 - any JSON
        """Send JSON, read JSON.

        Raises:
            OSError, http.client.HTTPException: the connection failed; the next request opens another.
        """
        data = None if body is None else json.dumps(body).encode()
        return self.send(method, path, data, "application/json")

    def send(self, method: str, path: str, data: bytes | None, content_type: str) -> Reply:
        """Send bytes, read JSON."""
        try:
            self._http.request(method, path, data, {"Content-Type": content_type} if data else {})
            response = self._http.getresponse()
            raw = response.read()
        except BaseException:
            self._http.close()
            raise
        return Reply(response.status, json.loads(raw), time.perf_counter())


class Sample(NamedTuple):
    """One timed thing."""

    name: str
    at: float
    seconds: float


@dataclass
class Samples:
    """What the clients measured; lists only grow, so threads share it."""

    taken: list[Sample] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)

    def note(self, name: str, started: float, ended: float) -> None:
        """Keep one."""
        self.taken.append(Sample(name, started, ended - started))

    def fail(self, why: str) -> None:
        """Count a failure."""
        self.failures.append((time.perf_counter(), why))

    def report(self, since: float) -> dict[str, Any]:
        """Percentiles by name of what began after `since`, and failures."""
        seconds: dict[str, list[float]] = {}
        for sample in list(self.taken):
            if sample.at >= since:
                seconds.setdefault(sample.name, []).append(sample.seconds)
        failures = [why for at, why in self.failures if at >= since]
        return {
            **{name: milliseconds(taken) for name, taken in sorted(seconds.items())},
            "n_failed": len(failures),
            "failures": failures[:5],
        }


@dataclass(frozen=True)
class Rates:
    """How much is asked of the service.

    Attributes:
        events: a second, each a request.
        fresh_feeds: a second, each for the user of an event just accepted, with its position as `after`.
        feeds: a second beside them, without `after`.
        n_senders: connections for events and the feeds after them.
        n_readers: connections for the other feeds.
    """

    events: float = 200.0
    fresh_feeds: float = 20.0
    feeds: float = 5.0
    n_senders: int = 8
    n_readers: int = 2


class Load:
    """Clients that run until the end of the `with`.

    Args:
        url: Of the service.
        events: What is sent, in this order over all connections.
        users: Whose feeds are asked for, apart from those of events.
        rates: How much.
        log: Events are published here, as producers beside the service would; to the service when None.
    """

    def __init__(
        self,
        url: str,
        events: Iterator[Interaction],
        users: Sequence[str],
        rates: Rates | None = None,
        log: KafkaLog | None = None,
    ) -> None:
        self.samples = Samples()
        self._url, self._log = url, log
        self._rates = rates = rates or Rates()
        self._events = events
        self._taking = threading.Lock()
        self._users = itertools.cycle(users)
        self._stopping = threading.Event()
        sender, reader = rates.events / rates.n_senders, rates.feeds / max(rates.n_readers, 1)
        self._threads = [self._thread(self._sender(n), n, sender) for n in range(rates.n_senders)]
        self._threads += [self._thread(self._read, 100 + n, reader) for n in range(rates.n_readers)]

    def __enter__(self) -> Self:
        sys.setswitchinterval(SWITCH_S)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(JOIN_S)

    def _thread(self, step: Callable[[Connection], None], seed: int, rate: float) -> threading.Thread:
        return threading.Thread(target=self._run, args=(step, seed, rate), name=f"client-{seed}", daemon=True)

    def _run(self, step: Callable[[Connection], None], seed: int, rate: float) -> None:
        rng = random.Random(seed)
        connection = Connection(self._url)
        due = time.perf_counter()
        while not self._stopping.wait(max(0.0, due - time.perf_counter())):
            self.samples.note("late", due, time.perf_counter())
            due += rng.expovariate(rate)
            try:
                step(connection)
            except (OSError, http.client.HTTPException, LogError, ValueError) as exc:
                self.samples.fail(f"{type(exc).__name__}: {exc}")

    def _sender(self, seed: int) -> Callable[[Connection], None]:
        rng = random.Random(f"feeds/{seed}")
        share = self._rates.fresh_feeds / self._rates.events

        def step(connection: Connection) -> None:
            with self._taking:
                event = next(self._events)
            started = time.perf_counter()
            accepted = self._publish(event) if self._log is not None else _post(connection, event)
            self.samples.note("acknowledged", started, accepted.at)
            if rng.random() < share:
                self._read_own(connection, event, accepted=accepted, sent=started)

        return step

    def _publish(self, event: Interaction) -> Accepted:
        assert self._log is not None
        durable = self._log.publish(EVENTS, [Message(event.user_id.encode(), encode(event))])
        token = PositionToken.after(self._log.log_id, EVENTS, durable.result(TIMEOUT_S))
        return Accepted(token.encode(), time.perf_counter())

    def _read_own(self, connection: Connection, event: Interaction, *, accepted: Accepted, sent: float) -> None:
        """The feed that must reflect the event; one clock runs from its sending, one from its acceptance."""
        path = f"/v1/feeds/{quote(event.user_id)}?after={accepted.position}"
        reply = connection.ask("GET", path)
        self.samples.note("sent_to_feed", sent, reply.ended)
        self.samples.note("accepted_to_feed", accepted.at, reply.ended)
        problem = _why_not_fresh(reply, event)
        if problem:
            self.samples.fail(problem)

    def _read(self, connection: Connection) -> None:
        started = time.perf_counter()
        reply = connection.ask("GET", f"/v1/feeds/{quote(next(self._users))}")
        self.samples.note("feed", started, reply.ended)
        if reply.status != 200 or reply.answer["degraded"]:
            self.samples.fail(f"feed answered {reply.status}: {reply.answer}")


def _post(connection: Connection, event: Interaction) -> Accepted:
    reply = connection.ask("POST", "/v1/events", _body(event))
    if reply.status != 202:
        raise ValueError(f"event answered {reply.status}: {reply.answer}")
    return Accepted(reply.answer["position"], reply.ended)


def _body(event: Interaction) -> dict[str, Any]:
    return {"event_id": event.event_id, "user_id": event.user_id, "item_id": event.item_id, "ts_ms": event.ts_ms}


def _why_not_fresh(reply: Reply, event: Interaction) -> str | None:
    if reply.status != 200:
        return f"feed answered {reply.status}: {reply.answer}"
    feed = reply.answer
    if feed["stale"] or feed["degraded"]:
        return f"feed of {event.user_id}: stale={feed['stale']}, degraded={feed['degraded']}"
    if feed["newest_event_ms"] < event.ts_ms:
        return f"feed of {event.user_id} stands at {feed['newest_event_ms']}, the event was at {event.ts_ms}"
    if event.item_id in [item["item_id"] for item in feed["items"]]:
        return f"feed of {event.user_id} still shows {event.item_id}"
    return None
