"""The client and `freshet replay` against a real server with a hand-written app."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from freshet import client as client_module
from freshet.cli import main
from freshet.client import ApiError, Client
from freshet.http_server import HttpServer
from freshet.replay import ReplayFailed, replay_over_http
from stream.events import Interaction, ItemUpsert
from stream.replay.dataset import open_dataset
from stream.replay.rows import BadRowError, DatasetError, ItemRow
from tests.models.tower_fixtures import picture

EVENT = Interaction(event_id="e1", user_id="ann", item_id="a", ts_ms=1_000)


class Service:
    """Notes what it is sent; answers with `failures` first."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.items: dict[str, dict[str, Any]] = {}
        self.failures: list[Response] = []
        self.n_requests = 0
        self.app = FastAPI()
        self.app.post("/v1/events")(self.take_events)
        self.app.get("/v1/items/{item_id}/similar")(self.similar)
        self.app.put("/v1/items/{item_id:path}")(self.take_item)
        self.app.get("/page")(self.page)

    async def take_events(self, request: Request) -> Response:
        self.n_requests += 1
        if self.failures:
            return self.failures.pop(0)
        self.events += (await request.json())["events"]
        return JSONResponse({"position": "token"})

    async def take_item(self, item_id: str, request: Request) -> Response:
        if request.headers["content-type"] == "application/json":
            self.items[item_id] = await request.json()
        else:
            async with request.form() as form:
                self.items[item_id] = {
                    name: value if isinstance(value, str) else "file" for name, value in form.items()
                }
        return JSONResponse({"item_id": item_id})

    async def similar(self, item_id: str) -> Response:
        return JSONResponse({"detail": f"{item_id} is not known"}, 404)

    async def page(self) -> Response:
        return PlainTextResponse("<html>")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def url(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(client_module, "FIRST_RETRY_S", 0.001)
    server = HttpServer(service.app, host="127.0.0.1", port=0)
    server.start()
    yield server.url
    server.stop()


def test_events_are_sent_as_they_are_and_the_position_comes_back(service: Service, url: str) -> None:
    with Client(url) as client:
        assert client.send([EVENT]) == "token"

    assert service.events == [
        {"event_id": "e1", "user_id": "ann", "item_id": "a", "ts_ms": 1_000, "kind": "click", "feed_id": None}
    ]


def test_item_is_sent_with_everything_it_has(service: Service, url: str) -> None:
    item = ItemUpsert(item_id="a/b ?", ts_ms=5, title="Heat", text="A thief.", attributes={"year": "1995"})

    with Client(url) as client:
        client.put_item(ItemRow(item))
        client.put_item(ItemRow(ItemUpsert(item_id="c", ts_ms=6, attributes={"year": "1996"}), picture((1, 2, 3))))

    assert service.items["a/b ?"] == {"title": "Heat", "text": "A thief.", "ts_ms": 5, "attributes": {"year": "1995"}}
    assert service.items["c"]["image"] == "file"
    assert json.loads(service.items["c"]["attributes"]) == {"year": "1996"}


def test_busy_service_is_asked_again(service: Service, url: str) -> None:
    service.failures = [JSONResponse({"detail": "disk full"}, 503)] * 3

    with Client(url) as client:
        client.send([EVENT])

    assert (service.n_requests, len(service.events)) == (4, 1)


def test_service_that_stays_busy_is_given_up_with_its_reason(service: Service, url: str) -> None:
    service.failures = [JSONResponse({"detail": "disk full"}, 503)] * 9

    with Client(url) as client, pytest.raises(ApiError, match=r"^POST /v1/events failed: disk full$"):
        client.send([EVENT])

    assert service.n_requests == 5


def test_refusal_is_not_asked_again(service: Service, url: str) -> None:
    service.failures = [JSONResponse({"detail": "kind: 'sniff' is not known"}, 422)]

    with Client(url) as client, pytest.raises(ApiError, match="'sniff' is not known"):
        client.send([EVENT])

    assert service.n_requests == 1


def test_refusal_of_something_else_is_shown_as_it_is(service: Service, url: str) -> None:
    service.failures = [PlainTextResponse("<html>No.", 403)]

    with Client(url) as client, pytest.raises(ApiError, match=r"^POST /v1/events failed: 403 <html>No\.$"):
        client.send([EVENT])


def test_unknown_item_has_no_similar_ones(url: str) -> None:
    with Client(url) as client:
        assert client.similar("nobody") is None


def test_something_else_than_a_service_is_said_so(url: str) -> None:
    with Client(url) as client, pytest.raises(ApiError, match="/page answered no JSON; is it a Freshet service"):
        client.get("/page")


def write_data(folder: Path, *, poster: bytes | None = None) -> str:
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\nann,a,100\nbob,b,200\nann,b,bad\n")
    (folder / "items.csv").write_text("item_id,title,text,image\na,Heat,,a.jpg\nb,Alien,,\n")
    (folder / "images").mkdir()
    if poster is not None:
        (folder / "images" / "a.jpg").write_bytes(poster)
    return str(folder)


def replay(data: str, url: str, *, speed: str = "max", is_strict: bool = False) -> int:
    return replay_over_http(open_dataset(data, strict=is_strict), url=url, speed=speed)


def test_data_set_is_sent_in_order_and_bad_rows_are_counted(
    service: Service, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(write_data(tmp_path, poster=picture((1, 2, 3))), url) == 0

    assert [(event["user_id"], event["item_id"], event["ts_ms"]) for event in service.events] == [
        ("ann", "a", 100_000),
        ("bob", "b", 200_000),
    ]
    assert service.items["a"]["image"] == "file"
    said = capsys.readouterr()
    assert said.out == "sent 2 items and 2 events\n"
    assert said.err.endswith(
        "2 events sent\n"
        "1 bad rows: bad timestamp 1\n"
        "  interactions.csv:4: bad timestamp: 'bad'; give seconds since 1970 or ISO 8601\n"
    )


def test_item_goes_without_a_picture_that_cannot_be_read(
    service: Service, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(write_data(tmp_path, poster=b"no picture"), url) == 0

    assert "image" not in service.items["a"]
    assert "2 bad rows: bad timestamp 1, bad image 1\n" in capsys.readouterr().err


def test_events_of_items_that_are_not_there_are_counted(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path, poster=picture((1, 2, 3)))
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nann,a,100\nann,gone,200\n")

    replay(data, url)

    assert capsys.readouterr().err.endswith("\n1 events are of items that the data set does not have, or not yet\n")


def test_replay_without_a_single_good_event_fails_and_says_why(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path)
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nann,a,1700000000000\n")

    with pytest.raises(ReplayFailed, match=r"no event of .* could be sent"):
        replay(data, url)

    assert "not milliseconds" in capsys.readouterr().err


def test_items_alone_may_be_replayed_but_not_nothing(service: Service, url: str, tmp_path: Path) -> None:
    data = write_data(tmp_path, poster=picture((1, 2, 3)))
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\n")

    assert replay(data, url) == 0
    assert sorted(service.items) == ["a", "b"]

    (tmp_path / "items.csv").write_text("item_id,title,text\n")
    with pytest.raises(ReplayFailed, match=r"no event of .* could be sent"):
        replay(data, url)


def test_configured_kinds_are_those_that_are_replayed(
    service: Service, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHET_KINDS", '[{"name":"click"},{"name":"buy"}]')
    data = write_data(tmp_path)
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp,kind\nann,a,100,buy\n")

    assert main(["replay", data, "--url", url]) == 0
    assert [event["kind"] for event in service.events] == ["buy"]


def test_strict_replay_stops_at_the_first_bad_row(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadRowError, match=r"interactions\.csv:4"):
        replay(write_data(tmp_path), url, is_strict=True)


@pytest.mark.parametrize("speed", ["fast", "0", "-1", "nan"])
def test_speed_that_is_none_is_refused(speed: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"--speed '{speed}' is neither a number above 0 nor `max`"):
        replay(write_data(tmp_path), "http://127.0.0.1:1", speed=speed)


def test_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayFailed, match=r"--url 'http://\[::1' is no address: .*http://127\.0\.0\.1:8000"):
        replay(write_data(tmp_path), "http://[::1")


def test_service_that_is_not_there_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_RETRY_S", 0.001)

    with pytest.raises(ReplayFailed, match=r"PUT /v1/items/a failed: .*Connection refused.* \(after 0 items"):
        replay(write_data(tmp_path), "http://127.0.0.1:1")


def test_vectors_that_http_does_not_take_are_said_to_be_left_out(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path, poster=picture((1, 2, 3)))
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "text.npy", np.ones((2, 4), np.float32))

    replay(data, url)

    assert "2 items bring vectors of their own, which HTTP does not take" in capsys.readouterr().out


def test_items_wait_for_their_time_as_events_do(service: Service, url: str, tmp_path: Path) -> None:
    data = write_data(tmp_path)
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nann,old,1000\n")
    (tmp_path / "items.csv").write_text("item_id,title,text,timestamp\nold,,,1\nnew,,,1300\n")

    began_s = time.monotonic()
    assert replay(data, url, speed="1000") == 0  # 300 s of theirs in 0.3 of ours

    assert time.monotonic() - began_s >= 0.3
    assert (list(service.items), len(service.events)) == (["old", "new"], 1)
