"""Which model may predict what comes: one that was not trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.registry.bundle import Manifest


class Predictor(Protocol):
    """What is needed of a ranker."""

    @property
    def manifest(self) -> Manifest:
        """Where the model came from; its data offsets decide what it may score."""
        ...

    def scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], list[str]]:
        """(B, N) scores after items that came at these times, and the N item ids; -inf where an item is not live."""
        ...


class Models(Protocol):
    """What is needed of the model slot."""

    def current(self) -> Predictor | None:
        """The model that answers now."""
        ...

    @property
    def previous(self) -> Predictor | None:
        """The model before it."""
        ...


def past_its_data(models: Models, next_offsets: dict[int, int], *, log_id: str) -> Predictor | None:
    """Of the current model and the one before it, the first whose data offsets a reader has passed.

    Args:
        models: the slot.
        next_offsets: of the reader, by partition.
        log_id: of the log that it reads.
    """
    for model in (models.current(), models.previous):
        if model is not None and model.manifest.data.on(log_id).is_within(next_offsets):
            return model
    return None
