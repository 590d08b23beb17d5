"""Recommenders without weights: popularity, item co-occurrence, nearest content. What any model has to beat.

The first two are the live rivals (`memory/popularity.py`, `cooccurrence.py`) over whole histories at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.evaluation.ranks import IntArray
from models.evaluation.validation import NoQuestions, ValidationSet
from models.memory.popularity import WindowedPopularity
from models.rivals.cooccurrence import CooccurrenceConfig, LiveCooccurrence
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


@dataclass(frozen=True)
class Profile:
    """What a user wants by the content of their last items.

    Attributes:
        n_last: how many of them count.
        decay: weight of one by how many came after it; 0 for the last one alone.
        image_weight: of a cosine of pictures, one of texts being 1.
    """

    n_last: int = 10
    decay: float = 0.8
    image_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values outside their range, naming value and range."""
        if self.n_last < 1:
            raise ValueError(f"n_last={self.n_last} must be at least 1")
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"decay={self.decay} must lie in [0, 1]")
        if not 0.0 <= self.image_weight < math.inf:
            raise ValueError(f"image_weight={self.image_weight} must be 0 or more")

    def wanted(self, directions: Scores, histories: Sequence[IntArray], *, text_dim: int) -> Scores:
        """(B, d) whose dot product with the directions (N, d) of items, `text_dim` numbers of text first, scores them.

        A history's newest item has weight 1.
        """
        weights = (self.decay ** np.arange(self.n_last)).astype(np.float32)
        found = np.zeros((len(histories), directions.shape[1]), dtype=np.float32)
        for row, history in enumerate(histories):
            newest_first = history[: -self.n_last - 1 : -1]
            found[row] = weights[: len(newest_first)] @ directions[newest_first]
        found[:, text_dim:] *= self.image_weight
        return found


PROFILES = tuple(
    Profile(decay=decay, image_weight=weight)
    for decay, weight in product((0.8, 0.0, 0.3, 0.5, 0.6, 0.7, 0.9), (1.0, 0.0, 0.25, 0.5, 2.0))
)
"""What content-knn chooses from; the first where it has nothing to choose by."""

N_CHOSEN_BY = 2_000


class ContentNeighbours:
    """Items whose content points where the user's last items' content points; only how to look at them is learned.

    Args:
        content: row i is item i.
    """

    name = "content-knn"

    def __init__(self, content: ContentTable) -> None:
        self._directions = content_directions(content)
        self._text_dim = content.text.shape[2]
        self.profile = PROFILES[0]

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Choose the profile by which events learned from are predicted best from those before them."""
        came = np.bincount(train.rows, minlength=len(self._directions)) > 0
        self.profile = PROFILES[0]
        try:
            questions = ValidationSet(train, candidates=came, seed=0, limit=N_CHOSEN_BY)
        except NoQuestions:
            return
        self.profile = max(PROFILES, key=lambda one: questions.ndcg_at_10(partial(self._scores, one)))

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> Scores:
        """(B, N) weighted sum of the cosines with the user's last items, over both modalities."""
        return self._scores(self.profile, histories, times_ms)

    def _scores(self, profile: Profile, histories: Sequence[IntArray], _times_ms: Sequence[IntArray]) -> Scores:
        wanted = profile.wanted(self._directions, histories, text_dim=self._text_dim)
        scores: Scores = wanted @ self._directions.T
        return scores


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
