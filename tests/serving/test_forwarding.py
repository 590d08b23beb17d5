"""A user whose partition another replica holds: two real apps, one of which lets the partition go."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from serving.app import create_app
from serving.tokens import PositionToken
from stream.events import Replica
from tests.serving.live import serve
from tests.serving.world import AppClient, HandRanker, World, running_world, wait_until

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


@pytest.fixture
def there(tmp_path: Path) -> Iterator[str]:
    """A replica that knows the user, and a model that knows items a, b and c."""
    folder = tmp_path / "there"
    folder.mkdir()
    with running_world(folder) as world:
        world.serve_model(HandRanker("v1", ["a", "b", "c"]))
        with world.client() as client:
            client.post("/v1/events", json={"user_id": USER, "item_id": "a"})
            wait_until(lambda: world.sequences.sequence(USER), "the event is applied")
        with serve(world) as url:
            yield url


def client_here(world: World, url: str | None) -> AppClient:
    """A replica without the user's partition."""
    world.sequences.drop(world.sequences.partition_of(USER))
    return AppClient(create_app(replace(world.parts(), replicas=OneReplica(url))))


def test_a_feed_is_made_by_the_replica_that_holds_the_user(world: World, there: str) -> None:
    with client_here(world, there) as client:
        feed = client.get(f"/v1/feeds/{USER}?k=2").json()
    assert [item["item_id"] for item in feed["items"]] == ["b", "c"]
    assert (feed["degraded"], feed["stale"], feed["model_version"]) == (None, False, "v1")


def test_a_history_comes_from_the_replica_that_holds_the_user(world: World, there: str) -> None:
    with client_here(world, there) as client:
        assert [item["item_id"] for item in client.get(f"/v1/users/{USER}/history").json()["items"]] == ["a"]


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
