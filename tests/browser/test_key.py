"""The page in front of a service that wants a key."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.browser.chrome import Tab
from tests.serving.live import serve
from tests.serving.world import HandRanker, running_world
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

ADMIN = "admin-0123456789a"
ASKS = "document.querySelector('#key-dialog')?.open"
PROBLEM = "document.querySelector('#key-problem').textContent"
CARDS_SHOW = "document.querySelectorAll('#feed .card').length > 0"
PICTURE_SHOWS = "[...document.querySelectorAll('#history img')].some((image) => image.naturalWidth === 20)"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    picture = io.BytesIO()
    Image.new("RGB", (20, 30), (200, 90, 160)).save(picture, "JPEG")
    with running_world(tmp_path) as world, serve(world, {ADMIN: "admin"}) as running:
        world.serve_model(HandRanker("v1", ["m1", "m2", "m3"]))
        with httpx.Client(base_url=running, headers={"X-API-Key": ADMIN}) as http:
            http.put("/v1/items/m1", data={"title": "Film"}, files={"image": picture.getvalue()}).raise_for_status()
            for item in ("m2", "m3"):
                http.put(f"/v1/items/{item}", json={"title": item}).raise_for_status()
            sent = http.post("/v1/events", json={"user_id": "ada", "item_id": "m1"}).raise_for_status()
            http.get("/v1/feeds/ada", params={"after": sent.json()["position"]}).raise_for_status()
        wait_until(lambda: world.shelf.caught_up().n_items == 3, "the catalogue has the items")
        yield running


def give(tab: Tab, key: str) -> None:
    tab.value(f"document.querySelector('#key').value = {key!r}")
    tab.value("document.querySelector('#key-form button[type=submit]').click()")


def test_a_key_is_asked_for_once_and_then_feeds_clicks_and_pictures_work(
    tab: Tab, address: str, tmp_path: Path
) -> None:
    tab.open(f"{address}/?user=ada", width=1280, height=900, scheme="light")
    tab.wait_for(ASKS)
    tab.picture(tmp_path / "asks.png")

    give(tab, ADMIN)

    tab.wait_for(CARDS_SHOW)
    tab.wait_for(PICTURE_SHOWS)
    tab.value("document.querySelector('#feed .card').click()")
    tab.wait_for("document.querySelector('.fact-fresh') !== null")
    tab.call("Page.reload")
    tab.wait_for(CARDS_SHOW)
    assert tab.value(ASKS) is False


def test_a_wrong_key_is_said_to_be_unknown_and_asked_for_again(tab: Tab, address: str) -> None:
    tab.open(f"{address}/?user=ada", width=390, height=844, scheme="dark")
    tab.wait_for(ASKS)

    give(tab, "wrong-0123456789")

    tab.wait_for(f"{PROBLEM} === 'This key is not known.'")
    give(tab, ADMIN)
    tab.wait_for(CARDS_SHOW)


def test_who_has_no_key_is_told_so_and_not_asked_again(tab: Tab, address: str) -> None:
    tab.open(f"{address}/?user=ada", width=1280, height=900, scheme="light")
    tab.wait_for(ASKS)

    tab.value("document.querySelector('#key-later').click()")

    notice = "document.querySelector('#notice').textContent"
    tab.wait_for(f"{notice} === 'no key; send one in the X-API-Key header'")
    tab.wait_for("document.querySelector('#connection-text').textContent === 'no key'")
    assert tab.value(ASKS) is False
