"""Two things a person should see: a feed that changes because of one event, and an item that is minutes old nowhere."""

import time
from typing import Any

import msgspec

from freshet.client import Client
from freshet.demo.screen import Screen
from freshet.service import Service
from stream.events import Interaction
from stream.replay.dataset import Dataset
from stream.replay.rows import ItemRow
from stream.replay.synthetic import SyntheticDataset

VISITOR = "you"
FEED_K = 5
SHOWN_K = 20
SERVABLE_TIMEOUT_S = 30.0
POLL_S = 0.02
N_USERS_ASKED = 300
N_CANDIDATES = 30  # items a visitor may click

Scene = dict[str, Any]


def change_a_feed(service: Service, client: Client, screen: Screen) -> Scene:
    """A visitor clicks something else, and the feed asked for right after is another."""
    liked, other = _two_unlike_items(service, client)
    before = client.feed(VISITOR, k=FEED_K, after=_click(client, liked, feed_id=None))
    started = time.perf_counter()
    position = _click(client, other, feed_id=before["feed_id"])
    after = client.feed(VISITOR, k=FEED_K, after=position)
    seconds = time.perf_counter() - started
    screen.say(f"{VISITOR!r} clicked {_title(service, liked)!r} and is shown  {_titles(before)}")
    screen.say(f"{VISITOR!r} clicks  {_title(service, other)!r} and is shown  {_titles(after)}")
    is_changed = _ids(before) != _ids(after)
    screen.say(f"the feed {'changed' if is_changed else 'stayed'}, {seconds * 1_000:.0f} ms after the click was sent")
    return {
        "is_changed": is_changed,
        "is_stale": before["stale"] or after["stale"],
        "click_to_feed_ms": seconds * 1_000,
        "before": _ids(before),
        "after": _ids(after),
    }


def recommend_a_new_item(service: Service, client: Client, screen: Screen, dataset: Dataset) -> Scene:
    """An item nobody has seen arrives with text and picture, and is in somebody's feed seconds later."""
    row = _new_item(service, dataset)
    started = time.perf_counter()
    client.put_item(row)
    seconds = _seconds_until_servable(client, row.item.item_id, started)
    screen.say(f"a new item arrives: {row.item.title!r}, {'with' if row.image else 'without'} a picture")
    found = _first_feed_with(service, client, row.item.item_id)
    if seconds is None:
        screen.say(f"it was not recommendable within {SERVABLE_TIMEOUT_S:.0f} s")
    elif found is None:
        screen.say(f"recommendable after {seconds:.2f} s, but in none of {N_USERS_ASKED} users' first {SHOWN_K}")
    else:
        screen.say(f"recommendable after {seconds:.2f} s; {found[0]} sees it at place {found[1]}")
    return {
        "item_id": row.item.item_id,
        "has_image": row.image is not None,
        "recommendable_s": seconds,
        "user_id": found[0] if found else None,
        "place": found[1] if found else None,
    }


def _two_unlike_items(service: Service, client: Client) -> tuple[str, str]:
    """A popular item, and the popular one that is least like it; a sparse day is filled up with new items."""
    candidates = dict.fromkeys(service.sequences.trending(N_CANDIDATES) + service.catalog.newest(N_CANDIDATES))
    liked, *others = list(candidates)[:N_CANDIDATES]
    near = client.similar(liked, k=200)
    like = {item["item_id"]: item["score"] for item in near["items"]} if near else {}
    return liked, min(others, key=lambda item_id: like.get(item_id, -1.0), default=liked)


def _click(client: Client, item_id: str, *, feed_id: str | None) -> str:
    now_ms = time.time_ns() // 1_000_000
    event_id = f"{VISITOR}-{time.time_ns()}"
    click = Interaction(event_id=event_id, user_id=VISITOR, item_id=item_id, ts_ms=now_ms, feed_id=feed_id)
    return client.send([click])


def _new_item(service: Service, dataset: Dataset) -> ItemRow:
    """From the shop a product in the taste of somebody active; from real data one that has not arrived yet."""
    row = _new_product(service, dataset) if isinstance(dataset, SyntheticDataset) else _next_arrival(service, dataset)
    return row._replace(item=msgspec.structs.replace(row.item, ts_ms=time.time_ns() // 1_000_000))


def _new_product(service: Service, dataset: SyntheticDataset) -> ItemRow:
    shoppers = [user for user in service.sequences.recent_users(N_USERS_ASKED) if user.startswith("user-")]
    taste = dataset.tastes_of(max(shoppers, key=lambda user: len(service.sequences.sequence(user))))[0]
    n = 0
    while (row := dataset.new_item(taste.category, taste.style, n)).item.item_id in service.catalog:
        n += 1
    return row


def _next_arrival(service: Service, dataset: Dataset) -> ItemRow:
    """The first item with a picture that the catalogue does not know; else an old one under a new id."""
    rows = list(dataset.items())
    unknown = [row for row in rows if row.item.item_id not in service.catalog]
    with_picture = [row for row in unknown or rows if row.image is not None]
    chosen = (with_picture or unknown or rows)[0]
    if unknown:
        return chosen
    return chosen._replace(item=msgspec.structs.replace(chosen.item, item_id=f"new-{time.time_ns()}"))


def _seconds_until_servable(client: Client, item_id: str, started: float) -> float | None:
    while time.perf_counter() - started < SERVABLE_TIMEOUT_S:
        if client.similar(item_id, k=1) is not None:
            return time.perf_counter() - started
        time.sleep(POLL_S)
    return None


def _first_feed_with(service: Service, client: Client, item_id: str) -> tuple[str, int] | None:
    """The first active user whose feed has the item, and at which place."""
    for user_id in service.sequences.recent_users(N_USERS_ASKED):
        ids = _ids(client.feed(user_id, k=SHOWN_K))
        if item_id in ids:
            return user_id, ids.index(item_id) + 1
    return None


def _ids(feed: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in feed["items"]]


def _titles(feed: dict[str, Any]) -> str:
    return " | ".join(item["title"] or item["item_id"] for item in feed["items"])


def _title(service: Service, item_id: str) -> str:
    item = service.catalog.get(item_id)
    return item.title if item else item_id
