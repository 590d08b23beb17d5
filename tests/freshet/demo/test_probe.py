import httpx

from freshet.demo.probe import FeedProbe


def answering(request: httpx.Request) -> httpx.Response:
    """A feed of the user whose id the path holds, percent-encoded, as one part."""
    is_known = request.url.raw_path == b"/v1/feeds/ann%2F1"
    return httpx.Response(200 if is_known else 404, json={"model_version": "v1", "degraded": None})


def test_users_of_any_id_are_asked_for() -> None:
    probe = FeedProbe("http://shop", ["ann/1"])
    with httpx.Client(base_url="http://shop", transport=httpx.MockTransport(answering)) as http:
        probe._ask(http, "ann/1")

    assert (probe.failures, dict(probe.by_version)) == ([], {"v1": 1})
