"""Feeds blended of the model and what learns beside it: what they say of it, and when they are the model's alone."""

from collections.abc import Sequence

import pytest

from models.ranker import FeedRequest
from stream.events import BlendState, decode_exposure
from tests.serving.test_feeds import NOW_MS, _ids, _send
from tests.serving.world import AppClient, HandRanker, World
from tests.waiting import wait_until


def weights(number: int, *, is_on: bool = True) -> BlendState:
    return BlendState(
        number=number,
        steady=(1.0, 2.0, 0.0, -2.0),
        ageing=(0.0, 0.0, 0.0, 0.0),
        age=0.0,
        model_version="v1",
        is_on=is_on,
        ts_ms=NOW_MS,
    )


@pytest.fixture
def blended(world: World, model: HandRanker) -> World:
    """The memory knows that `e` comes after `a`, and weights were learned."""
    world.memory.link(["a"], "e", NOW_MS)
    world.weights.put(weights(7))
    return world


def test_a_blended_feed_names_the_weights_and_what_brought_each_item(client: AppClient, blended: World) -> None:
    position = _send(client, "ada", "a")

    feed = client.get("/v1/feeds/ada", params={"after": position, "k": 3}).json()

    assert [(item["item_id"], item["brought_by"]) for item in feed["items"]] == [
        ("e", "memory"),
        ("b", "model"),
        ("c", "model"),
    ]
    assert feed["blend"] == 7
    assert feed["model_version"] == "v1"


def test_the_exposure_keeps_which_weights_it_was(client: AppClient, blended: World) -> None:
    position = _send(client, "ada", "a")
    client.get("/v1/feeds/ada", params={"after": position})

    [record] = wait_until(lambda: blended.records("exposures"), "the exposure is on the log")

    assert decode_exposure(record.value).blend == 7


def test_a_session_is_blended_too(client: AppClient, blended: World) -> None:
    feed = client.post("/v1/feeds", json={"items": ["a"], "k": 2}).json()

    assert _ids(feed) == ["e", "b"]
    assert feed["blend"] == 7


def test_newer_weights_are_in_the_next_feed(client: AppClient, blended: World) -> None:
    blended.weights.put(weights(8))

    assert client.post("/v1/feeds", json={"items": ["a"]}).json()["blend"] == 8


def test_a_blend_that_does_not_pay_leaves_the_feed_to_the_model(client: AppClient, blended: World) -> None:
    blended.weights.put(weights(8, is_on=False))

    feed = client.post("/v1/feeds", json={"items": ["a"], "k": 2}).json()

    assert _ids(feed) == ["b", "c"]
    assert feed["blend"] is None
    assert {item["brought_by"] for item in feed["items"]} == {None}


def test_before_any_weights_the_feed_is_the_models(client: AppClient, world: World, model: HandRanker) -> None:
    world.memory.link(["a"], "e", NOW_MS)

    feed = client.post("/v1/feeds", json={"items": ["a"], "k": 2}).json()

    assert _ids(feed) == ["b", "c"]
    assert feed["blend"] is None


def test_a_feed_without_a_model_names_no_weights(client: AppClient, world: World) -> None:
    world.weights.put(weights(7))

    feed = client.post("/v1/feeds", json={"items": ["a"]}).json()

    assert (feed["degraded"], feed["blend"]) == ("no_model", None)


def test_a_user_the_model_knows_nothing_of_gets_no_blend(client: AppClient, blended: World) -> None:
    feed = client.get("/v1/feeds/nobody").json()

    assert (feed["degraded"], feed["blend"]) == ("unknown_user", None)


def test_when_the_blend_fails_the_model_answers_alone(client: AppClient, blended: World) -> None:
    n_calls = 0

    def fail_once(requests: Sequence[FeedRequest]) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            raise IndexError("a number beyond the memory")

    blended.serve_model(HandRanker("v1", ["a", "b", "c", "e"], before=fail_once))

    feed = client.post("/v1/feeds", json={"items": ["a"], "k": 2}).json()

    assert _ids(feed) == ["b", "c"]
    assert (feed["degraded"], feed["blend"]) == (None, None)
