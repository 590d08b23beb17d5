"""Recommenders without weights: popularity, item co-occurrence, nearest content. What any model has to beat.

The first two are the live rivals (`popularity.py`, `cooccurrence.py`) over whole histories at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.evaluation.ranks import IntArray
from models.rivals.cooccurrence import CooccurrenceConfig, LiveCooccurrence
from models.rivals.popularity import WindowedPopularity
from models.rivals.recommender import FitReport

Scores = NDArray[np.float32]

MAX_PAIRED_ITEMS = 16_384  # 1 GiB of pairs; of a larger catalogue the rarest items have none


class Popularity:
    """How often each item came in training; the same for everybody."""

    name = "popularity"

    def __init__(self, n_items: int) -> None:
        self._scores = np.zeros(n_items, dtype=np.float32)

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Count; there is nothing to choose on validation."""
        counts = WindowedPopularity(window=max(len(train.rows), 1))
        for item in train.rows.tolist():
            counts.update([], item)
        self._scores = counts.scores([], len(self._scores))

    @property
    def counts(self) -> Scores:
        """(N,) how often each item came."""
        return self._scores

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> Scores:
        """(B, N) counts."""
        return np.tile(self._scores, (len(histories), 1))


class Cooccurrence:
    """What came close to the user's last items in everybody's training histories.

    Args:
        n_items: of the catalogue.
        config: how far back pairs go and how fast they fade.
    """

    name = "cooccurrence"

    def __init__(self, n_items: int, config: CooccurrenceConfig) -> None:
        self._config = config
        self._pairs = LiveCooccurrence(config)
        self._number_of = np.arange(n_items)

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Count pairs; the most frequent items are numbered first, so that `max_items` leaves out the rarest."""
        n_items = len(self._number_of)
        by_count = np.argsort(-np.bincount(train.rows, minlength=n_items), kind="stable")
        self._number_of = np.argsort(by_count)
        self._pairs = LiveCooccurrence(self._config)
        self._pairs.learn(self._number_of[train.rows], train.starts)

    @property
    def pairs(self) -> LiveCooccurrence:
        """What was counted, under the numbers of `numbered`."""
        return self._pairs

    @property
    def numbered(self) -> IntArray:
        """(N,) the catalogue row of each number."""
        rows: IntArray = np.argsort(self._number_of)
        return rows

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> Scores:
        """(B, N); 0 for what never came near the user's last items."""
        n_items = len(self._number_of)
        scores = np.empty((len(histories), n_items), dtype=np.float32)
        for row, history in enumerate(histories):
            last = self._number_of[history[-self._config.n_last :]].tolist()
            scores[row] = self._pairs.scores(last, n_items)[self._number_of]
        return scores


class ContentNeighbours:
    """Items whose content points where the user's last items' content points; needs no training at all.

    Args:
        content: row i is item i.
        n_last: how many of the user's last items count.
        decay: weight of a last item by how long ago it came.
    """

    name = "content-knn"

    def __init__(self, content: ContentTable, *, n_last: int = 10, decay: float = 0.8) -> None:
        self._directions = content_directions(content)
        self.n_last, self.decay = n_last, decay

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Nothing to learn."""

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> Scores:
        """(B, N) weighted sum of the cosines with the user's last items, over both modalities."""
        wanted = profiles(self._directions, histories, n_last=self.n_last, decay=self.decay)
        scores: Scores = wanted @ self._directions.T
        return scores


def profiles(directions: Scores, histories: Sequence[IntArray], *, n_last: int, decay: float) -> Scores:
    """(B, d) weighted sum of the directions (N, d) of each history's last items, the newest with weight 1."""
    weights = (decay ** np.arange(n_last)).astype(np.float32)
    found = np.zeros((len(histories), directions.shape[1]), dtype=np.float32)
    for row, history in enumerate(histories):
        newest_first = history[: -n_last - 1 : -1]
        found[row] = weights[: len(newest_first)] @ directions[newest_first]
    return found


def content_directions(content: ContentTable) -> Scores:
    """(N, d_t + d_v): each modality's mean part with length 1, side by side; zeros where it is missing.

    A dot product of two rows is the sum of the cosines of the modalities both items have.
    """
    text = functional.normalize(mean_part(content.text, content.text_mask), dim=-1)
    image = functional.normalize(mean_part(content.image, content.image_mask), dim=-1)
    return np.concatenate([text.numpy(), image.numpy()], axis=1).astype(np.float32)


def mean_part(parts: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real parts.

    Args:
        parts: (N, S, d).
        mask: (N, S) bool, True for a real part.

    Returns:
        (N, d) float32; zeros for an item without parts.
    """
    total = (parts.float() * mask[..., None]).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)
