"""Training leaves nothing behind on the processor: whatever is made there is moved before it meets what is not.

No device is needed. What is made without naming one, in a step or in the data, is marked `OnHost`; `.to` takes the mark
off, and a product of marked and unmarked tensors is refused, as a real device would refuse it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from models.device import CPU, own_device
from models.encoder.batches import Batch, SequenceData, epoch_batches
from models.encoder.config import TimedShape, TrainingConfig
from models.encoder.succession import PreviousModel, first_model
from models.encoder.training import Trainer
from tests.models.encoder.test_training import cyclic_data
from tests.models.encoder_fixtures import N_ITEMS, small_content, small_model
from tests.models.rival_fixtures import LEARNERS, small_learner

TIMED = TimedShape(dim=8, n_layers=2, n_heads=2, inner_dim=16, window=6, n_experts=3, n_time_buckets=8)
META = torch.device("meta")  # a device without memory, which every machine has
MAKERS = {torch.arange, torch.zeros, torch.ones, torch.empty, torch.full, torch.rand, torch.randn, torch.tensor}


class MixedDevices(AssertionError):
    """A real device would have refused this."""


class OnHost(Tensor):
    """A tensor on the processor while the weights are elsewhere."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to and isinstance(args[1], torch.device):
            return args[0].as_subclass(Tensor)
        with torch._C.DisableTorchFunctionSubclass():
            tensors = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor) and one.dim()]
        marked = [isinstance(one, OnHost) for one in tensors]
        if any(marked) and not all(marked):
            raise MixedDevices(f"{func} of tensors here and there")
        return super().__torch_function__(func, types, args, kwargs or {})


class Marking(TorchFunctionMode):
    """Marks what is made without naming a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        return made.as_subclass(OnHost) if func in MAKERS and "device" not in (kwargs or {}) else made


def trainer_with(change: Callable[[TrainingConfig], TrainingConfig], data: SequenceData) -> Trainer:
    content = small_content()
    names = ("text", "text_mask", "image", "image_mask")
    content = replace(content, **{name: getattr(content, name).as_subclass(OnHost) for name in names})
    config = change(TrainingConfig(batch_size=8, seed=5))
    model, parent = small_model(n_ids=N_ITEMS), small_model(n_ids=N_ITEMS)
    with Marking():
        teacher = PreviousModel(parent, content) if config.distillation_weight else None
        return Trainer(model, content, data, config, teacher=teacher)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config,
        lambda config: replace(config, n_sampled=20),
        lambda config: replace(config, distillation_weight=0.5),
        lambda config: replace(config, distillation_weight=0.5, n_sampled=20),
        lambda config: replace(config, msnip_logq=True),
    ],
    ids=["plain", "sampled", "taught", "taught by a sample", "corrected"],
)
def test_a_step_of_each_phase_moves_all_it_needs_to_where_the_weights_are(
    change: Callable[[TrainingConfig], TrainingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    from_numpy = torch.from_numpy  # not for `Marking` to see
    monkeypatch.setattr(torch, "from_numpy", lambda array: from_numpy(array).as_subclass(OnHost))
    trainer = trainer_with(change, cyclic_data())
    trainer.model.train()
    with Marking(), trainer._moved():
        for phase in trainer.phases:
            batch = next(epoch_batches(cyclic_data(), window=6, batch_size=8, rng=np.random.default_rng(0)))
            assert type(batch.rows) is OnHost
            with pytest.raises(MixedDevices):
                phase.loss(batch, torch.Generator().manual_seed(0))

            loss = trainer._step(phase, batch, torch.Generator().manual_seed(0))

            assert np.isfinite(loss)


class Noted:
    """A teacher that has nothing to say and notes where it is told to go."""

    n_known = 0

    def __init__(self) -> None:
        self.places: list[torch.device] = []

    def factors(self, batch: Batch, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise AssertionError("it was asked")

    def move(self, device: torch.device) -> None:
        self.places.append(device)


def small_trainer(teacher: Noted) -> Trainer:
    config = TrainingConfig(pretrain_epochs=0, finetune_epochs=2, batch_size=8)
    return Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(), config, teacher=teacher)


def test_weights_what_the_optimizer_knows_content_and_teacher_go_together() -> None:
    trainer = small_trainer(teacher := Noted())
    trainer.run()  # so that the optimizer knows something

    trainer._move(META)

    states = [tensor for state in trainer.optimizer.state.values() for tensor in state.values()]
    packed = [tensor for parts in trainer._packed for tensor in (parts.parts, parts.starts, parts.counts)]
    moved = [*trainer.model.state_dict().values(), *states, *packed]
    assert states
    assert {tensor.device for tensor in moved} == {META}
    assert teacher.places == [CPU] * 4 + [META]


def test_every_epoch_goes_to_the_device_and_comes_back_even_from_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, moves = small_trainer(Noted()), []
    monkeypatch.setattr(trainer, "_move", moves.append)
    trainer.device = META
    monkeypatch.setattr(trainer, "_step", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        trainer.run()

    assert moves == [META, CPU]


@pytest.mark.parametrize(("rank", "expected"), [(None, "cuda:0"), ("1", "cuda:1"), ("5", "cuda:1")])
def test_a_process_has_a_gpu_of_its_own_where_there_are_gpus(
    rank: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)

    assert own_device() == torch.device(expected)


def test_without_a_gpu_it_is_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_RANK", "1")

    assert own_device() == CPU


needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="no GPU: torch.cuda.is_available() is false (CUDA_VISIBLE_DEVICES=0 shows one)",
)


@needs_gpu
@pytest.mark.parametrize("n_sampled", [0, 200])
def test_training_on_a_gpu_comes_to_the_loss_of_the_processor(n_sampled: int) -> None:
    config = TrainingConfig(batch_size=8, finetune_epochs=3, distillation_weight=0.5, n_sampled=n_sampled)
    losses = []

    for device in (CPU, own_device()):
        teacher = PreviousModel(small_model(n_ids=N_ITEMS, seed=9), small_content())
        model = first_model(TIMED, small_content(), N_ITEMS, 1)
        trainer = Trainer(model, small_content(), cyclic_data(), config, teacher=teacher)
        trainer.device = device
        losses.append([report.loss for report in trainer.epochs()])
        assert {tensor.device for tensor in model.state_dict().values()} == {CPU}

    assert losses[1] == pytest.approx(losses[0], rel=0.1)  # dropout draws otherwise there


@needs_gpu
@pytest.mark.parametrize("name", LEARNERS)
def test_every_neural_model_learns_on_a_gpu(name: str) -> None:
    losses = []
    for device in (CPU, own_device()):
        learner = small_learner(name, cyclic_data())
        learner.loop.device = device
        losses.append([report.loss for report in learner.loop.epochs()])
        assert learner.scorer()(torch.tensor([[3, 4]]), torch.tensor([[0, 60_000]]), torch.tensor([2])).device == CPU

    assert losses[1] == pytest.approx(losses[0], rel=0.1)
