from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.catalog.catalog import Catalog
from freshet.client import Answer, Client
from freshet.demo.scenes import change_a_feed
from freshet.demo.screen import Screen
from freshet.service import Service
from stream.events import Interaction, ItemUpsert


def shop(trending: list[str], *others: str) -> Service:
    catalog = Catalog()
    for ts_ms, item_id in enumerate([*trending, *others]):
        catalog.apply(ItemUpsert(item_id=item_id, ts_ms=ts_ms))
    return cast("Service", SimpleNamespace(sequences=SimpleNamespace(trending=lambda _: trending), catalog=catalog))


class Slow(Client):
    """Feeds hold what was clicked last as far as they were asked to wait for it."""

    def __init__(self, *, is_first_stale: bool = False) -> None:
        self.clicks: list[str] = []
        self._is_first_stale = is_first_stale

    def send(self, events: Sequence[Interaction]) -> str:
        self.clicks += [event.item_id for event in events]
        return str(len(self.clicks))

    def feed(self, user_id: str, *, k: int = 10, after: str | None = None) -> Answer:
        waited_for = self.clicks[: int(after or 0)]
        stale = self._is_first_stale and len(self.clicks) == 1
        items = [{"item_id": item_id, "title": ""} for item_id in reversed(waited_for)]
        return {"feed_id": "f", "items": items, "stale": stale}

    def similar(self, item_id: str, *, k: int = 10) -> Answer | None:
        return None


def scene(client: Client, service: Service | None = None) -> dict[str, Any]:
    return change_a_feed(service or shop(["mug", "hat"]), client, Screen())


def test_feed_before_the_click_reflects_the_one_before() -> None:
    shown = scene(Slow())

    assert (shown["before"], shown["after"], shown["is_stale"]) == (["mug"], ["hat", "mug"], False)


@pytest.mark.parametrize("is_first_stale", [True, False])
def test_change_from_a_feed_that_was_stale_is_said_to_be_stale(is_first_stale: bool) -> None:
    assert scene(Slow(is_first_stale=is_first_stale))["is_stale"] is is_first_stale


@pytest.mark.parametrize(
    ("service", "clicked"),
    [
        (shop(["mug"], "hat"), ["mug", "hat"]),
        (shop([], "old", "new"), ["new", "old"]),
        (shop([], "only"), ["only", "only"]),
    ],
)
def test_other_items_are_clicked_where_few_were_of_late(service: Service, clicked: list[str]) -> None:
    client = Slow()

    scene(client, service)

    assert client.clicks == clicked
