"""What a training goes through: phases of epochs, where a run stands in them, and what an epoch came to."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.encoder.batches import Batch


@dataclass(frozen=True)
class Phase:
    """Epochs with one objective.

    Args:
        name: As it is reported and kept with a checkpoint.
        n_epochs: The learning rate falls to 0 over so many.
        peak_lr: Highest learning rate.
        loss: Mean over the targets of a batch, or of a process's share of one; what it draws, it draws from the
            generator, which is the same in all processes.
        max_item_drop: Random item drop, as in `epoch_batches`.
    """

    name: str
    n_epochs: int
    peak_lr: float
    loss: Callable[[Batch, torch.Generator], Tensor]
    max_item_drop: float = 0.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `epoch` epochs of `phase` are done."""

    phase: str
    epoch: int = 0


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    Args:
        phase: Its name, as in `pretrain` or `finetune`.
        epoch: From 0.
        loss: Mean over steps.
        n_targets: Positions predicted.
        seconds: Of training, without validation.
        validation: The score that training is stopped by; None where none was asked.
    """

    phase: str
    epoch: int
    loss: float
    n_targets: int
    seconds: float
    validation: float | None = None
