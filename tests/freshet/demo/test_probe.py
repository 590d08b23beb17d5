from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from freshet.client import Answer, Client
from freshet.demo.probe import FeedProbe, FreshnessProbe
from stream.events import Interaction
from tests.serving.live import serve
from tests.serving.world import running_world
from tests.waiting import wait_until


def answering(request: httpx.Request) -> httpx.Response:
    """A feed of the user whose id the path holds, percent-encoded, as one part."""
    is_known = request.url.raw_path == b"/v1/feeds/ann%2F1"
    return httpx.Response(200 if is_known else 404, json={"model_version": "v1", "degraded": None})


def test_users_of_any_id_are_asked_for() -> None:
    probe = FeedProbe("http://shop", ["ann/1"])
    with httpx.Client(base_url="http://shop", transport=httpx.MockTransport(answering)) as http:
        probe._ask(http, "ann/1")

    assert (probe.failures, dict(probe.by_version)) == ([], {"v1": 1})


def test_key_of_the_environment_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_API_KEY", "read-0123456789ab")
    with running_world(tmp_path) as world, serve(world, {"read-0123456789ab": "read"}) as address:
        probe = FeedProbe(address, ["ann"])
        probe.start()
        wait_until(lambda: probe.n_requests, "a feed was asked for")
        probe.stop()

    assert probe.failures == []


class StaleNowAndThen(Client):
    """A service whose second feed is stale."""

    def __init__(self) -> None:
        self.n_feeds = 0

    def send(self, events: Sequence[Interaction]) -> str:
        return "position"

    def feed(self, user_id: str, *, k: int = 10, after: str | None = None) -> Answer:
        self.n_feeds += 1
        return {"feed_id": "f", "items": [{"item_id": "mug"}], "stale": self.n_feeds == 2}


def test_only_feeds_that_reflect_the_event_are_timed() -> None:
    probe = FreshnessProbe(StaleNowAndThen(), "ann")

    for _ in range(3):
        probe.measure_next()

    assert (len(probe.accepted_to_feed_s), probe.n_stale) == (2, 1)
