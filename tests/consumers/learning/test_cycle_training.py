import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from consumers.learning.cycle_reports import CycleReports
from consumers.learning.cycle_settings import CycleSettings
from consumers.learning.cycle_training import CycleTraining
from consumers.learning.plan import Plan
from consumers.learning.training_data import TrainingData
from models.content.table import ContentTable
from models.encoder.config import StoppingConfig
from tests.consumers.cycle_fixtures import Killed, KilledAfter, Reports, Shop, new_shop, next_plan, run
from tests.models.encoder.test_training import cyclic_data
from tests.models.encoder_fixtures import N_ITEMS, are_equal, small_content


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


def test_killed_cycle_resumes_beside_new_items_however_much_there_is_to_say_of_them(shop: Shop, first: str) -> None:
    plan, reports = next_plan(shop, first), Reports()
    with pytest.raises(Killed):
        run(shop.lenient(), plan, KilledAfter("pretrain epoch 1/1"))
    shop.add_items(N_ITEMS, N_ITEMS + 2, more_text=". One. Two. Three. Four. Five.")

    run(shop.lenient(), plan, reports)

    assert reports[0].state == "resumed"


def test_what_came_after_the_plan_takes_no_room_from_what_is_learned(tmp_path: Path) -> None:
    shop, whole = new_shop(tmp_path / "data"), new_shop(tmp_path / "whole")
    plan = shop.plan()
    expected = run(whole.settings(), plan).version or ""
    shop.add_events(300)

    ended = run(replace(shop.settings(), max_events=300), plan)

    assert are_equal(shop.weights(ended.version or ""), whole.weights(expected))


def test_items_that_nobody_met_are_no_negatives(tmp_path: Path) -> None:
    sequences = cyclic_data(n_users=4)
    is_of_event = np.ones(len(sequences.rows), np.bool_)
    whole = small_content(N_ITEMS + 3)

    def trained(table: ContentTable) -> dict[str, torch.Tensor]:
        shop = Shop(tmp_path / str(len(table)))
        (shop.root / "trainer").mkdir()
        data = TrainingData(sequences, table.item_ids, N_ITEMS, is_of_event, ~is_of_event, is_of_event, n_unknown=0)
        plan = Plan(number=1, parent=None, offsets={}, n_fresh=0)
        training = CycleTraining(shop.settings(), plan, CycleReports(1, Reports().append))
        return training.run(data, sequences, table, parent=None).state_dict()

    assert are_equal(trained(whole), trained(whole.select(torch.arange(N_ITEMS))))


def test_long_epoch_says_how_far_it_is(tmp_path: Path) -> None:
    shop, sequences, reports = Shop(tmp_path / "data"), cyclic_data(n_users=40), Reports()
    (shop.root / "trainer").mkdir()
    is_of_event, n_targets = np.ones(len(sequences.rows), np.bool_), sequences.n_targets
    table = small_content(N_ITEMS)
    data = TrainingData(sequences, table.item_ids, N_ITEMS, is_of_event, ~is_of_event, is_of_event, n_unknown=0)
    plan = Plan(number=1, parent=None, offsets={}, n_fresh=0)

    CycleTraining(shop.settings(), plan, CycleReports(1, reports.append, pulse_s=0.0)).run(
        data, sequences, table, parent=None
    )

    ends = [at for at, detail in enumerate(reports.details) if "epoch 1/" in detail or "epoch 2/" in detail]
    last_steps = [reports.details[at - 1] for at in ends]
    assert len(ends) == 3  # one of pretraining, two of fine-tuning
    assert re.fullmatch(r"targets of this epoch: \d+ of \d+", last_steps[0])  # some of them were dropped
    assert last_steps[1:] == [f"targets of this epoch: {n_targets} of {n_targets}"] * 2
    assert min(ends[0], ends[1] - ends[0], ends[2] - ends[1]) > 2  # several times


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
