import math
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from consumers.learning.cycle import Cycle, NothingToLearn
from consumers.learning.cycle_settings import CycleSettings
from models.encoder.config import TrainingConfig
from models.encoder_scorer import load_model, write_model
from models.gate import GateConfig
from models.memory.blend import PARTS, BlendConfig
from models.registry.bundle import TOWERS
from models.registry.kept_blend import KeptBlend
from models.rivals.served_counts import ServedPopularity
from tests.consumers.cycle_fixtures import N_ITEMS, Reports, Shop, new_shop, next_plan, run
from tests.models.encoder_fixtures import are_equal

MEMORY = PARTS.index("memory")


def test_first_cycle_publishes_and_promotes_a_model_of_everything_below_its_offsets(tmp_path: Path) -> None:
    shop = new_shop(tmp_path / "data")
    shop.add_items(N_ITEMS, N_ITEMS + 2)
    reports = Reports()

    ended = run(shop.settings(), shop.plan(to=240, n_fresh=240), reports)

    pointer = shop.registry.current()
    assert pointer is not None
    assert (ended.state, ended.cycle, ended.version, ended.n_events) == ("published", 1, pointer.version, 240)
    assert ended.detail == pointer.reason == "first model, nothing to compare it with"
    assert pointer.promoted_by == "gate"
    bundle = shop.registry.open(pointer.version)
    assert bundle.manifest.parent is None
    assert bundle.manifest.data.offsets == {0: 240}
    assert bundle.manifest.data.n_events == 240
    assert bundle.manifest.seed == 1
    assert bundle.manifest.data.log_id == "log-1"
    assert sorted(bundle.item_ids()) == sorted(f"item-{n}" for n in range(N_ITEMS))  # those with events
    assert [detail.split(":")[0] for detail in reports.details if "epoch" in detail] == [
        "pretrain epoch 1/1",
        "finetune epoch 1/2",
        "finetune epoch 2/2",
    ]


def test_next_cycle_goes_on_from_its_parent_and_gives_new_items_an_id(shop: Shop, first: str) -> None:
    shop.add_items(N_ITEMS, N_ITEMS + 3)
    shop.add_events(60, n_items=N_ITEMS + 3)

    ended = run(shop.lenient(), next_plan(shop, first))

    parent_ids = shop.registry.open(first).item_ids()
    assert (ended.state, ended.cycle) == ("published", 2)
    assert ended.version == shop.registry.versions()[1]
    bundle = shop.registry.open(ended.version or "")
    assert bundle.manifest.parent == first
    assert bundle.item_ids()[: len(parent_ids)] == parent_ids
    assert sorted(bundle.item_ids()[len(parent_ids) :]) == ["item-30", "item-31", "item-32"]
    pointer = shop.registry.current()
    assert pointer is not None
    assert (pointer.version, pointer.previous) == (ended.version, first)
    assert ended.metrics["fresh_events"] > 0
    assert ended.metrics["old_events"] > 0
    assert ended.detail.startswith("fresh NDCG@10 ")
    assert not any(math.isnan(figure) for figure in ended.metrics.values())


def test_next_cycle_goes_on_from_a_pretrained_version_that_has_no_ids(shop: Shop, first: str) -> None:
    bundle = shop.registry.open(first)
    model, _ = load_model(bundle)
    model.ids = torch.nn.Parameter(torch.zeros(0, model.config.dim))
    stage = shop.registry.stage()
    write_model(stage, model, ())
    shutil.copytree(bundle.towers, stage / TOWERS)
    parent = shop.registry.publish(stage, replace(bundle.manifest, version="", files={}))
    shop.registry.promote(parent, by="operator", reason="freshet models promote")

    ended = run(shop.lenient(), next_plan(shop, parent))

    assert ended.state == "published"
    assert shop.registry.open(ended.version or "").manifest.parent == parent


def wrecked(shop: Shop) -> CycleSettings:
    """A cycle that forgets everything, before a gate that minds."""
    wild = TrainingConfig(pretrain_epochs=1, finetune_epochs=1, batch_size=16, pretrain_lr=3.0, finetune_lr=3.0)
    return replace(shop.settings(), cycle=wild, gate=GateConfig(margin=0.0, min_events=10))


def test_worse_model_is_refused_with_the_reason_and_the_pointer_stays(shop: Shop, first: str) -> None:
    ended = run(wrecked(shop), next_plan(shop, first))

    refusals = shop.registry.refusals()
    pointer = shop.registry.current()
    assert pointer is not None
    assert (ended.state, ended.version) == ("refused", None)
    assert "lost" in ended.detail
    assert "the margin is 0.0%" in ended.detail
    assert pointer.version == first
    assert shop.registry.versions() == [first]
    assert [(refusal.reason, refusal.parent) for refusal in refusals] == [(ended.detail, first)]


def test_while_promotion_is_paused_the_model_is_published_but_not_current(shop: Shop, first: str) -> None:
    second = run(shop.lenient(), next_plan(shop, first)).version or ""
    shop.registry.rollback(by="operator", reason="it recommends lamps to everybody")

    ended = run(shop.lenient(), next_plan(shop, first, number=3))

    pointer = shop.registry.current()
    assert pointer is not None
    assert ended.state == "refused"
    assert "automatic promotion is paused" in ended.detail
    assert "it recommends lamps to everybody" in ended.detail
    assert shop.registry.versions() == [first, second, ended.version]
    assert pointer.version == first
    assert [(refusal.reason, refusal.parent) for refusal in shop.registry.refusals()] == [(ended.detail, first)]


def test_what_an_operator_chose_during_the_cycle_stays_current_and_the_refusal_says_so(shop: Shop, first: str) -> None:
    second = run(shop.lenient(), next_plan(shop, first)).version or ""
    plan = next_plan(shop, second, number=3)
    shop.registry.promote(first, by="operator", reason="the new one is bad")

    ended = run(shop.lenient(), plan)

    pointer = shop.registry.current()
    assert pointer is not None
    assert (pointer.version, pointer.promoted_by) == (first, "operator")
    assert ended.state == "refused"
    assert ended.detail == (
        f"{ended.version} stays published but not current: it was judged against {second}, and {first} is current now "
        "(the new one is bad)"
    )
    assert [(refusal.reason, refusal.parent) for refusal in shop.registry.refusals()] == [(ended.detail, second)]


def test_same_plan_and_same_data_give_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    one, two = new_shop(tmp_path / "one"), new_shop(tmp_path / "two")
    two.add_events(40)  # beyond the plan

    versions = [run(shop.settings(), shop.plan(to=300)).version or "" for shop in (one, two)]

    assert are_equal(one.weights(versions[0]), two.weights(versions[1]))


@pytest.mark.parametrize("state", ["published", "refused"])
def test_ended_cycle_leaves_nothing_in_the_work_folder(shop: Shop, first: str, state: str) -> None:
    settings = shop.lenient() if state == "published" else wrecked(shop)

    ended = run(settings, next_plan(shop, first))

    assert ended.state == state
    assert list((shop.root / "trainer").iterdir()) == []
    assert list((shop.root / "registry" / "stages").iterdir()) == []


def test_events_on_unknown_items_are_left_out_and_said(tmp_path: Path) -> None:
    shop = new_shop(tmp_path / "data")
    shop.add_events(60, n_items=N_ITEMS + 5)
    reports = Reports()

    run(shop.settings(), shop.plan(), reports)

    left_out = [detail for detail in reports.details if "left out" in detail]
    assert left_out == ["15 events left out: the catalogue does not know their item"]


def test_first_cycle_without_a_known_item_publishes_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "data")
    shop.add_events(300)

    with pytest.raises(NothingToLearn, match=r"none of 300 events .*, 300 of them .*; send the items, PUT /v1/items/"):
        run(shop.settings(), shop.plan(n_fresh=300))

    assert shop.registry.versions() == []


def test_cycle_without_a_usable_fresh_event_is_refused(shop: Shop, first: str) -> None:
    plan = shop.plan(2, parent=first, to=300, n_fresh=0)

    ended = run(replace(shop.lenient(), replay_ratio=0.0), plan)

    assert (ended.state, ended.version) == ("refused", None)
    assert ended.detail == "nothing to learn: none of 0 fresh events can be used"
    assert shop.registry.refusals()[0].reason == ended.detail


def test_cycle_after_a_rival_is_refused_and_the_rival_stays(shop: Shop, first: str) -> None:
    stage = shop.registry.stage()
    ServedPopularity(np.ones(1, np.float32), ["item-0"]).save(stage)
    draft = replace(shop.registry.manifest(first), kind="popularity", version="", files={})
    rival = shop.registry.publish(stage, draft)
    shop.registry.promote(rival, by="operator", reason="an arm of an experiment")

    ended = run(shop.lenient(), next_plan(shop, rival))

    assert (ended.state, ended.version) == ("refused", None)
    assert ended.detail.startswith(f"{rival} is a popularity, and training goes on from m2se alone; promote such a ver")
    assert [(one.parent, one.reason) for one in shop.registry.refusals()] == [(rival, ended.detail)]
    pointer = shop.registry.current()
    assert pointer is not None
    assert pointer.version == rival


def test_only_the_newest_versions_stay_on_disk(shop: Shop, first: str) -> None:
    settings = replace(shop.lenient(), keep_bundles=1)
    second = run(settings, next_plan(shop, first)).version or ""

    third = run(settings, next_plan(shop, second, number=3)).version or ""

    assert shop.registry.versions() == [second, third]  # the previous one always stays


def blending(shop: Shop) -> CycleSettings:
    """Cycles that forget all they knew and pass, where feeds are blended."""
    return replace(shop.lenient(), cycle=wrecked(shop).cycle, blend=True)


def test_weights_of_the_blend_are_learned_beside_a_model_that_passes_and_kept_with_it(shop: Shop, first: str) -> None:
    ended = run(blending(shop), next_plan(shop, first))

    kept = shop.registry.manifest(ended.version or "").blend
    assert kept is not None
    assert kept.n_events == ended.metrics["fresh_events"] == 60
    assert kept.steady[MEMORY] > BlendConfig().start[MEMORY] + 0.1
    assert kept.gain_ndcg_at_10 > 0.01  # the memory knows the walk


def test_beside_a_model_that_knows_what_comes_the_weight_of_the_model_grows(shop: Shop, first: str) -> None:
    ended = run(replace(shop.lenient(), blend=True), next_plan(shop, first))

    kept = shop.registry.manifest(ended.version or "").blend
    assert kept is not None
    assert kept.steady[PARTS.index("model")] > 1.1
    assert (ended.metrics["fresh_ndcg_at_10"], kept.gain_ndcg_at_10) == (1.0, 0.0)  # there is nothing to gain


def test_where_feeds_are_not_blended_no_weights_are_learned(shop: Shop, first: str) -> None:
    ended = run(shop.lenient(), next_plan(shop, first))

    assert shop.registry.manifest(ended.version or "").blend is None


def test_first_cycle_keeps_no_weights(tmp_path: Path) -> None:
    shop = new_shop(tmp_path / "data")

    ended = run(blending(shop), shop.plan(to=240))

    assert shop.registry.manifest(ended.version or "").blend is None


def test_weights_go_on_from_those_kept_with_the_parent(shop: Shop, first: str) -> None:
    stage = shop.registry.stage()
    shutil.copytree(shop.registry.path(first), stage, dirs_exist_ok=True)
    (stage / "manifest.json").unlink()
    kept = KeptBlend((0.5, 3.0, 0.2, -5.0), (0.0, 0.1, 0.0, 0.0), 0.0, 0.0, 300)
    parent = shop.registry.publish(stage, replace(shop.registry.manifest(first), version="", files={}, blend=kept))

    ended = run(blending(shop), next_plan(shop, parent))

    learned = shop.registry.manifest(ended.version or "").blend
    assert learned is not None
    assert learned.steady == pytest.approx(kept.steady, abs=0.25)
    assert learned.steady != kept.steady


@pytest.fixture
def clicking(shop: Shop) -> Iterator[None]:
    """Events arrive one by one in another thread."""
    stopping = threading.Event()

    def click() -> None:
        while not stopping.wait(0.02):
            shop.add_events(1)

    thread = threading.Thread(target=click)
    thread.start()
    yield
    stopping.set()
    thread.join(10.0)


@pytest.mark.usefixtures("clicking")
def test_the_gate_waits_for_events_nobody_was_trained_on(shop: Shop, first: str) -> None:
    gate = GateConfig(margin=0.99, min_events=5)

    ended = run(replace(shop.settings(), gate=gate, gate_wait_s=30.0), shop.plan(2, parent=first))

    assert ended.metrics["fresh_events"] + ended.metrics["fresh_dropped"] >= 5


def test_being_told_to_stop_ends_the_wait_for_events(shop: Shop, first: str) -> None:
    told = threading.Event()
    told.set()

    ended = Cycle(replace(shop.lenient(), gate_wait_s=3_600.0), shop.plan(2, parent=first), lambda _: None).run(told)

    assert ended.state == "published"
    assert ended.metrics["fresh_events"] == 0
