"""The fast memory alone, fed a training set as the stream would have brought it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.encoder.batches import SequenceData
from models.evaluation.ranks import IntArray
from models.memory.transitions import MemoryConfig, Transitions
from models.rivals.recommender import FitReport


class MemoryRival:
    """Transitions learned event by event, all users' events in the order of time; they stand where training ends.

    Args:
        n_items: of the catalogue.
        config: how far back pairs go and how fast they fade.
    """

    name = "memory"

    def __init__(self, n_items: int, config: MemoryConfig) -> None:
        self._n_items, self._config = n_items, config
        self._transitions = Transitions(config)

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Learn every event once; there is nothing to choose on validation."""
        self._transitions = Transitions(self._config)
        first = np.repeat(train.starts[:-1], np.diff(train.starts))  # (n_events,) where the event's user starts
        for at in np.argsort(train.ts_ms, kind="stable").tolist():
            history = train.rows[max(int(first[at]), at - self._config.n_last) : at]
            self._transitions.update(history.tolist(), int(train.rows[at]), int(train.ts_ms[at]))

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> NDArray[np.float32]:
        """(B, N); 0 for what never came near the user's last items."""
        scores = np.empty((len(histories), self._n_items), dtype=np.float32)
        for row, history in enumerate(histories):
            scores[row] = self._transitions.scores(history[-self._config.n_last :].tolist(), self._n_items)
        return scores
