"""A recommender that scores what it is told, whatever it is taught."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.encoder.batches import SequenceData
from models.evaluation.ranks import IntArray
from models.rivals.recommender import FitReport


class FixedScores:
    name = "fixed"

    def __init__(self, scores: Sequence[float]) -> None:
        self._scores = np.array(scores, dtype=np.float32)
        self.asked: list[list[int]] = []

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        pass

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> NDArray[np.float32]:
        self.asked += [history.tolist() for history in histories]
        return np.tile(self._scores, (len(histories), 1))
