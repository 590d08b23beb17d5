"""A user whose partition another replica holds: two real apps, one of which lets the partition go."""

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from serving.app import create_app
from serving.tokens import PositionToken
from stream.events import Replica
from tests.serving.live import serve
from tests.serving.world import DEADLINE_S, AppClient, HandRanker, World, running_world
from tests.waiting import wait_until

USER = "anna"


@dataclass
class OneReplica:
    """Says that one address has every partition."""

    url: str | None

    def url_of(self, partition: int) -> str | None:
        return self.url

    def listed(self) -> list[Replica]:
        if self.url is None:
            return []
        return [Replica(name="there", url=self.url, partitions=(0, 1, 2, 3), ts_ms=1_700_000_000_000)]


class Failing:
    """A replica that answers nothing, or what it is told to; counts what it is asked."""

    def __init__(self, answer: bytes = b"") -> None:
        self.n_asked = 0
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):  # where closing alone wakes the thread
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _run(self) -> None:
        with suppress(OSError):  # closed
            while True:
                asked, _ = self._socket.accept()
                self.n_asked += 1
                with asked:
                    asked.recv(65_536)
                    asked.sendall(self._answer)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the other replica may take is no matter here."""
    for limit in ("CONNECT_S", "MARGIN_S"):
        monkeypatch.setattr(f"serving.forwarding.{limit}", DEADLINE_S)


@pytest.fixture
def world_there(tmp_path: Path) -> Iterator[World]:
    """A replica that knows the user, and a model that knows items a, b and c."""
    folder = tmp_path / "there"
    folder.mkdir()
    with running_world(folder) as world:
        world.serve_model(HandRanker("v1", ["a", "b", "c"]))
        with world.client() as client:
            client.post("/v1/events", json={"user_id": USER, "item_id": "a"})
            wait_until(lambda: world.sequences.sequence(USER), "the event is applied")
        yield world


@pytest.fixture
def there(world_there: World) -> Iterator[str]:
    with serve(world_there) as url:
        yield url


def client_here(world: World, url: str | None, **changes: Any) -> AppClient:
    """A replica without the user's partition."""
    world.sequences.drop(world.sequences.partition_of(USER))
    return AppClient(create_app(replace(world.parts(), replicas=OneReplica(url), **changes)))


def test_a_feed_is_made_by_the_replica_that_holds_the_user(world: World, there: str) -> None:
    with client_here(world, there) as client:
        feed = client.get(f"/v1/feeds/{USER}?k=2").json()
    assert [item["item_id"] for item in feed["items"]] == ["b", "c"]
    assert (feed["degraded"], feed["stale"], feed["model_version"]) == (None, False, "v1")


def test_a_history_comes_from_the_replica_that_holds_the_user(world: World, there: str) -> None:
    with client_here(world, there) as client:
        assert [item["item_id"] for item in client.get(f"/v1/users/{USER}/history").json()["items"]] == ["a"]


def test_a_request_is_forwarded_with_its_key(world: World, world_there: World) -> None:
    keys = {"read-0123456789ab": "read"}
    with serve(world_there, keys) as url, client_here(world, url, keys=keys) as client:
        answer = client.get(f"/v1/users/{USER}/history", headers={"X-API-Key": "read-0123456789ab"})
    assert answer.status_code == 200
    assert [item["item_id"] for item in answer.json()["items"]] == ["a"]


def test_a_refusal_of_the_other_replica_is_passed_on(world: World, there: str) -> None:
    with client_here(world, there) as client:
        answer = client.get(f"/v1/feeds/{USER}?after=nonsense")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "url", [None, "http://127.0.0.1:1", "http://:bad:"], ids=["nobody known", "nobody answers", "no address"]
)
def test_without_the_other_replica_the_feed_says_that_the_user_is_elsewhere(world: World, url: str | None) -> None:
    world.serve_model(HandRanker("v1", ["a", "b", "c"]))
    with client_here(world, url) as client:
        feed = client.get(f"/v1/feeds/{USER}").json()
    assert (feed["degraded"], feed["stale"]) == ("elsewhere", True)


def test_a_failure_of_the_other_replica_is_not_passed_on(world: World) -> None:
    world.serve_model(HandRanker("v1", ["a", "b", "c"]))
    other = Failing(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    with closing(other), client_here(world, other.url) as client:
        answer = client.get(f"/v1/feeds/{USER}")
    assert (answer.status_code, answer.json()["degraded"], other.n_asked) == (200, "elsewhere", 1)


@pytest.mark.parametrize(("shun_s", "n_asked"), [(600.0, 1), (0.0, 2)], ids=["before", "after"])
def test_a_replica_that_did_not_answer_is_asked_again_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch, shun_s: float, n_asked: int
) -> None:
    monkeypatch.setattr("serving.forwarding.SHUN_S", shun_s)
    world.serve_model(HandRanker("v1", ["a", "b", "c"]))
    other = Failing()
    with closing(other), client_here(world, other.url) as client:
        found = [client.get(f"/v1/feeds/{USER}").json()["degraded"] for _ in range(2)]
    assert (found, other.n_asked) == (["elsewhere", "elsewhere"], n_asked)


def test_a_history_that_nobody_can_tell_is_refused_and_not_empty(world: World) -> None:
    with client_here(world, None) as client:
        answer = client.get(f"/v1/users/{USER}/history")
    assert (answer.status_code, "another replica" in answer.json()["detail"]) == (503, True)


def test_a_feed_waits_for_its_own_users_partition_only(world: World, model: HandRanker) -> None:
    elsewhere = 1 - world.sequences.partition_of(USER)
    with world.client() as client:
        position = client.post("/v1/events", json={"user_id": USER, "item_id": "a"}).json()["position"]
        token = PositionToken.decode(position)
        both = PositionToken(token.log_id, token.topic, token.next_offsets | {elsewhere: 10**6}).encode()
        feed = client.get(f"/v1/feeds/{USER}?after={both}").json()
    assert (feed["stale"], feed["degraded"]) == (False, None)


def test_a_feed_of_a_partition_that_is_still_catching_up_is_stale(world: World, model: HandRanker) -> None:
    partition = world.sequences.partition_of(USER)
    with world.client() as client:
        client.post("/v1/events", json={"user_id": USER, "item_id": "a"})
        wait_until(lambda: world.sequences.sequence(USER), "the event is applied")
        assert client.get(f"/v1/feeds/{USER}").json()["stale"] is False
        world.sequences.hold(partition, world.sequences.held()[partition], current_from=100)
        assert client.get(f"/v1/feeds/{USER}").json()["stale"] is True


def test_a_request_is_forwarded_once_at_most(world: World, there: str) -> None:
    world.serve_model(HandRanker("v1", ["a", "b", "c"]))
    with client_here(world, there) as client:
        feed = client.get(f"/v1/feeds/{USER}", headers={"X-Freshet-Forwarded": "1"}).json()
    assert feed["degraded"] == "elsewhere"


def test_replicas_are_listed_with_the_partitions_they_hold(world: World) -> None:
    with client_here(world, "http://there:8000") as client:
        listed = client.get("/v1/replicas").json()
    assert listed["n_partitions"] == 2
    assert sorted({0, 1} - set(listed["held"])) == [world.sequences.partition_of(USER)]
    assert listed["replicas"] == [
        {"name": "there", "url": "http://there:8000", "partitions": [0, 1, 2, 3], "ts_ms": 1_700_000_000_000}
    ]
