import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from consumers.catalog.catalog import Catalog, CatalogItem
from consumers.catalog.letters import ItemLetters
from consumers.catalog.placement import Placement
from consumers.catalog.role import CatalogRole
from consumers.runner import Runner, RunnerSettings
from models.content.features import FeatureStore
from models.content.table import ContentTable
from models.towers.pair import Towers
from models.towers.patch_tower import PatchConfig, PatchNet, PatchTower
from models.towers.provided_tower import ProvidedTower
from models.towers.tfidf_tower import TfidfTextTower
from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.events import ItemEvent, ItemRemoval, ItemUpsert, decode_dead_letter, encode
from stream.images import ImageStore
from stream.log import Message, Record
from stream.topics import DEAD_LETTER, ITEMS, topics
from tests.consumers.catalog.test_placement import Shelf, Slot
from tests.models.tower_fixtures import noisy_picture
from tests.waiting import wait_until

DEADLINE_S = 20.0


def towers() -> Towers:
    torch.manual_seed(0)
    net = PatchNet(PatchConfig(size=16, patch=4, dim=8, n_layers=1, n_heads=2))
    return Towers(TfidfTextTower.fit([["red shoe"], ["blue shirt"]]), PatchTower(net))


class World:
    """A log, a catalogue role on it, and a slot that remembers what it was given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = EmbeddedLog(root / "log.sqlite", topics(2))
        self.images = ImageStore(root / "images")
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.runners: list[Runner] = []
        self.slot = Slot()
        self.catalog, self.placement = self.new_process()

    def new_process(self) -> tuple[Catalog, Placement]:
        catalog = Catalog()
        store = FeatureStore(self.root / "features")
        self.placement = Placement(catalog, self.slot, store=store, images=self.images)
        self.role = CatalogRole(catalog, self.placement, metrics=self.metrics)
        self.letters = ItemLetters(self.placement, self.log, metrics=self.metrics)
        return catalog, self.placement

    def run(self) -> Runner:
        settings = RunnerSettings(poll_s=0.02, backoff_s=0.01)
        runner = Runner(self.log, [self.role, self.letters], metrics=self.metrics, settings=settings)
        self.runners.append(runner)
        runner.start()
        return runner

    def swap_in(self, new: Towers | None = None) -> None:
        def load(content: ContentTable) -> Shelf:
            shelf = Shelf()
            shelf.add_items(content)
            return shelf

        self.placement.swap_in(new or towers(), load=load, swap=self.slot.swap)

    def publish(self, *events: ItemEvent | bytes | None, key: str = "k") -> None:
        messages = [
            Message(
                key.encode() if isinstance(event, bytes | None) else event.item_id.encode(),
                event if isinstance(event, bytes | None) else encode(event),
            )
            for event in events
        ]
        self.log.publish(ITEMS, messages).result(DEADLINE_S)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def close(self) -> None:
        for runner in self.runners:
            assert runner.stop(DEADLINE_S) == []
        self.log.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_new_item_with_text_and_image_is_servable_soon_and_measured(world: World) -> None:
    world.swap_in()
    world.run()
    image = world.images.put(noisy_picture(1))

    world.publish(ItemUpsert(item_id="a", ts_ms=1, title="Red shoe", image=image))

    wait_until(lambda: "a" in world.slot.text)
    wait_until(lambda: world.value("freshet_item_to_servable_seconds_count") == 1.0)
    assert 0.0 <= world.value("freshet_item_to_servable_seconds_sum") < DEADLINE_S
    assert world.value("freshet_items") == 1.0
    age_s = world.value("freshet_item_vector_age_seconds")
    assert age_s is not None
    assert 0.0 <= age_s < DEADLINE_S


def test_removed_item_is_taken_out_and_can_come_again(world: World) -> None:
    world.swap_in()
    world.run()
    world.publish(ItemUpsert(item_id="a", ts_ms=1, title="Red shoe"))
    wait_until(lambda: "a" in world.slot.text)

    world.publish(ItemRemoval(item_id="a", ts_ms=2))
    wait_until(lambda: "a" not in world.slot.text)
    world.publish(ItemUpsert(item_id="a", ts_ms=3, title="Red shoe"))

    wait_until(lambda: "a" in world.slot.text)


def test_bad_records_go_to_the_dead_letters_once_however_often_it_starts(world: World) -> None:
    world.publish(b"\xff", b'{"type": "interaction"}', ItemUpsert(item_id="good", ts_ms=1))
    for n_starts in range(1, 4):
        runner = world.run()
        wait_until(lambda: "good" in world.catalog and world.value("freshet_dead_letters_total", topic="items") == 2.0)
        wait_until(lambda: {health.state for health in runner.health().values()} == {"running"})  # noqa: B023
        assert runner.stop(DEADLINE_S) == []
        world.catalog, _ = world.new_process()
        assert world.log.ends(DEAD_LETTER) == {0: 2}, f"after {n_starts} starts"

    with closing(world.log.reader(DEAD_LETTER, partitions=[0])) as reader:
        letters = [decode_dead_letter(r.value) for r in reader.poll(max_records=9, timeout_s=DEADLINE_S)]
    assert [letter.value for letter in letters] == [b"\xff", b'{"type": "interaction"}']
    assert all(letter.reason.startswith("event rejected: ") for letter in letters)


def test_vectors_that_the_model_does_not_take_are_reported_too(world: World) -> None:
    world.swap_in(Towers(ProvidedTower(2), ProvidedTower(2)))
    world.letters.handle([Record(ITEMS, 0, 0, b"a", encode(ItemUpsert(item_id="a", ts_ms=1, text_vector=b"123")), 1)])
    assert world.value("freshet_dead_letters_total", topic="items") == 1.0


def test_an_item_with_vectors_that_the_model_does_not_take_goes_without_them(world: World) -> None:
    world.swap_in(Towers(towers().text, ProvidedTower(2)))
    world.role.gained([0])
    item = ItemUpsert(item_id="a", ts_ms=1, title="Red shoe", image_vector=b"123")

    world.role.handle([Record(ITEMS, 0, 0, b"a", encode(item), 1)])

    wait_until(lambda: "a" in world.slot.text)
    assert world.slot.text["a"].abs().sum() > 0
    assert world.catalog.items() == [CatalogItem.of(item)]
    world.role.close()


def test_restart_rebuilds_the_catalogue_from_the_topic(world: World) -> None:
    world.publish(
        ItemUpsert(item_id="a", ts_ms=1),
        ItemUpsert(item_id="b", ts_ms=1),
        ItemRemoval(item_id="a", ts_ms=2),
    )
    first = world.run()
    wait_until(lambda: world.catalog.n_items == 1)
    assert first.stop(DEADLINE_S) == []

    catalog, _ = world.new_process()
    world.run()

    wait_until(lambda: catalog.n_items == 1)
    assert "b" in catalog


def test_a_late_record_says_the_same_before_and_after_compaction(world: World) -> None:
    world.publish(ItemUpsert(item_id="a", ts_ms=100))
    world.publish(ItemRemoval(item_id="a", ts_ms=200), ItemUpsert(item_id="a", ts_ms=100, title="late"))
    first = world.run()
    wait_until(lambda: sum(world.role.positions().values()) == 3)
    assert first.stop(DEADLINE_S) == []
    before = world.catalog.items()

    assert world.log.maintain(time.time_ns() // 1_000_000).compacted == 2
    catalog, _ = world.new_process()
    world.run()

    wait_until(lambda: sum(world.role.positions().values()) == 3)
    assert catalog.items() == before == [CatalogItem("a", 100, "late")]


def test_records_read_again_are_not_measured_as_new(world: World) -> None:
    world.swap_in()
    record = Record(ITEMS, 0, 0, b"a", encode(ItemUpsert(item_id="a", ts_ms=1)), ts_ms=1_000)
    world.role.gained([0])

    world.role.handle([record])

    wait_until(lambda: "a" in world.slot.text)
    world.role.close()
    assert world.value("freshet_item_to_servable_seconds_count") == 0.0


def test_tombstone_of_the_log_is_a_removal(world: World) -> None:
    value = encode(ItemUpsert(item_id="a", ts_ms=1))
    world.role.gained([0])

    world.role.handle([Record(ITEMS, 0, 0, b"a", value, 1), Record(ITEMS, 0, 1, b"a", None, 2)])

    assert "a" not in world.catalog
    assert world.role.positions() == {0: 2}
    world.role.close()


def test_the_vector_age_is_that_of_the_newest_record_whatever_is_placed_after_it(world: World) -> None:
    world.swap_in()
    now_ms = time.time_ns() // 1_000_000
    world.role.gained([0, 1])

    for partition, ts_ms in ((0, now_ms), (1, 1_000)):
        item = ItemUpsert(item_id=f"i{partition}", ts_ms=1, title="Red shoe")
        world.role.handle([Record(ITEMS, partition, 0, b"k", encode(item), ts_ms)])
        wait_until(lambda: len(world.slot.text) == partition + 1)  # noqa: B023
    world.role.close()

    age_s = world.value("freshet_item_vector_age_seconds")
    assert age_s is not None
    assert age_s < DEADLINE_S


def test_batch_read_twice_changes_nothing(world: World) -> None:
    batch = [
        Record(ITEMS, 0, 0, b"a", encode(ItemUpsert(item_id="a", ts_ms=1)), 1),
        Record(ITEMS, 0, 1, b"a", encode(ItemUpsert(item_id="a", ts_ms=2, title="new")), 1),
    ]
    world.role.gained([0])
    world.role.handle(batch)
    version = world.catalog.changed_since(0).version

    world.role.handle(batch)

    assert world.catalog.changed_since(0).version == version
    world.role.close()


def test_failure_to_place_restarts_the_role_and_the_item_is_placed_then(world: World) -> None:
    world.swap_in()
    runner = world.run()
    wait_until(lambda: runner.health()["catalog"].state == "running")
    features = world.root / "features"
    aside = world.root / "aside"
    features.rename(aside)
    features.write_text("no folder")  # the disk is in the way

    world.publish(ItemUpsert(item_id="a", ts_ms=1, title="Red shoe"))
    wait_until(lambda: runner.health()["catalog"].n_restarts >= 1)
    assert "a" not in world.slot.text
    features.unlink()
    aside.rename(features)

    wait_until(lambda: "a" in world.slot.text)
