"""Hostile input through the socket: refused by name, or a dead letter; what is valid counts right after each."""

import itertools
import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freshet.letters import list_letters
from freshet.settings import Settings
from stream.embedded.log import EmbeddedLog
from stream.log import Message
from stream.topics import EVENTS, ITEMS, topics
from tests.faults.conftest import N_EVENTS
from tests.faults.process import ServiceProcess, wait_until
from tests.faults.traffic import event, expected_history, picture, put_catalogue, wait_for_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JSON = {"Content-Type": "application/json"}
NO_TRAINING = {"FIRST_EVENTS": "1000000"}
LONG = "x" * 10_000
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One for all: none of it may bring it down."""
    with ServiceProcess(tmp_path_factory.mktemp("hostile") / "data", NO_TRAINING) as service:
        put_catalogue(service)
        wait_until(lambda: service.request("GET", "/v1/items/item-0").status_code == 200, "the catalogue")
        yield service


@pytest.fixture
def _still_works(service: ServiceProcess, numbers: Iterator[int]) -> Iterator[None]:
    """After the test a valid event is accepted, and a feed reflects it."""
    yield
    number = next(numbers)
    answer = service.send(event(number, user_id=f"valid-{number}", kind="click", ts_ms=1_700_000_000_000))
    assert answer.status_code == 202
    feed = service.get(f"/v1/feeds/valid-{number}?after={answer.json()['position']}&timeout_ms=10000")
    assert (feed["stale"], feed["newest_event_ms"]) == (False, 1_700_000_000_000)


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return itertools.count()


def png(width: int, height: int, *, pixels: bytes) -> bytes:
    """A PNG that says it is of this size, whatever pixels follow."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def in_future() -> int:
    return int(time.time() * 1_000) + 100 * HOUR_MS


@pytest.mark.usefixtures("_still_works")
@pytest.mark.parametrize(
    ("body", "status", "field", "said"),
    [
        (b"", 422, "body", "Field required"),
        (b"{", 422, "body", "body: not JSON at character 1: Expecting property name"),
        (b"[]", 422, "body", "object"),
        (b'{"user_id": "\xff\xfe", "item_id": "i"}', 400, None, "parsing the body"),
        (b'{"user_id": "\\ud800", "item_id": "i"}', 422, "user_id", "unicode"),
        (b'{"user_id": "u", "item_id": "i", "kind": "stare"}', 422, "kind", "'stare'"),
        (b'{"user_id": "u", "item_id": ""}', 422, "item_id", "at least 1 character"),
        (b'{"user_id": "u", "item_id": "i", "ts_ms": "now"}', 422, "ts_ms", "valid integer"),
        (b'{"user_id": "u", "item_id": "i", "ts_ms": -1}', 422, "ts_ms", "greater than or equal to 0"),
        (b'{"user_id": "u", "item_id": "i", "ts_ms": 1e400}', 422, "ts_ms", "integer"),
        (b'{"user_id": "u", "item_id": "i", "when": 1}', 422, "when", "Extra inputs"),
        (json.dumps({"user_id": LONG, "item_id": "i"}).encode(), 422, "user_id", "at most 256 characters"),
        (json.dumps({"user_id": "u", "item_id": LONG}).encode(), 422, "item_id", "at most 256 characters"),
        (b'{"events": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, None, "parsing the body"),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
def test_event_that_is_not_valid_is_refused_by_field(
    service: ServiceProcess, body: bytes, status: int, field: str | None, said: str
) -> None:
    answer = service.request("POST", "/v1/events", content=body, headers=JSON)
    problem = answer.json()
    assert (answer.status_code, problem.get("field")) == (status, field), problem
    assert said in problem["detail"]


@pytest.mark.usefixtures("_still_works")
def test_event_from_the_far_future_is_refused_with_the_limit(service: ServiceProcess) -> None:
    answer = service.send(event(1, ts_ms=in_future()))
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (422, "events[0].ts_ms")
    assert in_future() - 99 * HOUR_MS - 60_000 < problem["limit"] <= in_future() - 99 * HOUR_MS


@pytest.mark.usefixtures("_still_works")
def test_one_bad_event_of_many_is_named_and_none_is_taken(service: ServiceProcess) -> None:
    events = [event(number, user_id="all-or-none") for number in range(1_000)]
    answer = service.send(*events[:-1], {**events[-1], "kind": "stare"})
    assert (answer.status_code, answer.json()["field"]) == (422, "events[999].kind")
    assert service.get("/v1/users/all-or-none/history")["items"] == []


@pytest.mark.usefixtures("_still_works")
def test_too_many_events_and_too_large_a_body_are_refused_with_the_limit(service: ServiceProcess) -> None:
    many = service.send(*(event(number) for number in range(1_001)))
    assert (many.status_code, many.json()["field"], many.json()["limit"]) == (422, "events", 1_000)
    large = service.request("POST", "/v1/events", content=b" " * 20_000_000, headers=JSON)
    assert (large.status_code, large.json()["field"]) == (413, "body")
    assert f"limit is {large.json()['limit']} bytes" in large.json()["detail"]


@pytest.mark.usefixtures("_still_works")
@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
def test_item_id_of_ten_thousand_characters_is_refused_with_the_limit(service: ServiceProcess, method: str) -> None:
    body: dict[str, Any] = {"json": {"title": "a"}} if method == "PUT" else {}
    answer = service.request(method, f"/v1/items/{LONG}", **body)
    assert (answer.status_code, answer.json()["field"], answer.json()["limit"]) == (422, "item_id", 256)


@pytest.mark.usefixtures("_still_works")
def test_feeds_and_items_of_the_unknown_are_answered_plainly(service: ServiceProcess) -> None:
    assert service.get("/v1/feeds/nobody-yet")["degraded"] == "no_model"
    assert service.request("GET", "/v1/items/nothing").status_code == 404
    assert service.request("GET", "/v1/feeds/nobody?after=forged").status_code == 400
    assert service.request("GET", "/v1/feeds/%ff").status_code == 400
    assert service.request("POST", "/v1/models/v000099-00000000/promote", json={}).status_code == 404


@pytest.mark.usefixtures("_still_works")
@pytest.mark.parametrize(
    ("image", "said"),
    [
        (picture(1)[:-30], "does not decode"),
        (b"GIF89a" + b"\0" * 40, "does not decode"),
        (png(60_000, 60_000, pixels=b""), "too many pixels, limit is 20000000"),
        (png(5_000, 5_000, pixels=bytes(1_000)), "5000 x 5000 pixels, limit is 20000000"),
        (png(4_000, 4_999, pixels=bytes(1_000)), "does not decode"),
        (b"\0" * 5_000_001, "5000001 bytes, limit is 5000000"),
        (b"", "does not decode"),
    ],
    ids=["truncated", "empty gif", "bomb", "smaller bomb", "too few pixels", "too large", "empty"],
)
def test_picture_that_cannot_be_kept_is_refused_with_the_reason(
    service: ServiceProcess, image: bytes, said: str
) -> None:
    answer = service.request("PUT", "/v1/items/pictured", data={"title": "a"}, files={"image": ("a.png", image)})
    assert (answer.status_code, answer.json()["field"]) == (422, "image")
    assert said in answer.json()["detail"]
    assert service.request("GET", "/v1/items/pictured").status_code == 404


@pytest.mark.usefixtures("_still_works")
def test_item_that_could_not_be_decoded_again_is_refused_with_the_limit(service: ServiceProcess) -> None:
    attributes = {f"{number:03}" + "\1" * 997: "\1" * 700 for number in range(100)}  # six bytes each on the log
    answer = service.request("PUT", "/v1/items/large", json={"attributes": attributes})
    assert (answer.status_code, answer.json()["field"]) == (413, "body")
    assert "the limit is 1000000" in answer.json()["detail"]


@pytest.mark.usefixtures("_still_works")
def test_item_with_nothing_in_it_is_normal(service: ServiceProcess) -> None:
    assert service.request("PUT", "/v1/items/empty", json={"title": "", "text": ""}).status_code == 202
    wait_until(lambda: service.request("GET", "/v1/items/empty").status_code == 200, "the item")


def test_what_reaches_the_log_by_other_ways_becomes_a_dead_letter_and_the_rest_counts(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_events = [
        b"\xff\xfe\x00",
        b"{}",
        json.dumps(event(1, kind="stare") | {"type": "interaction"}).encode(),
        json.dumps(event(2, ts_ms=in_future()) | {"type": "interaction"}).encode(),
        json.dumps(event(3, user_id=LONG) | {"type": "interaction"}).encode(),
        None,
    ]
    log = EmbeddedLog(data_dir / "log.sqlite", topics())
    log.publish(EVENTS, [Message(b"user-1", value) for value in bad_events]).result(10)
    log.publish(ITEMS, [Message(b"item-1", b"\x00 no item")]).result(10)
    log.close()
    with ServiceProcess(data_dir, {"CYCLE_EVENTS": "100000", "CYCLE_S": "100000"}) as service:
        service.wait_until_ready()
        assert service.send(event(N_EVENTS)).status_code == 202
        wait_for_history(service, expected_history([event(number) for number in range(N_EVENTS + 1)]))
        wait_until(
            lambda: 'freshet_dead_letters_total{topic="items"} 1.0' in service.request("GET", "/metrics").text,
            "the bad item's letter",
        )
        assert service.stop() == 0
    assert list_letters(Settings(data_dir=data_dir)) == 0
    letters = capsys.readouterr().out.splitlines()
    assert len([line for line in letters if ": events[" in line]) == len(bad_events)
    assert len([line for line in letters if ": items[" in line]) == 1
