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

from models.encoder.batches import SequenceData, epoch_batches
from models.encoder.config import TrainingConfig
from models.encoder.succession import PreviousModel
from models.encoder.training import Trainer
from tests.models.encoder.test_training import cyclic_data
from tests.models.encoder_fixtures import N_ITEMS, small_content, small_model

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
    ],
    ids=["plain", "sampled", "taught"],
)
def test_a_step_of_each_phase_moves_all_it_needs_to_where_the_weights_are(
    change: Callable[[TrainingConfig], TrainingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    from_numpy = torch.from_numpy  # not for `Marking` to see
    monkeypatch.setattr(torch, "from_numpy", lambda array: from_numpy(array).as_subclass(OnHost))
    trainer = trainer_with(change, cyclic_data())
    trainer.model.train()
    with Marking():
        for phase in trainer.phases:
            batch = next(epoch_batches(cyclic_data(), window=6, batch_size=8, rng=np.random.default_rng(0)))
            assert type(batch.rows) is OnHost
            with pytest.raises(MixedDevices):
                phase.loss(batch, torch.Generator().manual_seed(0))

            loss = trainer._step(phase, batch, torch.Generator().manual_seed(0))

            assert np.isfinite(loss)


def test_training_where_the_processor_is_named_is_training_as_it_was() -> None:
    named, plain = (Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(), CONFIG) for _ in range(2))
    named.model.to(torch.device("cpu"))

    named.run()
    plain.run()

    assert named.device == torch.device("cpu")
    states = zip(named.model.state_dict().values(), plain.model.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in states)


CONFIG = TrainingConfig(pretrain_epochs=1, finetune_epochs=1, batch_size=8, seed=5)
