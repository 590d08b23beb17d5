"""What a neural recommender is made of: a training loop over one model, and that model's scores as they stand.

Item numbers here are `Numbering`'s: items that own an ID first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from models.content.table import ContentTable
from models.encoder.batches import SequenceData, last_states
from models.encoder.config import Shape, TrainingConfig
from models.encoder.loop import TrainingLoop
from models.encoder.phases import Phase
from models.encoder.succession import first_model
from models.encoder.training import Trainer
from models.rivals.config import NextItemConfig
from models.rivals.nets import IdTower, NextItemNet, TextTower

ScoreBatch = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From numbers (B, L) int64, right-padded, event times (B, L) int64 in ms and lengths (B,) int64 to scores
(B, n_scored) after each last item."""


class Learner(Protocol):
    """A model in training."""

    @property
    def window(self) -> int:
        """Positions it sees at most."""
        ...

    @property
    def n_scored(self) -> int:
        """Items it can score and read: all, or those that own an ID."""
        ...

    @property
    def loop(self) -> TrainingLoop:
        """Its training."""
        ...

    def scorer(self) -> ScoreBatch:
        """Its scores with the weights as they are now; items are encoded once, here."""
        ...


class NextItemLearner:
    """GRU4Rec, SASRec or UniSRec.

    Args:
        data: histories to learn from, in numbers.
        config: what the rivals differ in.
        n_owners: items that own an ID.
        content: of all items, for a model of text alone; None for a model of IDs alone.
    """

    def __init__(
        self, data: SequenceData, config: NextItemConfig, *, n_owners: int, content: ContentTable | None = None
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            items = IdTower(n_owners, config.shape) if content is None else TextTower(content, config.shape)
            self.net = NextItemNet(items, config, n_owners=n_owners)
        self.window = config.shape.window
        self.n_scored = items.n_items
        phase = Phase("train", config.train_epochs, config.train_lr, self.net.loss)
        self.loop = TrainingLoop(self.net, data, config, window=self.window, phases=[phase])

    def scorer(self) -> ScoreBatch:
        """Dot products or cosines of the last state with every item."""
        with torch.inference_mode():
            vectors = self.net.eval().items(self.n_scored)
            scored = self.net.scored(vectors).T / self.net.temperature  # (D, n_scored)

        @torch.inference_mode()
        def scores(numbers: Tensor, ts_ms: Tensor, lengths: Tensor) -> Tensor:
            return last_states(self.net.states(vectors, numbers, ts_ms), lengths) @ scored

        return scores


class M2SELearner:
    """M2SE by its own trainer, pretraining and all.

    Args:
        data: histories to learn from, in numbers.
        content: of all items, those that own an ID first; training sees only these.
        n_owners: items that own an ID.
        shape: sizes.
        config: of both phases; without fine-tuning the model has no IDs at all.
    """

    def __init__(
        self, data: SequenceData, content: ContentTable, *, n_owners: int, shape: Shape, config: TrainingConfig
    ) -> None:
        n_ids = n_owners if config.finetune_epochs else 0
        self._content = content
        self._model = first_model(shape, content, n_ids, config.seed)
        self.window = shape.window
        self.n_scored = len(content)
        self.loop = Trainer(self._model, content.select(torch.arange(n_owners)), data, config)

    def scorer(self) -> ScoreBatch:
        """Sum of both streams' cosines with every item, with an ID or without, over the temperature."""
        model = self._model.eval()
        with torch.inference_mode():
            vectors = model.encode_items(self._content)
            scored = vectors.directions().T / model.config.temperature  # (2D, N)

        @torch.inference_mode()
        def scores(numbers: Tensor, ts_ms: Tensor, lengths: Tensor) -> Tensor:
            return last_states(model.encode_sequences(vectors.at(numbers), ts_ms), lengths) @ scored

        return scores
