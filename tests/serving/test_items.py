"""Items: JSON, multipart with pictures, NDJSON, and hostile pictures."""

import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from stream.events import ItemRemoval, ItemUpsert, decode_item, encode
from stream.log import LogUnavailable, Message
from stream.topics import ITEMS
from tests.serving.world import AppClient, HandRanker, World
from tests.waiting import wait_until


def picture(kind: str = "JPEG", size: tuple[int, int] = (60, 80)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 40, 90)).save(out, kind)
    return out.getvalue()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it is 3.6 gigapixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1_000)) + chunk(b"IEND", b"")


def _items(world: World) -> list[ItemUpsert | ItemRemoval]:
    return [decode_item(record.value) for record in world.records("items")]


def _known(client: AppClient, world: World, item_id: str) -> dict[str, Any]:
    wait_until(lambda: world.shelf.caught_up().get(item_id), f"the catalogue has {item_id}")
    return dict(client.get(f"/v1/items/{item_id}").json())


def test_an_item_put_as_json_is_on_the_log_and_can_be_read_back(client: AppClient, world: World) -> None:
    body = {"title": "Alien", "text": "In space.", "attributes": {"year": "1979"}, "ts_ms": 1_000}

    answer = client.put("/v1/items/m%2F1", json=body)

    assert answer.status_code == 202
    assert answer.json() == {"item_id": "m/1", "image": None}
    assert _items(world) == [
        ItemUpsert(item_id="m/1", ts_ms=1_000, title="Alien", text="In space.", attributes={"year": "1979"})
    ]
    wait_until(lambda: world.shelf.caught_up().get("m/1"), "the catalogue has it")
    assert client.get("/v1/items/m%2F1").json() == {
        "item_id": "m/1",
        "title": "Alien",
        "text": "In space.",
        "attributes": {"year": "1979"},
        "ts_ms": 1_000,
        "image": None,
        "image_url": None,
    }


@pytest.mark.parametrize(("kind", "media_type"), [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif")])
def test_an_item_put_with_its_picture_serves_the_same_bytes(
    client: AppClient, world: World, kind: str, media_type: str
) -> None:
    data = picture(kind)

    answer = client.put(
        "/v1/items/m1", data={"title": "Alien", "attributes": '{"year": "1979"}'}, files={"image": ("p", data)}
    )

    assert answer.status_code == 202, answer.text
    item = _known(client, world, "m1")
    shown = client.get(item["image_url"])
    assert shown.content == data
    assert shown.headers["content-type"] == f"image/{media_type}"
    assert "immutable" in shown.headers["cache-control"]
    assert client.get("/v1/items/m1/image").content == data


def test_a_stored_picture_can_be_kept_by_its_reference(client: AppClient, world: World) -> None:
    ref = client.put("/v1/items/m1", files={"image": ("p", picture())}).json()["image"]

    answer = client.put("/v1/items/m1", json={"title": "Aliens", "image": ref})

    assert answer.json() == {"item_id": "m1", "image": ref}


def test_a_reference_to_no_picture_is_422(client: AppClient, world: World) -> None:
    answer = client.put("/v1/items/m1", json={"image": "0" * 64 + ".jpg"})

    assert answer.status_code == 422
    assert answer.json()["detail"] == "image: no such picture is stored; PUT the item as multipart/form-data with it"
    assert _items(world) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not decode"),
        (b"not a picture", "does not decode"),
        (picture()[:300], "does not decode"),
        (bomb(), "pixels, limit is 20000000"),
        (picture("JPEG", (5_000, 4_001)), "5000 x 4001 pixels, limit is 20000000"),
        (picture() + b"\0" * 5_000_000, "bytes, limit is 5000000"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "does not decode"),
    ],
    ids=["empty", "text", "truncated", "bomb", "many-pixels", "many-bytes", "svg"],
)
def test_a_hostile_picture_is_422_naming_the_limit_and_nothing_is_kept(
    client: AppClient, world: World, data: bytes, reason: str
) -> None:
    answer = client.put("/v1/items/m1", data={"title": "Alien"}, files={"image": ("p.jpg", data)})

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == "image"
    assert reason in answer.json()["detail"]
    assert _items(world) == []


def test_a_picture_is_not_published_when_its_item_is_wrong(client: AppClient, world: World) -> None:
    answer = client.put("/v1/items/m1", data={"title": "x" * 1_001}, files={"image": ("p", picture())})

    assert answer.status_code == 422
    assert answer.json()["field"] == "title"
    assert answer.json()["limit"] == 1_000
    assert list(world.root.joinpath("images").rglob("*.jpg")) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": 7}, "title"),
        ({"titel": "Alien"}, "titel"),
        *(({name: "Alien"}, name) for name in ("event", "batch", "body", "path", "query")),
        ({"text": "x" * 20_001}, "text"),
        ({"attributes": {"a": 1}}, "attributes.a"),
        ({"attributes": {str(number): "" for number in range(101)}}, "attributes"),
        ({"ts_ms": -1}, "ts_ms"),
        ({"ts_ms": 4_102_444_800_000}, "ts_ms"),  # 2100: no later word on the item would ever count
        ({"image": "../../etc/passwd"}, "image"),
        ([], "body"),
    ],
)
def test_a_wrong_item_field_is_named(client: AppClient, body: object, field: str) -> None:
    answer = client.put("/v1/items/m1", json=body)

    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    ("fields", "files", "field"),
    [
        ({"titel": "Alien"}, {"image": ("p", b"x")}, "titel"),
        ({"image": "text"}, {"title": ("t", b"x")}, "image"),
        ({"attributes": "{"}, {"image": ("p", b"x")}, "attributes"),
        ({"attributes": "[" * 50_000}, {"image": ("p", b"x")}, "attributes"),
        ({"ts_ms": "soon"}, {"image": ("p", b"x")}, "ts_ms"),
    ],
)
def test_a_wrong_form_field_is_named(client: AppClient, fields: Any, files: Any, field: str) -> None:
    answer = client.put("/v1/items/m1", data=fields, files=files)

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field


def test_broken_multipart_is_400(client: AppClient) -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = client.put("/v1/items/m1", content=b"--y\r\nno", headers={"content-type": content_type})
        assert answer.status_code == 400, answer.text


def test_another_content_type_is_415_naming_those_that_are_read(client: AppClient) -> None:
    answer = client.put("/v1/items/m1", content=b"<item/>", headers={"content-type": "text/xml"})

    assert answer.status_code == 415
    assert answer.json()["limit"] == "application/json or multipart/form-data"


def test_a_removed_item_is_gone_and_removing_an_unknown_one_is_no_error(client: AppClient, world: World) -> None:
    client.put("/v1/items/m1", json={"title": "Alien"})
    _known(client, world, "m1")

    assert client.delete("/v1/items/m1").status_code == 202
    assert client.delete("/v1/items/never").status_code == 202

    wait_until(lambda: world.shelf.caught_up().get("m1") is None, "the item is removed")
    answer = client.get("/v1/items/m1")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "item 'm1' is not known; put it first"


def test_bulk_lines_are_taken_and_wrong_ones_named_by_number(client: AppClient, world: World) -> None:
    body = b"\n".join(
        [
            b'{"item_id": "a", "title": "Alien"}',
            b"",
            b"{not json",
            b'{"item_id": "b", "title": 7}',
            b'{"title": "no id"}',
            b'{"item_id": "\xff"}',
            b'{"item_id": "c"}',
        ]
    )

    answer = client.post("/v1/items", content=body, headers={"content-type": "application/x-ndjson"})

    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (2, 4)
    assert [(error["line"], error["field"]) for error in told["errors"]] == [
        (3, "body"),
        (4, "title"),
        (5, "item_id"),
        (6, "body"),
    ]
    assert [item.item_id for item in _items(world)] == ["a", "c"]


def test_where_a_bulk_line_is_no_json_is_told_in_characters_of_that_line(client: AppClient) -> None:
    body = '{"item_id": "a"}\n{"title": "äöü", x}'.encode()

    error = client.post("/v1/items", content=body).json()["errors"][0]

    assert (error["line"], error["message"]) == (2, "not JSON at character 17: key must be a string")


def test_a_bulk_without_a_right_line_says_which_was_wrong_first(client: AppClient) -> None:
    answer = client.post("/v1/items", content=b'\n{"title": "no id"}')

    assert answer.json()["detail"] == "line 2: item_id: Field required"


def test_the_first_100_errors_of_a_bulk_are_told_and_all_are_counted(client: AppClient) -> None:
    told = client.post("/v1/items", content=b'{"item_id": "a"}\n' + b"nonsense\n" * 150).json()

    assert (told["accepted"], told["rejected"]) == (1, 150)
    assert [error["line"] for error in told["errors"]] == list(range(2, 102))


def test_a_bulk_line_that_is_too_large_for_the_log_is_named_and_the_others_are_taken(
    client: AppClient, world: World
) -> None:
    escaped = "\x01" * 997  # six bytes each on the log
    attributes = {f"{number:03}{escaped}": escaped for number in range(100)}
    big = {"item_id": "big", "ts_ms": 1_000, "attributes": attributes}
    lines = [{"item_id": "a"}, big, {"item_id": "c"}]

    answer = client.post("/v1/items", content="\n".join(map(json.dumps, lines)))

    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 2,
        "rejected": 1,
        "errors": [
            {"line": 2, "field": "body", "message": "1197442 bytes on the log, limit is 1000000", "limit": 1_000_000}
        ],
    }
    assert [item.item_id for item in _items(world)] == ["a", "c"]


def test_a_bulk_line_with_a_reference_to_no_picture_is_named_and_the_others_are_taken(
    client: AppClient, world: World
) -> None:
    stored = client.put("/v1/items/a", files={"image": ("p", picture())}).json()["image"]
    lines = [{"item_id": "a", "image": stored}, {"item_id": "b", "image": "0" * 64 + ".jpg"}, {"item_id": "c"}]

    answer = client.post("/v1/items", content="\n".join(map(json.dumps, lines)))

    message = "no such picture is stored; PUT the item as multipart/form-data with it"
    assert answer.status_code == 202
    assert answer.json()["errors"] == [{"line": 2, "field": "image", "message": message, "limit": None}]
    assert [item.item_id for item in _items(world)][1:] == ["a", "c"]


def test_a_bulk_of_3000_items_is_taken(client: AppClient, world: World) -> None:
    body = "\n".join(json.dumps({"item_id": f"m{number}"}) for number in range(3_000))

    answer = client.post("/v1/items", content=body)

    assert answer.json() == {"accepted": 3_000, "rejected": 0, "errors": []}
    assert len(_items(world)) == 3_000


def test_a_bulk_body_line_that_ends_in_a_unicode_separator_is_one_line(client: AppClient, world: World) -> None:
    body = json.dumps({"item_id": "a", "title": "one\u2028two\u0085three"}, ensure_ascii=False).encode()

    assert client.post("/v1/items", content=body).json()["accepted"] == 1


@pytest.mark.parametrize("body", [b"", b"\n\n", b"nonsense"])
def test_a_bulk_without_a_right_line_is_422(client: AppClient, body: bytes) -> None:
    assert client.post("/v1/items", content=body).status_code == 422


def test_items_are_refused_while_the_log_is(world: World, client: AppClient) -> None:
    with world.refusing(LogUnavailable("disk full")):
        for answer in (
            client.put("/v1/items/m1", json={}),
            client.delete("/v1/items/m1"),
            client.post("/v1/items", content=b'{"item_id": "a"}'),
        ):
            assert answer.status_code == 503
            assert "disk full" in answer.json()["detail"]


def test_similar_items_come_with_the_version_that_said_so(client: AppClient, world: World, model: HandRanker) -> None:
    answer = client.get("/v1/items/a/similar", params={"k": 2}).json()

    assert [item["item_id"] for item in answer["items"]] == ["b", "c"]
    assert answer["model_version"] == "v1"


def test_similar_to_an_unknown_item_is_404(client: AppClient, model: HandRanker) -> None:
    answer = client.get("/v1/items/zzz/similar")

    assert answer.status_code == 404
    assert answer.json()["detail"] == "item 'zzz' is not known; put it first"


def test_similar_to_an_item_that_is_not_encoded_yet_is_404_and_to_be_asked_again(
    client: AppClient, world: World, model: HandRanker
) -> None:
    client.put("/v1/items/fresh", json={"title": "Alien"})
    _known(client, world, "fresh")

    answer = client.get("/v1/items/fresh/similar")

    assert answer.status_code == 404
    assert answer.json()["detail"] == "item 'fresh' has no vector yet; ask again in a moment"


def test_similar_without_a_model_is_503(client: AppClient) -> None:
    answer = client.get("/v1/items/a/similar")

    assert answer.status_code == 503
    assert answer.json()["detail"] == "there is no model yet; the first training cycle publishes one"


@pytest.mark.parametrize("ref", ["0" * 64 + ".jpg", "x.jpg", "%2E%2E%2Flog.sqlite", "0" * 64 + ".svg"])
def test_what_is_no_stored_picture_is_4xx(client: AppClient, ref: str) -> None:
    assert client.get(f"/images/{ref}").status_code in (404, 422)


def test_an_item_without_picture_has_none(client: AppClient, world: World) -> None:
    client.put("/v1/items/m1", json={"title": "Alien"})
    _known(client, world, "m1")

    assert client.get("/v1/items/m1/image").status_code == 404


def test_a_foreign_reference_on_the_log_is_no_picture(client: AppClient, world: World) -> None:
    foreign = ItemUpsert(item_id="m1", ts_ms=1_000, image="cat.jpg")
    world.log.publish(ITEMS, [Message(b"m1", encode(foreign))]).result(10)
    _known(client, world, "m1")

    answer = client.get("/v1/items/m1/image")

    assert answer.status_code == 404
    assert answer.json()["detail"] == "no picture 'cat.jpg' is stored"


def test_an_item_id_may_end_like_a_route(client: AppClient, world: World) -> None:
    client.put("/v1/items/m1%2Fimage", json={"title": "Alien"})
    wait_until(lambda: world.shelf.caught_up().get("m1/image"), "the catalogue has it")

    assert client.get("/v1/items/m1%2Fimage").json()["title"] == "Alien"
