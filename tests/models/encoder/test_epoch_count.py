from dataclasses import replace

import numpy as np
import torch

from models.encoder.batches import epoch_batches
from models.encoder.config import TrainingConfig
from models.encoder.epoch_count import EpochCount
from models.encoder.training import Trainer
from tests.models.encoder.test_training import cyclic_data
from tests.models.encoder_fixtures import N_ITEMS, small_content, small_model


def trainer(*, max_item_drop: float = 0.0, pretrain_epochs: int = 1) -> Trainer:
    config = TrainingConfig(
        pretrain_epochs=pretrain_epochs, finetune_epochs=1, batch_size=16, max_item_drop=max_item_drop
    )
    return Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(), config)


def told(trainer: Trainer) -> list[tuple[int, int]]:
    """Everything that is told over all epochs of 240 targets."""
    seen: list[tuple[int, int]] = []
    count = EpochCount(trainer, cyclic_data().n_targets, lambda done, total: seen.append((done, total)))
    trainer.run(lambda _: count.restart())
    return seen


def test_every_step_tells_how_many_targets_of_the_epoch_are_done() -> None:
    seen = told(trainer())

    done = [n_done for n_done, _ in seen]
    first, second = done[: done.index(0)], done[done.index(0) + 1 : -1]
    for epoch in (first, second):
        assert len(epoch) > 2
        assert epoch == sorted(set(epoch))
        assert (min(epoch) > 0, max(epoch)) == (True, 240)
    assert seen[-1] == (0, 240)
    assert {total for _, total in seen} == {240}


def test_targets_that_item_drop_takes_are_not_waited_for() -> None:
    seen = told(trainer(max_item_drop=0.5, pretrain_epochs=6))

    assert {total for _, total in seen} == {180, 240}  # a quarter goes, and only in pretraining
    assert all(done <= total for done, total in seen)  # however few it takes


def test_share_of_a_batch_counts_as_the_batch_that_all_processes_work_on() -> None:
    loop, seen = trainer(), list[int]()
    loop.phases = tuple(replace(phase, loss=lambda _batch, _generator: torch.zeros(())) for phase in loop.phases)
    EpochCount(loop, 240, lambda done, _: seen.append(done))
    batch = next(epoch_batches(cyclic_data(), window=6, batch_size=16, rng=np.random.default_rng(0)))

    loop.phases[0].loss(batch.share(slice(0, 8)), torch.Generator())

    assert seen == [int(batch.is_target.sum())]


def test_weights_are_the_same_whether_anybody_counts() -> None:
    counted, alone = trainer(), trainer()

    told(counted)
    alone.run()

    for name, weights in alone.model.state_dict().items():
        assert torch.equal(weights, counted.model.state_dict()[name])
