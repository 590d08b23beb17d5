"""How far an epoch is: the losses of a training made to tell how many targets they have worked on."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from models.encoder.batches import Batch
from models.encoder.loop import TrainingLoop
from models.encoder.phases import Phase


class EpochCount:
    """Tells of every step.

    Args:
        loop: the training, which has not begun; its losses are what they were.
        n_targets: of its data.
        on_progress: told how many of the epoch's targets are done, and of about how many: what item drop takes, it
            draws.
    """

    def __init__(self, loop: TrainingLoop, n_targets: int, on_progress: Callable[[int, int], None]) -> None:
        self._on_progress = on_progress
        self._n_done, self._total = 0, n_targets
        loop.phases = tuple(replace(phase, loss=self._counted(phase, n_targets)) for phase in loop.phases)

    def restart(self) -> None:
        """Another epoch begins."""
        self._n_done = 0
        self._on_progress(0, self._total)

    def _counted(self, phase: Phase, n_targets: int) -> Callable[[Batch, torch.Generator], Tensor]:
        total = round(n_targets * (1 - phase.max_item_drop / 2))  # a user loses a share ~ U(0, max)

        def loss(batch: Batch, generator: torch.Generator) -> Tensor:
            value = phase.loss(batch, generator)
            self._total = total
            self._n_done = min(self._n_done + int(batch.whole.is_target.sum()), total)
            self._on_progress(self._n_done, total)
            return value

        return loss
