"""Training M2SE: contrastive pretraining, then fine-tuning with IDs; the loop itself is `loop.py`."""

import zlib
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.content.table import ContentTable
from models.encoder import objectives
from models.encoder.batches import Batch, SequenceData
from models.encoder.config import TrainingConfig
from models.encoder.loop import TrainingLoop
from models.encoder.m2se import M2SE, mix_complementary
from models.encoder.parts import PackedContent, filled
from models.encoder.phases import Phase
from models.encoder.sampling import ItemSample, ItemSampler, log_inclusion
from models.encoder.softmax import gradient_dtype


class Teacher(Protocol):
    """The previous model of a continual cycle."""

    @property
    def n_known(self) -> int:
        """N_t, how many of the catalogue's first items it can score."""
        ...

    def factors(self, batch: Batch, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(M, E) at the batch's target positions and (N_t, E), or (n, E) of some items: scores are their product."""
        ...

    def move(self, device: torch.device) -> None:
        """Go where batches are."""
        ...


class Trainer(TrainingLoop):
    """Trains one M2SE on one data set.

    Args:
        model: Changed in place.
        content: The items to tell apart; row i is row i of `data`. Fine-tuning holds each against all others, so one
            that no event is of would only be pushed away.
        data: Users' histories.
        config: Epochs, rates and seed.
        teacher: Previous model to stay close to, if any.
    """

    model: M2SE

    def __init__(
        self,
        model: M2SE,
        content: ContentTable,
        data: SequenceData,
        config: TrainingConfig,
        *,
        teacher: Teacher | None = None,
    ) -> None:
        self.content = content
        self._packed = PackedContent.of(content)
        counts = torch.from_numpy(np.bincount(data.rows[data.is_target], minlength=len(content)))
        self._shares = counts.double() / counts.sum().clamp(min=1)
        self._sampler = ItemSampler.where_needed(counts, config.n_sampled)
        self.config = config
        self.teacher = teacher
        pretrain = Phase(
            "pretrain", config.pretrain_epochs, config.pretrain_lr, self._pretrain_loss, config.max_item_drop
        )
        finetune = Phase("finetune", config.finetune_epochs, config.finetune_lr, self._finetune_loss)
        super().__init__(model, data, config, window=model.config.window, phases=(pretrain, finetune))

    @cached_property
    def origin(self) -> int:
        """The model's settings and content, too, however long the table's rows are filled up."""
        seen = zlib.crc32(repr(self.model.config).encode(), super().origin)
        for modality in self._packed:
            for tensor in (modality.counts, modality.parts):
                seen = zlib.crc32(tensor.cpu().numpy().tobytes(), seen)
        return seen

    def _move(self, device: torch.device) -> None:
        """Content and teacher, too."""
        super()._move(device)
        self._packed, self._shares = self._packed.to(device), self._shares.to(device)
        if self.teacher is not None:
            self.teacher.move(device)

    def _pretrain_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """MSNIP at every position, CMCL at one sampled position a sequence, on mixed-up streams."""
        temperature = self.model.config.temperature
        whole = batch.whole
        candidates = torch.unique(whole.targets[whole.is_target])  # (U,) ascending
        targets = torch.searchsorted(candidates, batch.targets[batch.is_target])  # (M,)
        inclusion = self._log_inclusion(candidates, int(whole.is_target.sum())) if self.config.msnip_logq else None
        distinct, places = torch.unique(torch.cat([batch.rows.flatten(), candidates]), return_inverse=True)
        rows, candidates = places[: batch.rows.numel()].view_as(batch.rows), places[batch.rows.numel() :]
        content = self._packed.select(filled(distinct, len(self.content)))
        with self._narrow():
            vectors = self.model.encode_content(content)
        vectors = vectors.to(torch.float32)
        share = torch.rand(len(whole.rows), 1, generator=generator).to(rows.device) * self.config.max_mixup
        draws = torch.rand(whole.rows.shape, generator=generator).to(rows.device)
        streams = mix_complementary(
            vectors.at(rows), share=share[batch.own], has_both=content.has_both()[rows], draws=draws[batch.own]
        )
        states = self.model.encode_sequences(streams, batch.ts_ms)  # (B, L, 2D)
        items = vectors.at(candidates).directions()
        loss = objectives.msnip(
            states[batch.is_target], items, targets, temperature=temperature, log_inclusion=inclusion
        )
        return self.config.msnip_weight * loss + self.config.cmcl_weight * self._contrast(states, batch, generator)

    def _log_inclusion(self, items: Tensor, n_targets: int) -> Tensor:
        """(U,) for items that a batch of so many targets held."""
        return log_inclusion(self._shares[items], n_targets).float()

    def _narrow(self) -> torch.autocast:
        """Adapt content with products in bfloat16 in training, where that is faster."""
        dtype = gradient_dtype(self.model.sequence.positions)
        is_narrow = self.model.training and dtype == torch.bfloat16
        return torch.autocast("cpu", torch.bfloat16, enabled=is_narrow)

    def _contrast(self, states: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """CMCL at one sampled position of each sequence of the whole batch, `states` (b, L, 2D) being of a share."""
        whole = batch.whole
        at = (torch.rand(len(whole.rows), generator=generator).to(states.device) * whole.lengths).long()[:, None]
        sampled = states.gather(1, at[batch.own, :, None].expand(-1, 1, states.shape[-1])).squeeze(1)  # (b, 2D)
        targets = whole.targets.gather(1, at).squeeze(1)
        together = self.processes.gather(sampled, batch)  # (B, 2D)
        return objectives.cmcl(together, targets, temperature=self.model.config.temperature)

    def _finetune_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Next item over the whole catalogue or a sample, plus the pull towards the previous model."""
        temperature = self.model.config.temperature
        if self._sampler is not None:
            return self._sampled_loss(batch, self._sampler.draw(generator).to(batch.rows.device), generator)
        with self._narrow():
            vectors = self.model.encode_items(self._packed, id_dropout=self.config.id_dropout, generator=generator)
        vectors = vectors.to(torch.float32)
        directions = vectors.directions()
        states = self.model.encode_sequences(vectors.at(batch.rows), batch.ts_ms)[batch.is_target]  # (M, 2D)
        targets = batch.targets[batch.is_target]
        loss = objectives.next_item(states, directions, targets, temperature=temperature)
        return loss + self._pull(states, directions, batch)

    def _sampled_loss(self, batch: Batch, sample: ItemSample, generator: torch.Generator) -> Tensor:
        """The same against a sample; only items of the batch and of the sample are adapted."""
        candidates, targets = sample.beside(batch.targets[batch.is_target])
        needed, places = torch.unique(torch.cat([batch.rows.flatten(), candidates.rows]), return_inverse=True)
        rows, at = places.split([batch.rows.numel(), len(candidates.rows)])
        needed = filled(needed, len(self.content))
        with self._narrow():
            vectors = self.model.encode_items(
                self._packed.select(needed), rows=needed, id_dropout=self.config.id_dropout, generator=generator
            )
        vectors = vectors.to(torch.float32)
        items = vectors.at(rows.view_as(batch.rows))
        states = self.model.encode_sequences(items, batch.ts_ms)[batch.is_target]  # (M, 2D)
        directions, temperature = vectors.at(at).directions(), self.model.config.temperature
        inclusion = candidates.log_inclusion
        loss = objectives.next_item(states, directions, targets, temperature=temperature, log_inclusion=inclusion)
        drawn = directions[torch.searchsorted(candidates.rows, sample.rows)]
        return loss + self._pull(states, drawn, batch, sample)

    def _pull(self, states: Tensor, items: Tensor, batch: Batch, sample: ItemSample | None = None) -> Tensor:
        """Towards what the previous model says of `items` (N, 2D), the catalogue's or the sample's; 0 without any."""
        weight = self.config.distillation_weight
        if self.teacher is None or not weight:
            return states.new_zeros(())
        known, log_inclusion, n_known = None, None, self.teacher.n_known
        if sample is not None:
            n_known = int((sample.rows < n_known).sum())  # they ascend
            known, log_inclusion = sample.rows[:n_known], sample.log_inclusion[:n_known]
        if not n_known:
            return states.new_zeros(())
        teacher, temperature = self.teacher.factors(batch, known), self.model.config.temperature
        return weight * objectives.distillation(
            states, items, teacher, temperature=temperature, log_inclusion=log_inclusion
        )
