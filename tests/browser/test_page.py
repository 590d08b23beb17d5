"""The page at `/` in a real browser, in front of a real server."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.browser.chrome import Tab
from tests.serving.live import serve
from tests.serving.world import HandRanker, World, running_world
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

N_ITEMS = 30
HOSTILE = "<img src=x onerror=alert(1)> & \u202eright-to-left"
CARDS_SHOW = "document.querySelectorAll('#feed .card').length >= 10"
PICTURES_SHOW = "[...document.querySelectorAll('#feed img')].slice(0, 4).every((image) => image.naturalWidth > 0)"


def _picture(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (200, 300), ((number * 40) % 255, 90, 160)).save(out, "JPEG")
    return out.getvalue()


def _fill(address: str, world: World) -> None:
    with httpx.Client(base_url=address) as http:
        for number in range(N_ITEMS):
            title = HOSTILE if number == 3 else f"Film {number}"
            if number % 2 == 0:
                answer = http.put(f"/v1/items/m{number}", data={"title": title}, files={"image": _picture(number)})
            else:
                answer = http.put(f"/v1/items/m{number}", json={"title": title})
            assert answer.status_code == 202
        events = [{"user_id": "ada", "item_id": "m0", "ts_ms": 1_000}, {"user_id": "ada", "item_id": "m1"}]
        position = http.post("/v1/events", json={"events": events}).json()["position"]
        http.get("/v1/feeds/ada", params={"after": position})
    wait_until(lambda: world.shelf.caught_up().n_items == N_ITEMS, "the catalogue has the items")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running_world(tmp_path) as world, serve(world) as running:
        world.serve_model(HandRanker("v000001-0a1b2c3d", [f"m{number}" for number in range(N_ITEMS)]))
        _fill(running, world)
        yield running


def test_history_and_feed_show_with_pictures_and_the_model_that_answered(
    tab: Tab, address: str, tmp_path: Path
) -> None:
    tab.open(address, width=1280, height=900, scheme="light")
    tab.wait_for(CARDS_SHOW)
    tab.wait_for(PICTURES_SHOW)

    assert tab.value("document.querySelector('#user-id').value") == "ada"
    assert tab.value("document.querySelector('#feed .card-title').textContent") == "Film 2"
    titles = "[...document.querySelectorAll('#history .past-title')].map((title) => title.textContent)"
    assert tab.value(titles) == ["Film 1", "Film 0"]
    assert "model v000001-0a1b2c3d" in tab.value("document.querySelector('#feed-facts').textContent")
    tab.wait_for("document.querySelector('#connection').dataset.state === 'live'")
    assert tab.value("document.querySelector('#model-version').textContent") == "v000001"
    assert len(tab.picture(tmp_path / "page.png")) > 20_000
    assert tab.complaints == []


def test_choosing_a_card_sends_a_click_and_the_feed_reflects_it(tab: Tab, address: str) -> None:
    tab.open(f"{address}/?user=ada", width=1280, height=900, scheme="light")
    tab.wait_for(CARDS_SHOW)

    tab.value("document.querySelector('#feed .card').click()")

    tab.wait_for("document.querySelector('.fact-fresh') !== null")
    assert tab.value("document.querySelector('#history .past-title').textContent") == "Film 2"
    assert tab.value("document.querySelector('#feed .card-title').textContent") == HOSTILE
    fresh = tab.value("document.querySelector('.fact-fresh').textContent")
    assert fresh.startswith("your click ")
    assert fresh.endswith(" s ago is reflected")
    assert tab.complaints == []


def test_a_title_is_shown_as_text_whatever_it_holds(tab: Tab, address: str) -> None:
    tab.open(f"{address}/?user=ada", width=1280, height=900, scheme="light")
    tab.wait_for(CARDS_SHOW)

    titles = "[...document.querySelectorAll('#feed .card-title')].map((title) => title.textContent)"
    assert HOSTILE in tab.value(titles)
    assert tab.value("document.querySelectorAll('#feed [onerror]').length") == 0


def test_an_unknown_user_is_told_why_popular_items_stand_in(tab: Tab, address: str) -> None:
    tab.open(f"{address}/?user=nobody%2F%3F", width=1280, height=900, scheme="dark")
    tab.wait_for(CARDS_SHOW)

    assert "nothing known of this user yet" in tab.value("document.querySelector('.fact-warn').textContent")
    assert "No events yet" in tab.value("document.querySelector('#history').textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(tab: Tab, address: str, tmp_path: Path, scheme: str) -> None:
    tab.open(f"{address}/?user=ada", width=390, height=844, scheme=scheme)
    tab.wait_for(CARDS_SHOW)
    tab.wait_for(PICTURES_SHOW)

    assert tab.value("document.documentElement.scrollWidth") == 390
    background = tab.value("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(244, 246, 249)", "dark": "rgb(12, 17, 23)"}[scheme]
    assert len(tab.picture(tmp_path / f"phone-{scheme}.png")) > 10_000


def test_the_feed_can_be_used_with_the_keyboard_alone(tab: Tab, address: str) -> None:
    tab.open(f"{address}/?user=ada", width=1280, height=900, scheme="light")
    tab.wait_for(CARDS_SHOW)

    tab.value("document.querySelector('#feed .card').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")

    tab.wait_for("document.querySelector('.fact-fresh') !== null")
    assert tab.value("document.querySelector('#feed').contains(document.activeElement)")
    label = tab.value("document.activeElement.getAttribute('aria-label')")
    assert label == f"1. {HOSTILE}, score 1.00. Send a click."


def test_a_server_that_is_gone_is_told(tab: Tab, tmp_path: Path) -> None:
    with running_world(tmp_path) as world, serve(world) as running:
        world.serve_model(HandRanker("v1", ["m0"]))
        tab.open(f"{running}/?user=ada", width=1280, height=900, scheme="light")
        tab.wait_for("document.querySelector('#connection')?.dataset.state === 'live'")

    tab.wait_for("document.querySelector('#connection').dataset.state === 'lost'")
