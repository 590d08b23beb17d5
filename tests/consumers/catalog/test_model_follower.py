import time
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from consumers.catalog.catalog import Catalog
from consumers.catalog.model_follower import ModelFollower
from consumers.catalog.placement import Placement
from models.content.features import FeatureStore
from models.encoder.succession import Shape, first_model
from models.encoder_scorer import write_model
from models.registry.bundle import TOWERS, DamagedBundle, DamagedPointer
from models.registry.registry import Registry
from models.slot import ModelSlot
from models.towers.pair import Towers, save_towers
from models.towers.provided_tower import ProvidedTower
from models.towers.tfidf_tower import TfidfTextTower
from stream.events import ItemUpsert
from stream.images import ImageStore
from tests.consumers.store_support import new_metrics, value
from tests.models.ranker_fixtures import manifest
from tests.waiting import wait_until

TOWER = Towers(TfidfTextTower.fit([["red shoe"], ["blue shirt"]]), ProvidedTower(2))
SHAPE = Shape(dim=8, n_layers=1, n_heads=2, inner_dim=16, window=6, n_experts=2)


class World:
    """A catalogue of two items and a registry that models are published to."""

    def __init__(self, root: Path) -> None:
        self.registry = Registry(root / "registry")
        self.catalog, self.slot, self.metrics = Catalog(), ModelSlot(), new_metrics()
        for item_id in ("a", "b"):
            self.catalog.apply(ItemUpsert(item_id=item_id, ts_ms=1, title="red shoe"))
        store, images = FeatureStore(root / "features"), ImageStore(root / "images")
        self.placement = Placement(self.catalog, self.slot, store=store, images=images)
        self.follower = ModelFollower(self.registry, self.placement, self.slot, self.metrics)

    def publish(self, *, seed: int = 0, is_promoted: bool = True) -> str:
        content = self.placement.content_table(TOWER)
        model = first_model(SHAPE, content, 2, seed)
        stage = self.registry.stage()
        write_model(stage, model, ("a", "b"))
        save_towers(stage / TOWERS, TOWER)
        version = self.registry.publish(stage, manifest(model=model))
        if is_promoted:
            self.registry.promote(version, by="operator", reason="better")
        return version

    @property
    def version(self) -> str | None:
        ranker = self.slot.current()
        return ranker.version if ranker else None


@pytest.fixture
def world(tmp_path: Path) -> World:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    return World(tmp_path)


def test_without_a_pointer_there_is_nothing_to_follow(world: World) -> None:
    world.publish(is_promoted=False)

    assert not world.follower.step()
    assert world.slot.current() is None


def test_promoted_version_is_loaded_with_the_whole_catalogue_and_swapped_in(world: World) -> None:
    version = world.publish()

    assert world.follower.step()

    ranker = world.slot.current()
    assert ranker is not None
    assert (ranker.version, ranker.item_ids) == (version, ["a", "b"])
    assert value(world.metrics, "model_swaps_total") == 1.0
    assert value(world.metrics, "model_info", {"version": version}) == 1.0
    assert (value(world.metrics, "model_age_seconds") or 0.0) == pytest.approx(time.time() - 1_700_000_000, abs=60.0)


def test_nothing_is_swapped_while_the_pointer_stays(world: World) -> None:
    world.publish()
    world.follower.step()
    held = world.slot.current()
    world.publish(seed=1, is_promoted=False)

    assert not world.follower.step()
    assert world.slot.current() is held


def test_moved_pointer_is_followed_and_the_model_before_is_kept(world: World) -> None:
    first = world.publish()
    world.follower.step()
    second = world.publish(seed=1)

    assert world.follower.step()

    previous = world.slot.previous
    assert previous is not None
    assert (world.version, previous.version) == (second, first)


def test_rollback_is_followed(world: World) -> None:
    first = world.publish()
    world.follower.step()
    world.publish(seed=1)
    world.follower.step()

    world.registry.rollback(by="operator", reason="worse")

    assert world.follower.step()
    assert world.version == first


def test_items_that_came_before_a_swap_are_in_the_new_model(world: World) -> None:
    world.publish()
    world.follower.step()
    world.catalog.apply(ItemUpsert(item_id="c", ts_ms=2, title="blue shirt"))
    world.publish(seed=1)

    world.follower.step()

    ranker = world.slot.current()
    assert ranker is not None
    assert "c" in ranker


def test_damaged_bundle_leaves_the_current_model_answering(world: World) -> None:
    first = world.publish()
    world.follower.step()
    second = world.publish(seed=1)
    (world.registry.path(second) / "model.safetensors").write_bytes(b"half a file")

    with pytest.raises(DamagedBundle, match=r"model\.safetensors does not match its checksum"):
        world.follower.step()

    assert world.version == first


def test_damaged_pointer_leaves_the_current_model_answering(world: World) -> None:
    first = world.publish()
    world.follower.step()
    (world.registry.root / "current.json").write_bytes(b"{")

    with pytest.raises(DamagedPointer, match="freshet models promote VERSION"):
        world.follower.step()

    assert world.version == first


def test_whatever_a_version_raises_the_thread_goes_on_and_follows_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish()
    with monkeypatch.context() as patch:
        patch.setattr(world.registry, "open", _out_of_memory)
        world.follower.start()
        wait_until(lambda: world.follower.problem is not None, "the problem is reported")

    problem = world.follower.problem
    wait_until(lambda: world.version is not None, "the model is loaded")

    world.follower.stop()
    assert problem == "RuntimeError: cannot allocate 1,024 bytes"


def _out_of_memory(_: str) -> None:
    raise RuntimeError("cannot allocate 1,024 bytes")


def test_thread_reports_a_problem_once_and_takes_it_back_when_it_is_mended(world: World) -> None:
    first = world.publish()
    weights = world.registry.path(first) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"half a file")

    with capture_logs() as logs:
        world.follower.start()
        wait_until(lambda: world.follower.problem is not None, "the problem is reported")
        problem = world.follower.problem or ""
        weights.write_bytes(whole)
        wait_until(lambda: world.version == first, "the model is loaded")
        wait_until(lambda: world.follower.problem is None, "the problem is taken back")
        world.follower.stop()

    assert "model.safetensors does not match its checksum" in problem
    assert [entry["event"] for entry in logs] == ["model_not_loaded", "model_swapped"]


def test_stopping_what_never_started_is_fine(world: World) -> None:
    world.follower.stop()
