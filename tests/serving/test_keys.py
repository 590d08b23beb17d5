"""Who may do what, with the real app behind real keys."""

import dataclasses
import re
from collections.abc import Iterator

import pytest

from serving.app import create_app
from serving.keys import Keys, role_for
from tests.serving.world import AppClient, HandRanker, World

INGEST, READ, ADMIN = "ingest-0123456789", "read-0123456789ab", "admin-0123456789a"
KEYS = {INGEST: "ingest", READ: "read", ADMIN: "admin"}
ROLES = {
    "GET /v1/arms": "read",
    "GET /v1/feeds/{user_id}": "read",
    "POST /v1/feeds": "read",
    "POST /v1/events": "ingest",
    "POST /v1/items": "ingest",
    "PUT /v1/items/{item_id}": "ingest",
    "DELETE /v1/items/{item_id}": "ingest",
    "GET /v1/items/{item_id}": "read",
    "GET /v1/items/{item_id}/similar": "read",
    "GET /v1/items/{item_id}/image": "read",
    "GET /images/{ref}": "read",
    "GET /v1/users": "read",
    "GET /v1/users/{user_id}/history": "read",
    "GET /v1/status": "read",
    "GET /v1/replicas": "read",
    "GET /v1/models": "read",
    "POST /v1/models/{version}/promote": "admin",
    "POST /v1/models/rollback": "admin",
    "POST /v1/models/{version}/rollback": "admin",
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /metrics": None,
}


@pytest.fixture
def guarded(world: World) -> Iterator[AppClient]:
    with AppClient(create_app(dataclasses.replace(world.parts(), keys=KEYS))) as running:
        yield running


def key(name: str) -> dict[str, str]:
    return {"X-API-Key": name}


def test_every_route_has_the_role_that_is_meant(world: World) -> None:
    document = create_app(world.parts()).openapi()

    found = {
        f"{method.upper()} {path}": role_for(method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }

    assert found == ROLES


def test_no_key_and_an_unknown_one_are_401_in_the_form_of_every_refusal(guarded: AppClient) -> None:
    without, unknown = guarded.get("/v1/users"), guarded.get("/v1/users", headers=key("x" * 20))

    assert (without.status_code, unknown.status_code) == (401, 401)
    assert without.headers["content-type"] == "application/problem+json"
    assert without.headers["www-authenticate"] == 'ApiKey header="X-API-Key"'
    assert without.json() == {
        "type": "urn:freshet:problem:401",
        "title": "Who is asking is not known",
        "status": 401,
        "detail": "no key; send one in the X-API-Key header",
        "field": "X-API-Key",
    }
    assert unknown.json()["detail"] == "the key is not known; ask the operator for one"


@pytest.mark.parametrize(
    ("sent", "status"), [(INGEST, 202), (ADMIN, 202), (READ, 403), (INGEST + "0", 401), (INGEST[:-1], 401), ("", 401)]
)
def test_events_are_taken_from_ingest_and_admin(guarded: AppClient, sent: str, status: int) -> None:
    answer = guarded.post("/v1/events", json={"user_id": "ada", "item_id": "mug"}, headers=key(sent))

    assert answer.status_code == status


def test_refused_event_is_not_on_the_log(guarded: AppClient, world: World) -> None:
    guarded.post("/v1/events", json={"user_id": "ada", "item_id": "mug"}, headers=key(READ))

    assert world.records("events") == []


def test_role_that_may_not_is_told_which_one_may(guarded: AppClient) -> None:
    answer = guarded.post("/v1/models/rollback", headers=key(INGEST))

    assert answer.status_code == 403
    assert answer.json()["detail"] == (
        "POST '/v1/models/rollback' needs a key with role 'admin', this one's is 'ingest'"
    )


@pytest.mark.parametrize(("sent", "status"), [(READ, 200), (ADMIN, 200), (INGEST, 403)])
def test_feeds_are_for_read_and_admin(guarded: AppClient, model: HandRanker, sent: str, status: int) -> None:
    assert guarded.get("/v1/feeds/ada", headers=key(sent)).status_code == status
    assert guarded.post("/v1/feeds", json={"items": ["a"]}, headers=key(sent)).status_code == status


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/static/page.js", "/static/page.css"]
)
def test_health_metrics_and_the_page_need_no_key(guarded: AppClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../v1/users",
        "/static/..%2Fv1%2Fusers",
        "//v1/users",
        "/v1%2Fusers",
        "/V1/users",
        "/healthz/../v1/users",
    ],
)
def test_no_way_of_writing_a_path_leads_round_the_keys(guarded: AppClient, path: str) -> None:
    assert guarded.get(path).status_code in (401, 404)


def test_item_whose_id_spells_another_path_needs_the_role_of_an_item(guarded: AppClient) -> None:
    path = "/v1/items/..%2Fmodels%2Frollback"

    assert guarded.post(path, headers=key(INGEST)).status_code == 403
    assert guarded.put(path, json={"title": "Mug"}, headers=key(INGEST)).status_code == 202


def test_with_keys_other_hosts_and_origins_are_let_in(guarded: AppClient) -> None:
    headers = {"Host": "feeds.example", "Origin": "https://shop.example"} | key(READ)

    assert guarded.get("/v1/users", headers=headers).status_code == 200


def test_refusals_are_counted_by_status(guarded: AppClient, world: World) -> None:
    guarded.get("/v1/users")

    labels = {"route": "unmatched", "method": "GET", "status": "401"}
    assert world.value("freshet_http_request_seconds_count", **labels) == 1.0


def test_no_key_is_shown_by_the_parts_or_by_an_error(world: World) -> None:
    assert INGEST not in repr(dataclasses.replace(world.parts(), keys=KEYS))
    with pytest.raises(ValueError, match="key 1 has role 'owner', which is none of ingest, read, admin") as refused:
        Keys(create_app(world.parts()), {INGEST: "owner"})
    assert INGEST not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "no keys; without any, listen on loopback only and let LocalOnly guard"),
        ({"short": "read"}, "key 1 has 5 characters, needs 16; make a longer one"),
    ],
)
def test_keys_that_cannot_be_used_are_refused(world: World, keys: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Keys(create_app(world.parts()), keys)


def test_document_names_the_header_and_both_refusals(guarded: AppClient) -> None:
    document = guarded.get("/openapi.json").json()

    assert document["components"]["securitySchemes"] == {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    post = document["paths"]["/v1/events"]["post"]
    assert post["security"] == [{"key": []}]
    assert {"401", "403"} <= set(post["responses"])
    assert list(post["responses"]["401"]["content"]) == ["application/problem+json"]
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_document_without_keys_names_none(client: AppClient) -> None:
    document = client.get("/openapi.json").json()

    assert "securitySchemes" not in document["components"]
    assert "401" not in document["paths"]["/v1/events"]["post"]["responses"]
