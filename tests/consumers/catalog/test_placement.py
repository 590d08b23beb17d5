from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from consumers.catalog.catalog import Catalog
from consumers.catalog.placement import Placement
from models.content.features import FeatureStore
from models.content.table import ContentTable
from models.towers.pair import Towers
from models.towers.provided_tower import ProvidedTower
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import BadVector
from stream.events import ItemRemoval, ItemUpsert, encode
from stream.images import ImageStore
from stream.log import Record
from stream.topics import ITEMS


class Shelf:
    """A slot and a model that only remember what they were given."""

    def __init__(self) -> None:
        self.text: dict[str, torch.Tensor] = {}

    def add_items(self, content: ContentTable) -> None:
        self.text.update(zip(content.item_ids, content.text, strict=True))

    def remove_items(self, item_ids: Sequence[str]) -> None:
        for item_id in item_ids:
            self.text.pop(item_id, None)


class Slot(Shelf):
    """Passes items on to its current model, as `ModelSlot` does."""

    model: Shelf | None = None

    def swap(self, model: Shelf) -> None:
        self.model = model
        self.text = model.text


def vector(*values: float) -> bytes:
    return np.array(values, dtype="<f2").tobytes()


def upsert(item_id: str, ts_ms: int = 1, *, text_vector: bytes | None = None) -> ItemUpsert:
    return ItemUpsert(item_id=item_id, ts_ms=ts_ms, title=f"red shoe {item_id}", text_vector=text_vector)


TEXT = Towers(TfidfTextTower.fit([["red shoe"], ["blue shirt"]]), ProvidedTower(2))
OWN = Towers(ProvidedTower(3), ProvidedTower(2))


class World:
    def __init__(self, root: Path) -> None:
        self.catalog, self.slot = Catalog(), Slot()
        store, images = FeatureStore(root / "features"), ImageStore(root / "images")
        self.placement = Placement(self.catalog, self.slot, store=store, images=images)

    def add(self, *events: ItemUpsert | ItemRemoval) -> None:
        for event in events:
            self.catalog.apply(event)

    def swap_in(self, towers: Towers = TEXT) -> None:
        self.placement.swap_in(towers, load=self.load, swap=self.slot.swap)

    def load(self, content: ContentTable) -> Shelf:
        shelf = Shelf()
        shelf.add_items(content)
        return shelf


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_before_the_first_model_nothing_is_placed(world: World) -> None:
    world.add(upsert("a"))

    assert world.placement.place(["a"]) == []
    assert world.placement.towers is None


def test_first_model_comes_with_the_whole_catalogue(world: World) -> None:
    world.add(upsert("a"), upsert("b"), ItemRemoval(item_id="b", ts_ms=2))

    world.swap_in()

    assert set(world.slot.text) == {"a"}
    assert world.placement.towers is TEXT


def test_new_items_are_placed_in_the_current_model_and_unknown_ones_passed_over(world: World) -> None:
    world.swap_in()
    world.add(upsert("a"))

    assert world.placement.place(["a", "nobody"]) == ["a"]
    assert set(world.slot.text) == {"a"}


def test_removed_items_are_taken_out(world: World) -> None:
    world.add(upsert("a"), upsert("b"))
    world.swap_in()

    world.placement.remove(["a"])

    assert set(world.slot.text) == {"b"}


def test_what_changes_while_a_model_loads_is_caught_up_on(world: World) -> None:
    world.add(upsert("stays"), upsert("goes"), upsert("changes"))

    def load_slowly(content: ContentTable) -> Shelf:
        world.add(upsert("comes"), ItemRemoval(item_id="goes", ts_ms=2), ItemUpsert(item_id="changes", ts_ms=2))
        return world.load(content)

    world.placement.swap_in(TEXT, load=load_slowly, swap=world.slot.swap)

    assert set(world.slot.text) == {"stays", "comes", "changes"}
    assert world.slot.text["changes"].abs().sum() == 0  # it has no text any more


@pytest.mark.parametrize("earlier", [None, OWN])
def test_what_comes_in_the_last_moment_of_a_swap_is_placed_after_it(world: World, earlier: Towers | None) -> None:
    if earlier is not None:
        world.swap_in(earlier)
    placed: list[str] = []
    placer = Thread(target=lambda: placed.extend(world.placement.place(["late"])))

    def swap(model: Shelf) -> None:
        world.add(upsert("late"))
        placer.start()
        placer.join(0.2)  # it waits for the swap
        world.slot.swap(model)

    world.placement.swap_in(TEXT, load=world.load, swap=swap)
    placer.join(10)

    assert placed == ["late"]
    assert set(world.slot.text) == {"late"}


def test_model_with_other_towers_is_given_their_vectors_only(world: World) -> None:
    world.add(upsert("a", text_vector=vector(0.0, 3.0, 4.0)))
    world.swap_in(TEXT)
    world.swap_in(OWN)
    world.add(upsert("b", text_vector=vector(5.0, 0.0, 0.0)))
    world.placement.place(["b"])

    assert world.slot.text["a"].tolist() == [[0.0, pytest.approx(0.6), pytest.approx(0.8)]]
    assert world.slot.text["b"].tolist() == [[1.0, 0.0, 0.0]]


def test_vectors_that_do_not_fit_are_refused_once_the_towers_are_known(world: World) -> None:
    bad = ItemUpsert(item_id="a", ts_ms=1, text_vector=vector(1.0))
    record = Record(ITEMS, 0, 0, b"a", encode(bad), ts_ms=1)
    world.placement.check(record)
    world.swap_in(OWN)

    with pytest.raises(BadVector, match="vector of 2 bytes, wants 6"):
        world.placement.check(record)


def test_item_with_such_vectors_from_before_goes_without_them(world: World) -> None:
    world.add(upsert("bad", text_vector=vector(float("nan"), 0.0, 0.0)), upsert("good"))

    world.swap_in(OWN)

    assert set(world.slot.text) == {"bad", "good"}
    assert world.slot.text["bad"].abs().sum() == 0


def test_image_references_to_nothing_are_missing_images(world: World) -> None:
    world.add(ItemUpsert(item_id="a", ts_ms=1, image="../../etc/passwd"))

    world.swap_in()

    assert set(world.slot.text) == {"a"}


def test_content_table_has_every_item_and_reports_progress(world: World) -> None:
    world.add(upsert("a"), upsert("b"))
    seen: list[tuple[int, int]] = []

    table = world.placement.content_table(TEXT, on_progress=lambda done, total: seen.append((done, total)))

    assert table.item_ids == ("a", "b")
    assert seen == [(2, 2)]
