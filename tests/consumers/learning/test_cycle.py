import math
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.learning.cycle import Cycle, NothingToLearn, Plan
from consumers.learning.cycle_events import CycleEvent
from consumers.learning.cycle_settings import CycleSettings
from models.encoder.config import StoppingConfig, TrainingConfig
from models.encoder.m2se import M2SE
from models.encoder_scorer import load_model
from models.gate import GateConfig
from models.memory.blend import PARTS, BlendConfig
from models.registry.kept_blend import KeptBlend
from models.rivals.served_counts import ServedPopularity
from tests.consumers.cycle_fixtures import N_ITEMS, Reports, Shop, are_equal

NEVER = threading.Event()
MEMORY = PARTS.index("memory")


def run(settings: CycleSettings, plan: Plan, reports: list[CycleEvent] | None = None) -> CycleEvent:
    return Cycle(settings, plan, (Reports() if reports is None else reports).append).run(NEVER)


@pytest.fixture(scope="module")
def trained_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop after its first training, long enough to have learned the walk."""
    root = tmp_path_factory.mktemp("shop") / "data"
    shop = new_shop(root)
    long = TrainingConfig(pretrain_epochs=1, finetune_epochs=30, batch_size=16, finetune_lr=1e-2)
    run(replace(shop.settings(), first=long), shop.plan(n_fresh=300))
    return root


def new_shop(root: Path) -> Shop:
    shop = Shop(root)
    shop.add_items(0, N_ITEMS)
    shop.add_events(300)
    return shop


@pytest.fixture
def shop(trained_root: Path, tmp_path: Path) -> Shop:
    """The trained shop again, with 100 events the model has not seen and 60 to judge by."""
    shutil.copytree(trained_root, tmp_path / "data")
    later = Shop(tmp_path / "data")
    later.add_events(100)
    return later


@pytest.fixture
def first(shop: Shop) -> str:
    return shop.registry.versions()[0]


def next_plan(shop: Shop, parent: str, *, number: int = 2) -> Plan:
    """All events so far; what comes afterwards is to judge by."""
    plan = shop.plan(number, parent=parent, n_fresh=100)
    shop.add_events(60)
    return plan


def model_of(shop: Shop, version: str) -> M2SE:
    return load_model(shop.registry.open(version))[0]


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
    assert bundle.manifest.config["log_id"] == "log-1"
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


def test_the_towers_of_the_parent_are_kept(shop: Shop, first: str) -> None:
    ended = run(shop.lenient(), next_plan(shop, first))

    revisions = [shop.registry.manifest(version).tower_revisions for version in (first, ended.version or "")]
    assert revisions[0] == revisions[1]


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


class Killed(BaseException):
    """What a kill looks like from inside."""


class KilledAfter(Reports):
    """Takes reports until one says so."""

    def __init__(self, detail: str) -> None:
        super().__init__()
        self._detail = detail

    def append(self, event: CycleEvent) -> None:
        super().append(event)
        if event.detail.startswith(self._detail):
            raise Killed


@pytest.mark.parametrize("epoch", ["pretrain epoch 1/1", "finetune epoch 1/1"])
def test_killed_cycle_resumes_after_its_last_epoch_with_the_same_result(shop: Shop, first: str, epoch: str) -> None:
    shutil.copytree(shop.root, shop.root.with_name("whole"))
    whole = Shop(shop.root.with_name("whole"))
    expected = run(whole.lenient(), next_plan(whole, first))
    plan, reports = next_plan(shop, first), Reports()
    with pytest.raises(Killed):
        run(shop.lenient(), plan, KilledAfter(epoch))

    ended = run(shop.lenient(), plan, reports)

    phase = epoch.split(maxsplit=1)[0]
    assert reports[0].state == "resumed"
    assert reports[0].detail == f"after {phase} epoch 1"
    assert ended.detail == expected.detail
    assert are_equal(shop.weights(ended.version or ""), whole.weights(expected.version or ""))


def stopped(shop: Shop) -> CycleSettings:
    """A first training that ten held-out events stop."""
    stopping = StoppingConfig(max_epochs=30, patience=2, max_share=0.5, min_held_out=10)
    return replace(shop.settings(), stopping=stopping)


def test_first_training_is_stopped_by_events_held_out_of_it_and_says_which_epoch_stays(tmp_path: Path) -> None:
    shop, reports = new_shop(tmp_path / "data"), Reports()

    ended = run(stopped(shop), shop.plan(), reports)

    epochs = [detail for detail in reports.details if "epoch" in detail]
    scores = [float(detail.rsplit(maxsplit=1)[1]) for detail in epochs[1:-1]]
    best = scores.index(max(scores)) + 1
    assert ended.state == "published"
    assert re.fullmatch(r"pretrain epoch 1/1: 247 targets, loss \d+\.\d{3}", epochs[0])
    assert re.fullmatch(r"finetune epoch 1/30: 270 targets, loss \d+\.\d{3}, validation NDCG@10 0\.\d{4}", epochs[1])
    assert len(scores) == best + 2 < 30
    assert epochs[-1] == f"kept finetune epoch {best}, validation NDCG@10 {max(scores):.4f}"


@pytest.mark.parametrize("epoch", ["pretrain epoch 1", "finetune epoch 1", "finetune epoch 3", "kept finetune"])
def test_killed_first_training_resumes_with_the_best_epoch_it_knew(tmp_path: Path, epoch: str) -> None:
    shop, whole = new_shop(tmp_path / "data"), new_shop(tmp_path / "whole")
    expected, reports = Reports(), Reports()
    version = run(stopped(whole), whole.plan(), expected).version or ""
    with pytest.raises(Killed):
        run(stopped(shop), shop.plan(), KilledAfter(epoch))

    ended = run(stopped(shop), shop.plan(), reports)

    assert "resumed" in reports.states
    assert reports.details[-1] == expected.details[-1]
    assert are_equal(shop.weights(ended.version or ""), whole.weights(version))


def test_first_training_with_too_few_events_to_hold_out_trains_the_fixed_number_of_epochs(tmp_path: Path) -> None:
    shop, reports = new_shop(tmp_path / "data"), Reports()

    run(replace(stopped(shop), holdout_share=0.9), shop.plan(), reports)  # for the gate, so they may lose nothing

    epochs = [detail for detail in reports.details if detail.startswith("finetune")]
    assert [epoch.split(",")[0] for epoch in epochs] == [
        "finetune epoch 1/2: 280 targets",
        "finetune epoch 2/2: 280 targets",
    ]


def test_continual_cycle_trains_its_epochs_and_holds_nothing_out(shop: Shop, first: str) -> None:
    reports = Reports()

    run(replace(shop.lenient(), stopping=stopped(shop).stopping), next_plan(shop, first), reports)

    assert [detail.split(":")[0] for detail in reports.details if "epoch" in detail] == [
        "pretrain epoch 1/1",
        "finetune epoch 1/1",
    ]
    assert not [detail for detail in reports.details if "validation" in detail]


def test_killed_first_cycle_takes_the_towers_it_had_built(tmp_path: Path) -> None:
    shop = new_shop(tmp_path / "data")
    with pytest.raises(Killed):
        run(shop.settings(), shop.plan(), KilledAfter("pretrain epoch 1"))
    reports = Reports()

    run(shop.settings(), shop.plan(), reports)

    assert not [detail for detail in reports.details if detail.startswith("preparing the content towers")]
    assert list((shop.root / "trainer").iterdir()) == []


def test_towers_damaged_by_a_crash_are_built_again(tmp_path: Path) -> None:
    shop = new_shop(tmp_path / "data")
    with pytest.raises(Killed):
        run(shop.settings(), shop.plan(), KilledAfter("pretrain epoch 1"))
    (shop.root / "trainer" / "towers" / "text" / "tower.json").write_bytes(b"")
    reports = Reports()

    ended = run(shop.settings(), shop.plan(), reports)

    assert ended.state == "published"
    assert reports.details[0].startswith("building the towers anew: ")
    assert reports.details[1] == "preparing the content towers for 30 items"


def test_checkpoint_of_another_plan_is_never_resumed_from(shop: Shop, first: str) -> None:
    shutil.copytree(shop.root, shop.root.with_name("whole"))
    whole = Shop(shop.root.with_name("whole"))
    whole.add_events(40)
    expected = run(whole.lenient(), next_plan(whole, first))
    with pytest.raises(Killed):
        run(shop.lenient(), shop.plan(2, parent=first), KilledAfter("finetune epoch 1"))
    shop.add_events(40)
    reports = Reports()

    ended = run(shop.lenient(), next_plan(shop, first), reports)

    assert "resumed" not in reports.states
    assert are_equal(shop.weights(ended.version or ""), whole.weights(expected.version or ""))
    assert list((shop.root / "trainer").iterdir()) == []


def test_checkpoints_of_failed_plans_do_not_pile_up(shop: Shop, first: str) -> None:
    with pytest.raises(Killed):
        run(shop.lenient(), shop.plan(2, parent=first), KilledAfter("finetune epoch 1"))
    shop.add_events(40)

    with pytest.raises(Killed):
        run(shop.lenient(), next_plan(shop, first), KilledAfter("finetune epoch 1"))

    assert len(list((shop.root / "trainer").iterdir())) == 1


def test_damaged_checkpoint_starts_the_cycle_over_and_says_so(shop: Shop, first: str) -> None:
    plan, reports = next_plan(shop, first), Reports()
    with pytest.raises(Killed):
        run(shop.lenient(), plan, KilledAfter("pretrain epoch 1"))
    next(iter((shop.root / "trainer").glob("*.safetensors"))).write_bytes(b"half a file")

    ended = run(shop.lenient(), plan, reports)

    assert ended.state == "published"
    assert reports.details[0].startswith("starting this cycle over: checkpoint ")


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
