"""Feeds: read your writes, what stands in for the model, and what an exposure keeps."""

import threading
import time
from collections.abc import Sequence

import pytest

from models.ranker import FeedRequest
from serving.tokens import PositionToken
from stream.events import decode_exposure
from tests.serving.world import AppClient, HandRanker, World
from tests.waiting import wait_until

NOW_MS = time.time_ns() // 1_000_000


def _send(client: AppClient, user_id: str, item_id: str) -> str:
    answer = client.post("/v1/events", json={"user_id": user_id, "item_id": item_id, "ts_ms": NOW_MS})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["position"])


def _ids(feed: dict[str, list[dict[str, str]]]) -> list[str]:
    return [item["item_id"] for item in feed["items"]]


def _put(client: AppClient, world: World, *item_ids: str) -> None:
    for ts_ms, item_id in enumerate(item_ids):
        item = {"title": f"Item {item_id}", "ts_ms": ts_ms}
        assert client.put(f"/v1/items/{item_id}", json=item).status_code == 202
    wait_until(lambda: world.shelf.caught_up().n_items >= len(item_ids), "the catalogue has the items")


def test_a_feed_after_an_event_reflects_it(client: AppClient, model: HandRanker) -> None:
    position = _send(client, "ada", "a")

    feed = client.get("/v1/feeds/ada", params={"after": position, "k": 3}).json()

    assert _ids(feed) == ["b", "c", "d"]
    assert feed["model_version"] == "v1"
    assert feed["degraded"] is None
    assert feed["stale"] is False
    assert feed["newest_event_ms"] == NOW_MS


def test_every_feed_asked_with_its_position_reflects_the_event(client: AppClient, model: HandRanker) -> None:
    for number, item_id in enumerate(["a", "b", "c", "d"], start=1):
        position = _send(client, "ada", item_id)
        feed = client.get("/v1/feeds/ada", params={"after": position}).json()
        assert _ids(feed) == ["a", "b", "c", "d", "e", "f"][number:]


def test_the_position_of_a_feed_can_be_given_back(client: AppClient, model: HandRanker) -> None:
    position = _send(client, "ada", "a")
    first = client.get("/v1/feeds/ada", params={"after": position}).json()

    again = client.get("/v1/feeds/ada", params={"after": first["position"], "timeout_ms": 10_000}).json()

    assert again["stale"] is False
    assert _ids(again) == _ids(first)


def test_a_position_not_reached_in_time_is_answered_marked_stale(client: AppClient, world: World) -> None:
    ahead = PositionToken(world.log.log_id, "events", {world.sequences.partition_of("ada"): 1_000}).encode()

    feed = client.get("/v1/feeds/ada", params={"after": ahead, "timeout_ms": 20}).json()

    assert feed["stale"] is True


def test_a_position_of_another_log_is_400(client: AppClient) -> None:
    foreign = PositionToken("another", "events", {0: 1}).encode()

    answer = client.get("/v1/feeds/ada", params={"after": foreign})

    assert answer.status_code == 400
    assert answer.json()["field"] == "after"
    assert "position token is of log 'another'" in answer.json()["detail"]


@pytest.mark.parametrize("after", ["nonsense", "%%%", "eyJ9"])
def test_a_position_that_is_none_is_400(client: AppClient, after: str) -> None:
    answer = client.get("/v1/feeds/ada", params={"after": after})

    assert answer.status_code == 400
    assert "is not a position token" in answer.json()["detail"]


def test_a_position_beyond_the_partitions_is_400(client: AppClient, world: World) -> None:
    token = PositionToken(world.log.log_id, "events", {99: 1}).encode()

    answer = client.get("/v1/feeds/ada", params={"after": token})

    assert answer.status_code == 400
    assert answer.json()["limit"] == 1


def test_seen_items_come_back_when_asked_for(client: AppClient, model: HandRanker) -> None:
    position = _send(client, "ada", "a")

    feed = client.get("/v1/feeds/ada", params={"after": position, "exclude_seen": False, "k": 2}).json()

    assert _ids(feed) == ["a", "b"]


def test_without_a_model_trending_items_stand_in_most_wanted_first(client: AppClient, world: World) -> None:
    _put(client, world, "a", "b")
    for user_id, item_id in [("u1", "b"), ("u2", "b"), ("u3", "a")]:
        position = _send(client, user_id, item_id)
        client.get(f"/v1/feeds/{user_id}", params={"after": position})

    feed = wait_until(lambda: _feed_of_two(client), "both items trend")

    assert _ids(feed) == ["b", "a"]
    assert feed["degraded"] == "no_model"
    assert feed["model_version"] is None
    assert feed["items"][0] == {
        "item_id": "b",
        "title": "Item b",
        "image_url": None,
        "score": None,
        "is_new": False,
        "brought_by": None,
    }


def _feed_of_two(client: AppClient) -> dict[str, list[dict[str, str]]] | None:
    feed = client.get("/v1/feeds/somebody").json()
    return feed if _ids(feed) == ["b", "a"] else None


def test_without_events_the_newest_items_stand_in(client: AppClient, world: World) -> None:
    _put(client, world, "old", "new")

    assert _ids(client.get("/v1/feeds/ada").json()) == ["new", "old"]


def test_an_unknown_user_gets_popular_items_and_is_told(client: AppClient, world: World, model: HandRanker) -> None:
    _put(client, world, "a")

    feed = client.get("/v1/feeds/nobody").json()

    assert feed["degraded"] == "unknown_user"
    assert _ids(feed) == ["a"]


def test_a_user_of_unknown_items_gets_popular_items_and_is_told(
    client: AppClient, world: World, model: HandRanker
) -> None:
    _put(client, world, "a")
    position = _send(client, "ada", "not-in-the-model")

    feed = client.get("/v1/feeds/ada", params={"after": position}).json()

    assert feed["degraded"] == "no_candidates"
    assert _ids(feed) == ["a"]


def test_items_the_catalogue_does_not_know_never_stand_in(client: AppClient, world: World) -> None:
    _put(client, world, "a", "gone")
    client.delete("/v1/items/gone")
    wait_until(lambda: world.shelf.caught_up().n_items == 1, "the item is removed")
    _send(client, "u1", "gone")
    position = _send(client, "u1", "never-put")

    feed = client.get("/v1/feeds/ada", params={"after": position}).json()

    assert _ids(feed) == ["a"]


def test_a_failing_model_degrades_the_feed_and_is_told(client: AppClient, world: World) -> None:
    def fail(requests: Sequence[FeedRequest]) -> None:
        raise RuntimeError("shape mismatch")

    world.serve_model(HandRanker("v1", ["a", "b"], before=fail))
    _put(client, world, "a")
    position = _send(client, "ada", "b")

    feed = client.get("/v1/feeds/ada", params={"after": position}).json()

    assert feed["degraded"] == "model_failed"
    assert _ids(feed) == ["a"]


def test_the_model_is_told_when_each_item_came_and_of_a_session_nobody_knows(client: AppClient, world: World) -> None:
    asked: list[Sequence[int]] = []
    ranker = HandRanker("v1", ["a", "b"], before=lambda requests: asked.extend(one.times_ms for one in requests))
    world.serve_model(ranker)
    _send(client, "ada", "a")
    position = _send(client, "ada", "b")

    client.get("/v1/feeds/ada", params={"after": position})
    client.post("/v1/feeds", json={"items": ["a"]})

    assert list(map(list, asked)) == [[NOW_MS, NOW_MS], []]


def test_a_misspelt_field_of_a_session_is_named(client: AppClient) -> None:
    assert client.post("/v1/feeds", json={"items": ["a"], "event": "click"}).json()["field"] == "event"


def test_the_model_is_given_what_may_not_be_shown_as_a_set(client: AppClient, world: World) -> None:
    asked: list[object] = []
    ranker = HandRanker("v1", ["a", "b"], before=lambda requests: asked.extend(one.exclude for one in requests))
    world.serve_model(ranker)
    position = _send(client, "ada", "a")

    client.get("/v1/feeds/ada", params={"after": position})
    client.get("/v1/feeds/ada", params={"exclude_seen": False})
    client.post("/v1/feeds", json={"items": ["b", "b"]})

    assert asked == [{"a"}, frozenset(), {"b"}]  # a list equals no set


def test_a_slow_model_is_not_waited_for_beyond_the_deadline(client: AppClient, world: World) -> None:
    may_end = threading.Event()
    world.serve_model(HandRanker("v1", ["a", "b"], before=lambda requests: may_end.wait(10) and None))
    _put(client, world, "a")
    _send(client, "ada", "b")
    wait_until(lambda: world.sequences.sequence("ada"), "the event is applied")

    feed = client.get("/v1/feeds/ada", params={"timeout_ms": 100}).json()
    may_end.set()

    assert feed["degraded"] == "deadline"
    assert _ids(feed) == ["a"]


def test_a_feed_past_its_deadline_does_not_wait_for_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    is_stuck, may_end = threading.Event(), threading.Event()

    def hang(limit: int) -> list[str]:
        is_stuck.set()
        may_end.wait(10)
        return []

    monkeypatch.setattr(world.sequences, "recent_users", hang)  # stands for any job on a volume that hangs
    world.serve_model(HandRanker("v1", ["a", "b"], before=lambda requests: may_end.wait(10) and None))
    with world.client(n_threads=1) as client:
        _send(client, "ada", "b")
        wait_until(lambda: world.sequences.sequence("ada"), "the event is applied")
        asker = threading.Thread(target=client.get, args=("/v1/users",))
        asker.start()
        assert is_stuck.wait(10)
        feed = client.get("/v1/feeds/ada", params={"timeout_ms": 100}).json()
        still_hangs = asker.is_alive()
        may_end.set()
        asker.join(10)

    assert (feed["degraded"], still_hangs) == ("deadline", True)


def test_a_full_queue_is_503_with_the_limit_and_when_to_come_back(world: World) -> None:
    started, may_end = threading.Event(), threading.Event()

    def hold(requests: Sequence[FeedRequest]) -> None:
        started.set()
        may_end.wait(10)

    world.serve_model(HandRanker("v1", ["a", "b"], before=hold))
    with world.client(max_batch=1, max_waiting_feeds=1) as client:
        position = _send(client, "ada", "a")
        url = f"/v1/feeds/ada?after={position}&timeout_ms=10000"
        answers: list[int] = []
        askers = [threading.Thread(target=lambda: answers.append(client.get(url).status_code)) for _ in range(2)]
        askers[0].start()
        assert started.wait(10)
        askers[1].start()
        batcher = client.app.state.serving.batcher
        wait_until(lambda: batcher.n_waiting == 1, "the queue is full")
        refused = client.get("/v1/feeds/ada")
        may_end.set()
        for asker in askers:
            asker.join(10)

    assert answers == [200, 200]
    assert refused.json()["detail"] == "too busy: 1 requests wait, limit is 1"
    assert refused.headers["retry-after"] == "1"


def test_a_session_is_answered_from_its_items(client: AppClient, model: HandRanker) -> None:
    feed = client.post("/v1/feeds", json={"items": ["a", "b"], "k": 2}).json()

    assert _ids(feed) == ["c", "d"]
    assert feed["user_id"] is None
    assert feed["position"] is None


@pytest.mark.parametrize(
    ("query", "field", "limit"),
    [("k=0", "k", 1), ("k=201", "k", 200), ("timeout_ms=10001", "timeout_ms", 10_000), ("k=x", "k", None)],
)
def test_a_query_outside_its_range_is_422_naming_the_limit(
    client: AppClient, query: str, field: str, limit: int | None
) -> None:
    answer = client.get(f"/v1/feeds/ada?{query}")

    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert answer.json().get("limit") == limit


@pytest.mark.parametrize("path", ["a%00b", "%0A", "x" * 257])
def test_a_user_id_that_cannot_be_is_422(client: AppClient, path: str) -> None:
    answer = client.get(f"/v1/feeds/{path}")

    assert answer.status_code == 422
    assert answer.json()["field"] == "user_id"


def test_a_path_that_is_not_utf8_is_400(client: AppClient) -> None:
    answer = client.get("/v1/feeds/%FF%FE")

    assert answer.status_code == 400
    assert answer.json()["field"] == "path"


def test_an_exposure_keeps_what_the_feed_was_made_from(client: AppClient, world: World, model: HandRanker) -> None:
    _put(client, world, "b", "c")
    position = _send(client, "ada", "a")
    feed = client.get("/v1/feeds/ada", params={"after": position, "k": 2}).json()

    [record] = wait_until(lambda: world.records("exposures"), "the exposure is on the log")

    exposure = decode_exposure(record.value)
    assert record.key == b"ada"
    assert exposure.feed_id == feed["feed_id"]
    assert exposure.item_ids == ("b", "c")
    assert exposure.model_version == "v1"
    assert exposure.position == f"{world.sequences.partition_of('ada')}:1"
    assert exposure.newest_item_ts_ms == world.shelf.catalog.newest_ts_ms
    assert exposure.degraded is None


def test_an_exposure_of_a_session_is_keyed_by_the_session(client: AppClient, world: World, model: HandRanker) -> None:
    client.post("/v1/feeds", json={"items": ["a"], "session_id": "s-1"})
    client.post("/v1/feeds", json={"items": ["zzz"]})

    records = wait_until(lambda: _at_least(world.records("exposures"), 2), "the exposures are on the log")

    exposures = {record.key: decode_exposure(record.value) for record in records}
    assert exposures.pop(b"s-1").degraded is None
    [(key, other)] = exposures.items()
    assert key == f"session-{other.feed_id}".encode()
    assert other.degraded == "no_candidates"


def _at_least(records: list, n: int) -> list | None:  # type: ignore[type-arg]
    return records if len(records) >= n else None


def test_feeds_are_counted_by_what_answered(client: AppClient, world: World, model: HandRanker) -> None:
    position = _send(client, "ada", "a")
    client.get("/v1/feeds/ada", params={"after": position})
    client.get("/v1/feeds/nobody")

    assert world.value("freshet_feeds_total", result="model") == 1.0
    assert world.value("freshet_feeds_total", result="unknown_user") == 1.0
    assert world.value("freshet_event_age_seconds_count") == 1.0
