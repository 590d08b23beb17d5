"""Training M2SE: contrastive pretraining, then fine-tuning with IDs. Deterministic by seed, resumable by epoch.

Each epoch seeds everything it draws from (seed, phase, epoch), so a run that resumes after an epoch goes on exactly
as if it had not stopped.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from models.content.table import ContentTable
from models.encoder import objectives
from models.encoder.batches import Batch, SequenceData, epoch_batches
from models.encoder.config import TrainingConfig
from models.encoder.m2se import M2SE, mix_complementary

Phase = Literal["pretrain", "finetune"]
PHASES: tuple[Phase, ...] = ("pretrain", "finetune")


class TrainingDiverged(RuntimeError):
    """Loss or gradient stopped being a number; the weights and the last checkpoint are still good."""


class Teacher(Protocol):
    """The previous model of a continual cycle."""

    def scores(self, batch: Batch) -> Tensor:
        """(M, N_t) scores at the batch's target positions, without gradient."""
        ...


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    Args:
        phase: `pretrain` or `finetune`.
        epoch: From 0.
        loss: Mean over steps.
        n_targets: Positions predicted.
    """

    phase: Phase
    epoch: int
    loss: float
    n_targets: int


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `epoch` epochs of `phase` are done."""

    phase: Phase = "pretrain"
    epoch: int = 0


class Trainer:
    """Trains one model on one data set.

    Args:
        model: Changed in place.
        content: The catalogue; row i is row i of `data`.
        data: Users' histories.
        config: Epochs, rates and seed.
        teacher: Previous model to stay close to, if any.
    """

    def __init__(
        self,
        model: M2SE,
        content: ContentTable,
        data: SequenceData,
        config: TrainingConfig,
        *,
        teacher: Teacher | None = None,
    ) -> None:
        self.model = model
        self.content = content
        self.data = data
        self.config = config
        self.teacher = teacher
        self.progress = Progress()
        self.optimizer = self._new_optimizer("pretrain")

    def run(self, on_epoch: Callable[[EpochReport], None] = lambda _: None) -> None:
        """Train what is left of both phases; `on_epoch` is called after each epoch, when `progress` counts it.

        Raises:
            TrainingDiverged: The loss or its gradient is not finite.
        """
        for phase in PHASES[PHASES.index(self.progress.phase) :]:
            if self.progress.phase != phase:
                self.progress = Progress(phase)
                self.optimizer = self._new_optimizer(phase)
            for epoch in range(self.progress.epoch, self._n_epochs(phase)):
                report = self._epoch(phase, epoch)
                self.progress = Progress(phase, epoch + 1)
                on_epoch(report)

    def resume(
        self, progress: Progress, weights: dict[str, Tensor], optimizer_state: dict[int, dict[str, Tensor]]
    ) -> None:
        """Go on from an earlier run's state after `progress`.

        Raises:
            RuntimeError: the weights are of another shape.
        """
        self.model.load_state_dict(weights)
        self.progress = progress
        self.optimizer = self._new_optimizer(progress.phase)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": optimizer_state, "param_groups": groups})

    def _n_epochs(self, phase: Phase) -> int:
        return self.config.pretrain_epochs if phase == "pretrain" else self.config.finetune_epochs

    def _new_optimizer(self, phase: Phase) -> torch.optim.AdamW:
        lr = self.config.pretrain_lr if phase == "pretrain" else self.config.finetune_lr
        return torch.optim.AdamW(self.model.parameters(), lr=lr, weight_decay=self.config.weight_decay)

    def _epoch(self, phase: Phase, epoch: int) -> EpochReport:
        seed = [self.config.seed, PHASES.index(phase), epoch]
        losses: list[float] = []
        n_targets = 0
        with _seeded(seed) as generator:
            self.model.train()
            batches = list(self._batches(phase, np.random.default_rng(seed)))
            for step, batch in enumerate(batches):
                self._set_rate(phase, (epoch + step / len(batches)) / self._n_epochs(phase))
                losses.append(self._step(phase, batch, generator))
                n_targets += int(batch.is_target.sum())
        self.model.eval()
        return EpochReport(phase, epoch, float(np.mean(losses)) if losses else 0.0, n_targets)

    def _batches(self, phase: Phase, rng: np.random.Generator) -> Iterator[Batch]:
        return epoch_batches(
            self.data,
            window=self.model.config.window,
            batch_size=self.config.batch_size,
            rng=rng,
            max_item_drop=self.config.max_item_drop if phase == "pretrain" else 0.0,
        )

    def _set_rate(self, phase: Phase, done: float) -> None:
        """Learning rate after a share `done` of the phase: linear rise, then linear fall."""
        peak = self.config.pretrain_lr if phase == "pretrain" else self.config.finetune_lr
        warmup = self.config.warmup_share
        rate = peak * min((done + 1e-3) / max(warmup, 1e-3), (1.0 - done) / (1.0 - warmup), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _step(self, phase: Phase, batch: Batch, generator: torch.Generator) -> float:
        loss = self._pretrain_loss(batch, generator) if phase == "pretrain" else self._finetune_loss(batch, generator)
        value = float(loss.detach())
        _check_finite("loss", value, phase)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        _check_finite("gradient", float(norm), phase)  # before the step: what is saved or published stays good
        self.optimizer.step()
        return value

    def _pretrain_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """MSNIP at every position, CMCL at one sampled position a sequence, on mixed-up streams."""
        temperature = self.model.config.temperature
        distinct, places = torch.unique(torch.cat([batch.rows, batch.targets]), return_inverse=True)
        rows, targets = places.chunk(2)
        vectors = self.model.encode_content(self.content.select(distinct))
        share = torch.rand(len(rows), 1, generator=generator) * self.config.max_mixup
        streams = mix_complementary(vectors.at(rows), share=share, generator=generator)
        states = self.model.encode_sequences(streams)  # (B, L, 2D)
        loss = objectives.msnip(
            states[batch.is_target], vectors.directions(), targets[batch.is_target], temperature=temperature
        )
        at = (torch.rand(len(rows), generator=generator) * batch.lengths).long()[:, None]
        sampled = states.gather(1, at[..., None].expand(-1, 1, states.shape[-1])).squeeze(1)  # (B, 2D)
        contrast = objectives.cmcl(sampled, batch.targets.gather(1, at).squeeze(1), temperature=temperature)
        return loss + self.config.cmcl_weight * contrast

    def _finetune_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Next item over the whole catalogue, plus the pull towards the previous model where there is one."""
        temperature = self.model.config.temperature
        vectors = self.model.encode_items(self.content, id_dropout=self.config.id_dropout, generator=generator)
        directions = vectors.directions()
        states = self.model.encode_sequences(vectors.at(batch.rows))[batch.is_target]  # (M, 2D)
        targets = batch.targets[batch.is_target]
        loss = objectives.next_item(states, directions, targets, temperature=temperature)
        if self.teacher is not None and self.config.distillation_weight:
            known = self.teacher.scores(batch)
            pull = objectives.distillation(states, directions, known, temperature=temperature)
            loss = loss + self.config.distillation_weight * pull
        return loss


def _check_finite(name: str, value: float, phase: Phase) -> None:
    if not np.isfinite(value):
        raise TrainingDiverged(f"{name} is {value} in {phase}; lower {phase}_lr or check the item features")


@contextlib.contextmanager
def _seeded(seed: list[int]) -> Iterator[torch.Generator]:
    """Seed torch's own randomness (dropout) for the block, give a generator for ours, and put everything back."""
    number = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        yield torch.Generator().manual_seed(number)
