"""What is sent to the service under test: a small catalogue, and events that are the same in every run."""

import io
import json
import random
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import httpx
from PIL import Image

from consumers.sequences.store import SequenceStore, apply_one
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS
from tests.faults.process import REQUEST_S, ServiceProcess, wait_until

START_MS = 1_700_000_000_000
N_ITEMS = 60
N_USERS = 40
KINDS = ("click", "click", "like", "view", "dislike")
LENGTH = 50  # of a sequence
BATCH = 8
PAUSE_S = 0.03  # between batches, so that the machine has time for the rest
NEW_ITEM_EVERY = 20  # batches

Event = dict[str, Any]
Histories = dict[str, list[dict[str, Any]]]  # by user, newest first


def picture(colour: int) -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (colour % 256, 90, 160)).save(file, format="PNG")
    return file.getvalue()


def event(number: int, **changes: Any) -> Event:
    """Event `number` of the stream; some come late, and neighbours may have the same time."""
    rng = random.Random(number)
    late_ms = rng.choice((0, 0, 0, 90_000))
    made = {
        "event_id": f"event-{number}",
        "user_id": f"user-{rng.randrange(N_USERS)}",
        "item_id": f"item-{rng.randrange(N_ITEMS)}",
        "ts_ms": START_MS + 500 * (number // 2) - late_ms,
        "kind": rng.choice(KINDS),
    }
    return made | changes


def interaction(sent: Event) -> Interaction:
    """The event as the log carries it."""
    return Interaction(**sent)


def put_catalogue(service: ServiceProcess) -> None:
    """Send all items that events name, durably."""
    lines = [
        {"item_id": f"item-{number}", "title": f"Item {number}", "text": f"colour {number % 7}, shape {number % 5}"}
        for number in range(N_ITEMS)
    ]
    body = "\n".join(json.dumps(line | {"ts_ms": START_MS}) for line in lines)
    answer = service.request("POST", "/v1/items", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text


def expected_history(events: Sequence[Event]) -> Histories:
    """By user, what the history must show: the acknowledged events applied one after the other."""
    store = SequenceStore(length=LENGTH)
    for sent in events:
        apply_one(store, interaction(sent), DEFAULT_KINDS)
    return {
        user: [
            {"item_id": entry.item_id, "ts_ms": entry.ts_ms, "kind": DEFAULT_KINDS[entry.kind].name}
            for entry in reversed(store.history(user))
        ]
        for user in (f"user-{number}" for number in range(N_USERS))
    }


def shown_history(service: ServiceProcess, user: str) -> list[dict[str, Any]]:
    """What the service shows of a user."""
    items = service.get(f"/v1/users/{user}/history?limit=500")["items"]
    return [{name: item[name] for name in ("item_id", "ts_ms", "kind")} for item in items]


def wait_for_history(service: ServiceProcess, expected: Histories) -> None:
    """Until every user's history is as expected."""
    for user, history in expected.items():
        claim = partial(_shows, service, user, history)
        wait_until(claim, f"history of {user}")


def _shows(service: ServiceProcess, user: str, history: list[dict[str, Any]]) -> bool:
    return shown_history(service, user) == history


class Sender:
    """A client that sends without end, and sends again whatever was not acknowledged, in a thread.

    Args:
        service: Where to; its address may change with every start.
        lane: Of `n_lanes`: the share of the event numbers that it sends.
    """

    def __init__(self, service: ServiceProcess, *, lane: int, n_lanes: int) -> None:
        self.acknowledged: list[Event] = []
        self.items: dict[str, str] = {}  # new items acknowledged, with their picture's reference
        self.n_sent_again = 0
        self.unexpected: list[str] = []
        self._service = service
        self._http = httpx.Client(timeout=REQUEST_S)
        self._lane, self._n_lanes = lane, n_lanes
        self._n_batches = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sender-{lane}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch at hand is acknowledged."""
        self._stopping.set()
        self._thread.join(REQUEST_S)
        assert not self._thread.is_alive()
        self._http.close()

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            start = self._n_batches * BATCH
            numbers = [self._lane + self._n_lanes * number for number in range(start, start + BATCH)]
            batch = [event(number) for number in numbers]
            while not self._is_taken("POST", "/v1/events", json={"events": batch}):
                self.n_sent_again += 1
                threading.Event().wait(0.05)
            self.acknowledged += batch
            self._n_batches += 1
            if self._n_batches % NEW_ITEM_EVERY == 0:
                self._put_item(f"new-{self._lane}-{self._n_batches}")

    def _put_item(self, item_id: str) -> None:
        image = ("image.png", picture(self._n_batches))
        answer = self._request("PUT", f"/v1/items/{item_id}", data={"title": item_id}, files={"image": image})
        if answer is not None:
            self.items[item_id] = answer.json()["image"]

    def _is_taken(self, method: str, path: str, **arguments: Any) -> bool:
        return self._request(method, path, **arguments) is not None

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response | None:
        try:
            answer = self._http.request(method, f"{self._service.url}{path}", **arguments)
        except httpx.TransportError:
            return None
        if answer.status_code == httpx.codes.ACCEPTED:
            return answer
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            self.unexpected.append(answer.text)
        return None
