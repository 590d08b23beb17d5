"""POST /v1/events: what is taken, what is refused and how it is told."""

import time

import pytest

from serving.pool import PoolFull
from serving.state import wall_ms
from stream.admission import MAX_AHEAD_MS
from stream.events import decode_interaction
from stream.log import LogUnavailable, QueueFull
from tests.serving.world import AppClient, World
from tests.waiting import wait_until

NOW_MS = time.time_ns() // 1_000_000


def _event(**changes: object) -> dict[str, object]:
    return {"user_id": "ada", "item_id": "a", "ts_ms": NOW_MS} | changes


def test_one_event_is_durable_when_202_is_answered(client: AppClient, world: World) -> None:
    answer = client.post("/v1/events", json=_event(event_id="e-1", kind="like", feed_id="f-1"))

    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    assert answer.json()["event_ids"] == ["e-1"]
    [record] = world.records("events")
    assert record.key == b"ada"
    event = decode_interaction(record.value)
    assert (event.event_id, event.item_id, event.kind, event.feed_id) == ("e-1", "a", "like", "f-1")


def test_a_thousand_events_are_taken_at_once(client: AppClient) -> None:
    events = [_event(user_id=f"u{number}") for number in range(1_000)]

    answer = client.post("/v1/events", json={"events": events})

    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1_000


def test_events_without_id_and_time_get_their_own(client: AppClient, world: World) -> None:
    sent_ms = time.time_ns() // 1_000_000

    answer = client.post("/v1/events", json={"events": [{"user_id": "ada", "item_id": item} for item in "ab"]})

    answered_ms = time.time_ns() // 1_000_000
    first, second = answer.json()["event_ids"]
    assert first != second
    event = decode_interaction(world.records("events")[0].value)
    assert event.event_id == first
    assert sent_ms <= event.ts_ms <= answered_ms
    assert event.kind == "click"


def test_the_same_event_sent_twice_counts_once(client: AppClient) -> None:
    for _ in range(2):
        position = client.post("/v1/events", json=_event(event_id="e-1")).json()["position"]

    client.get("/v1/feeds/ada", params={"after": position})
    assert len(client.get("/v1/users/ada/history").json()["items"]) == 1


def test_more_than_a_thousand_events_are_refused_naming_the_limit(client: AppClient, world: World) -> None:
    answer = client.post("/v1/events", json={"events": [_event()] * 1_001})

    assert answer.status_code == 422
    assert answer.json()["field"] == "events"
    assert answer.json()["limit"] == 1_000
    assert world.records("events") == []


def test_one_wrong_event_of_many_is_named_and_none_is_taken(client: AppClient, world: World) -> None:
    answer = client.post("/v1/events", json={"events": [_event(), _event(user_id=""), _event(item_id=7)]})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [(error["index"], error["field"]) for error in answer.json()["errors"]] == [
        (1, "events[1].user_id"),
        (2, "events[2].item_id"),
    ]
    assert world.records("events") == []


def test_an_id_of_10000_characters_is_refused_naming_field_and_limit(client: AppClient) -> None:
    answer = client.post("/v1/events", json=_event(item_id="x" * 10_000))

    assert answer.status_code == 422
    assert answer.json()["field"] == "item_id"
    assert answer.json()["limit"] == 256
    assert "(10000 characters)" in answer.json()["detail"]


def test_an_unknown_kind_is_refused_naming_the_known_ones(client: AppClient) -> None:
    answer = client.post("/v1/events", json={"events": [_event(), _event(kind="gaze")]})

    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "events[1].kind: kind 'gaze' is not known; known are view, click, like, play, purchase, rate, dislike"
    )


def test_an_unknown_kind_is_told_with_the_number_of_its_event_where_there_are_several(client: AppClient) -> None:
    alone = client.post("/v1/events", json=_event(kind="gaze")).json()
    among = client.post("/v1/events", json={"events": [_event(), _event(kind="gaze")]}).json()

    assert [(error["field"], error.get("index")) for error in alone["errors"]] == [("kind", None)]
    assert [(error["field"], error.get("index")) for error in among["errors"]] == [("events[1].kind", 1)]


def test_an_event_that_the_roles_would_reject_as_too_far_ahead_is_refused_naming_the_latest_time(
    client: AppClient,
) -> None:
    ahead_ms = wall_ms() + MAX_AHEAD_MS + 10_000

    answer = client.post("/v1/events", json=_event(ts_ms=ahead_ms))

    assert answer.status_code == 422
    assert answer.json()["field"] == "ts_ms"
    assert f"ts_ms={ahead_ms} is too far ahead, latest now is" in answer.json()["detail"]


def test_an_event_not_quite_an_hour_ahead_is_taken_and_applied(world: World, client: AppClient) -> None:
    ahead_ms = wall_ms() + MAX_AHEAD_MS - 10_000
    assert client.post("/v1/events", json=_event(ts_ms=ahead_ms)).status_code == 202
    wait_until(lambda: [entry.ts_ms for entry in world.sequences.history("ada")] == [ahead_ms], "the event")


def test_microseconds_sent_as_milliseconds_are_refused(client: AppClient) -> None:
    answer = client.post("/v1/events", json=_event(ts_ms=NOW_MS * 1_000))

    assert answer.status_code == 422
    assert answer.json()["limit"] == 4_102_444_800_000


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_id": "a\u0000b"}, "user_id"),
        ({"user_id": "line\nbreak"}, "user_id"),
        ({"item_id": None}, "item_id"),
        ({"ts_ms": "now"}, "ts_ms"),
        ({"ts_ms": True}, "ts_ms"),
        ({"ts_ms": -1}, "ts_ms"),
        ({"ts_ms": 1.5}, "ts_ms"),
        ({"event_id": ""}, "event_id"),
        ({"itemid": "a"}, "itemid"),
        ({"event": "click"}, "event"),
        ({"kind": "gaze"}, "kind"),
    ],
)
def test_a_wrong_field_is_named(client: AppClient, changes: dict[str, object], field: str) -> None:
    answer = client.post("/v1/events", json=_event(**changes))

    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b'{"user_id": "\xff", "item_id": "a"}', 400),
        (b'{"user_id": "\\ud800", "item_id": "a"}', 422),
        (b"[" * 100_000, 400),
        (b'{"user_id": "a", "item_id": "a", "ts_ms": ' + b"9" * 5_000 + b"}", 400),
        (b'{"user_id": "a", "item_id": "a", "ts_ms": NaN}', 422),
        (b'{"events": []}', 422),
        (b'{"events": 7}', 422),
    ],
)
def test_what_is_no_event_is_a_problem_not_a_crash(client: AppClient, body: bytes, status: int) -> None:
    answer = client.post("/v1/events", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/feeds", "/v1/models/rollback"])
def test_a_body_of_another_content_type_is_415_naming_the_one_that_is_read(
    client: AppClient, path: str, content_type: str
) -> None:
    answer = client.post(path, content=b'{"user_id": "ada"}', headers={"content-type": content_type})

    assert answer.status_code == 415
    assert answer.json()["detail"] == f"content type {content_type!r} is not read; send application/json"


@pytest.mark.parametrize("content_type", ["Application/JSON; charset=utf-8", "application/cloudevents+json"])
def test_json_by_any_of_its_names_is_read(client: AppClient, content_type: str) -> None:
    body = b'{"user_id": "ada", "item_id": "a"}'

    answer = client.post("/v1/events", content=body, headers={"content-type": content_type})

    assert answer.status_code == 202


def test_ids_may_be_any_unicode(client: AppClient) -> None:
    user_id = "Zoë/東京 🎬?#%"
    position = client.post("/v1/events", json=_event(user_id=user_id)).json()["position"]
    path = "/v1/feeds/Zo%C3%AB%2F%E6%9D%B1%E4%BA%AC%20%F0%9F%8E%AC%3F%23%25"

    answer = client.get(path, params={"after": position})

    assert answer.status_code == 200
    assert answer.json()["user_id"] == user_id
    assert answer.json()["newest_event_ms"] == NOW_MS


def test_a_body_above_the_limit_is_413_naming_it(world: World) -> None:
    with world.client(max_body_bytes=1_000) as client:
        answer = client.post("/v1/events", content=b" " * 1_001)

    assert answer.status_code == 413
    assert answer.json()["limit"] == 1_000
    assert answer.json()["detail"] == "the body is 1001 bytes, limit is 1000 bytes; send it in parts"


def test_a_body_of_undeclared_length_is_cut_off_at_the_limit(world: World) -> None:
    async def endless():  # noqa: ANN202
        while True:
            yield b" " * 1_000

    with world.client(max_body_bytes=10_000) as client:
        answer = client.post("/v1/events", content=endless())

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (LogUnavailable("database or disk is full"), "not confirmed: database or disk is full; send the same again"),
        (QueueFull("100000 messages wait"), "not confirmed: 100000 messages wait; send the same again"),
        (PoolFull("9 jobs wait"), "not confirmed: 9 jobs wait; send the same again"),
    ],
)
def test_a_log_that_refuses_is_503_with_the_reason_and_when_to_come_back(
    world: World, failure: Exception, reason: str
) -> None:
    with world.refusing(failure), world.client() as client:
        answer = client.post("/v1/events", json=_event())

    assert answer.status_code == 503
    assert reason in answer.json()["detail"]
    assert answer.headers["retry-after"] == "1"


def test_ingest_recovers_when_the_log_does(world: World, client: AppClient) -> None:
    with world.refusing(LogUnavailable("disk full")):
        assert client.post("/v1/events", json=_event()).status_code == 503

    assert client.post("/v1/events", json=_event()).status_code == 202


def test_a_log_that_does_not_confirm_in_time_is_503(world: World) -> None:
    with world.silent(), world.client(publish_timeout_s=0.05) as client:
        answer = client.post("/v1/events", json=_event())

    assert answer.status_code == 503
    assert answer.json()["detail"] == (
        "not confirmed: the log did not answer within 0.05 s; send the same again, with these event_ids it counts once"
    )


def test_events_without_id_that_were_not_confirmed_count_once_when_sent_with_the_ids_told(world: World) -> None:
    event = _event()
    with world.client(publish_timeout_s=0.05) as client, world.silent():
        told = client.post("/v1/events", json={"events": [event]}).json()["event_ids"]

    with world.client() as client:
        position = client.post("/v1/events", json={**event, "event_id": told[0]}).json()["position"]
        client.get("/v1/feeds/ada", params={"after": position, "timeout_ms": 10_000})
        n_counted = len(client.get("/v1/users/ada/history").json()["items"])

    assert len(world.records("events")) == 2
    assert (len(told), n_counted) == (1, 1)


def test_an_event_that_is_refused_for_good_is_told_no_ids(client: AppClient) -> None:
    assert "event_ids" not in client.post("/v1/events", json=_event(kind="gaze")).json()


def test_accepted_rejected_and_unconfirmed_events_are_counted(client: AppClient, world: World) -> None:
    client.post("/v1/events", json={"events": [_event()] * 3})
    client.post("/v1/events", json={"events": [_event(kind="gaze")] * 2})
    with world.refusing(LogUnavailable("some of it may be written")):
        client.post("/v1/events", json=_event())

    assert world.value("freshet_events_ingested_total", outcome="accepted") == 3.0
    assert world.value("freshet_events_ingested_total", outcome="rejected") == 2.0
    assert world.value("freshet_events_ingested_total", outcome="unconfirmed") == 1.0
