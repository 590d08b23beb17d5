"""Hyper-parameters of the neural rivals, one form for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.encoder.config import Shape, StepConfig, check_positive


@dataclass(frozen=True, kw_only=True)
class NextItemConfig(StepConfig):
    """How a rival with one vector an item is shaped and trained.

    Args:
        encoder: Of the sequence: `transformer` or `gru`.
        scores: `cosine` over the shape's temperature, or plain `dot` products.
        train_epochs: Passes over the data at most; the learning rate falls to 0 over so many.
        train_lr: Peak learning rate.
        shape: Sizes; a GRU is `inner_dim` wide, and only the text rival has experts.
    """

    encoder: Literal["transformer", "gru"] = "transformer"
    scores: Literal["cosine", "dot"] = "cosine"
    train_epochs: int = 20
    train_lr: float = 4e-3
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self) -> None:
        """Refuse values outside their range, naming value and range."""
        super().__post_init__()
        check_positive(self, "train_lr")
        if self.train_epochs < 1:
            raise ValueError(f"train_epochs={self.train_epochs} must be at least 1")
