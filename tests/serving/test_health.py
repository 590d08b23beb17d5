"""Health, metrics and the page's figures."""

import time

from tests.serving.world import AppClient, HandRanker, World
from tests.waiting import wait_until


def test_a_running_process_is_alive_and_ready(client: AppClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "reasons": {}}
    assert client.get("/readyz").json() == {"status": "ok", "reasons": {}}


def test_what_is_not_ready_is_named_with_503_while_the_process_is_alive(client: AppClient, world: World) -> None:
    world.not_ready["sequences"] = "restarting: disk full"

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {"status": "not_ready", "reasons": {"sequences": "restarting: disk full"}}
    assert client.get("/healthz").status_code == 200


def test_the_scrape_names_routes_by_template_never_by_id(client: AppClient) -> None:
    client.get("/v1/feeds/secret-user")
    client.get("/v1/nothing/secret-path")

    text = client.get("/metrics").text

    assert 'route="/v1/feeds/{user_id}",status="200"' in text
    assert 'route="unmatched",status="404"' in text
    assert "secret" not in text


def test_the_age_of_a_model_that_is_just_taking_over_is_not_told(client: AppClient, world: World) -> None:
    world.serve_model(HandRanker("v7", ["a"]))  # and the metric says not a number still

    status = client.get("/v1/status").json()

    assert (status["model_version"], status["model_age_s"]) == ("v7", None)


def test_the_status_tells_what_the_metrics_tell(client: AppClient, world: World) -> None:
    world.serve_model(HandRanker("v7", ["a"]))
    world.metrics.model_age_seconds.set(12.5)
    world.metrics.prequential_recall_at_10.labels(source="organic", protocol="filtered").set(0.19)
    world.metrics.prequential_recall_at_10.labels(source="exposed", protocol="filtered").set(0.9)
    world.metrics.prequential_events_total.inc(40)
    position = client.post("/v1/events", json={"user_id": "ada", "item_id": "a"}).json()["position"]
    client.get("/v1/feeds/ada", params={"after": position})

    status = client.get("/v1/status").json()

    assert status["model_version"] == "v7"
    assert status["model_age_s"] == 12.5
    assert status["n_users"] == 1
    assert status["prequential"] == {"recall_at_10": 0.19, "ndcg_at_10": None, "mrr": None, "n_events": 40}


def test_users_are_listed_the_newest_event_first(client: AppClient) -> None:
    now_ms = time.time_ns() // 1_000_000
    for age_s, user_id in enumerate(["new", "older", "oldest"]):
        event = {"user_id": user_id, "item_id": "a", "ts_ms": now_ms - 1_000 * age_s}
        position = client.post("/v1/events", json=event).json()["position"]
        client.get(f"/v1/feeds/{user_id}", params={"after": position})

    assert client.get("/v1/users").json() == {"n_users": 3, "users": ["new", "older", "oldest"]}
    assert client.get("/v1/users?limit=1").json() == {"n_users": 3, "users": ["new"]}


def test_a_history_is_newest_first_with_titles_and_kinds(client: AppClient, world: World) -> None:
    client.put("/v1/items/a", json={"title": "Alien"})
    wait_until(lambda: world.shelf.caught_up().get("a"), "the catalogue has it")
    events = [
        {"user_id": "ada", "item_id": "a", "ts_ms": 1_000, "kind": "like"},
        {"user_id": "ada", "item_id": "unknown", "ts_ms": 2_000, "kind": "view"},
    ]
    position = client.post("/v1/events", json={"events": events}).json()["position"]
    client.get("/v1/feeds/ada", params={"after": position})

    answer = client.get("/v1/users/ada/history").json()

    assert answer["items"] == [
        {"item_id": "unknown", "title": "unknown", "image_url": None, "kind": "view", "ts_ms": 2_000},
        {"item_id": "a", "title": "Alien", "image_url": None, "kind": "like", "ts_ms": 1_000},
    ]


def test_an_unknown_user_has_an_empty_history(client: AppClient) -> None:
    assert client.get("/v1/users/nobody/history").json() == {"user_id": "nobody", "items": []}


def test_an_unknown_path_is_a_problem_that_points_to_the_documentation(client: AppClient) -> None:
    answer = client.get("/v1/nothing")

    assert answer.status_code == 404
    assert answer.json()["detail"] == "no such path: '/v1/nothing'; see /docs"


def test_another_method_is_405_with_those_allowed(client: AppClient) -> None:
    answer = client.delete("/v1/events")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unexpected_error_is_500_as_a_problem(client: AppClient, world: World) -> None:
    world.serve_model("no ranker")  # type: ignore[arg-type]

    answer = client.get("/v1/status")

    assert answer.status_code == 500
    assert answer.json()["detail"] == "unexpected AttributeError; the server's log has the rest"
