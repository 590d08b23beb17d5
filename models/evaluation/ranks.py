"""Where a target stands in a full ranking, and what Recall@k, NDCG@k and MRR it is worth.

Ties: the target stands at a uniformly random place among the candidates of its score. Its rank is their
expected rank, and every metric is its exact expectation over that order, not the metric at the expected rank.
Pure numpy; `models/evaluation/report.py` sums it up over events and users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NOT_A_CANDIDATE = -1


@dataclass(frozen=True)
class Excluded:
    """Candidates to take out, per row; rows of any length.

    Attributes:
        rows: (E,) which row each item is taken out of, ascending.
        items: (E,) candidate numbers, distinct inside a row.
        n_rows: how many rows there are, B.
    """

    rows: IntArray
    items: IntArray
    n_rows: int

    @classmethod
    def of(cls, item_rows: Sequence[Sequence[int] | IntArray]) -> Excluded:
        """From one sequence of candidate numbers a row; repeated items count once.

        >>> Excluded.of([[3, 1, 3], []]).items.tolist()
        [1, 3]
        """
        if not item_rows:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), 0)
        arrays = [np.asarray(row, dtype=np.int64) for row in item_rows]
        rows = np.repeat(np.arange(len(arrays)), [array.size for array in arrays])
        items = np.concatenate(arrays)
        width = int(items.max(initial=0)) + 1
        keys = np.sort(rows * width + items)  # np.unique hashes, several times slower here
        keys = keys[np.diff(keys, prepend=-1) > 0]
        distinct_rows = keys // width
        return cls(distinct_rows, keys - distinct_rows * width, len(arrays))


@dataclass(frozen=True)
class RankCounts:
    """Where each target stands: how many candidates score higher, how many the same.

    Attributes:
        greater: (B,) candidates with a higher score.
        equal: (B,) candidates with the target's score, the target included; 0 where the target was dropped.
    """

    greater: IntArray
    equal: IntArray

    @property
    def is_ranked(self) -> BoolArray:
        """(B,) False where the target was dropped."""
        return self.equal > 0

    def ranked(self) -> RankCounts:
        """Only the targets that were not dropped."""
        return RankCounts(self.greater[self.is_ranked], self.equal[self.is_ranked])

    def expected_ranks(self) -> NDArray[np.float64]:
        """(B,) 1-based expected rank; NaN where dropped.

        >>> rank_counts(np.array([[3.0, 1.0, 1.0, 0.0]]), np.array([2])).expected_ranks().tolist()
        [2.5]
        """
        return np.where(self.is_ranked, self.greater + (self.equal + 1) / 2, np.nan)

    def recall_at(self, k: int) -> NDArray[np.float64]:
        """(B,) chance that the target is among the first k; NaN where dropped."""
        return self._mean_over_ties(np.arange(k + 1, dtype=np.float64))

    def ndcg_at(self, k: int) -> NDArray[np.float64]:
        """(B,) expected 1 / log2(1 + rank) if the rank is at most k, else 0; NaN where dropped.

        With one relevant item the ideal gain is 1 (Järvelin & Kekäläinen 2002).
        """
        return self._mean_over_ties(_cumulative(1 / np.log2(np.arange(2, k + 2))))

    def reciprocal_ranks(self) -> NDArray[np.float64]:
        """(B,) expected 1 / rank, over the full ranking; NaN where dropped."""
        last = int((self.greater + self.equal).max(initial=0))
        return self._mean_over_ties(_cumulative(1 / np.arange(1, last + 1)))

    def reciprocal_ranks_at(self, k: int) -> NDArray[np.float64]:
        """(B,) expected 1 / rank if the rank is at most k, else 0; NaN where dropped."""
        return self._mean_over_ties(_cumulative(1 / np.arange(1, k + 1)))

    def _mean_over_ties(self, gain_up_to: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean gain of the ranks greater + 1 ... greater + equal, from gains summed up to each rank."""
        last = len(gain_up_to) - 1
        gain = gain_up_to[np.minimum(self.greater + self.equal, last)] - gain_up_to[np.minimum(self.greater, last)]
        means = np.full(self.greater.shape, np.nan)
        np.divide(gain, self.equal, out=means, where=self.is_ranked)
        return means


def rank_counts(scores: FloatArray, targets: IntArray) -> RankCounts:
    """Count the candidates before and beside each target, nothing excluded.

    Args:
        scores: (B, N) float32 or float64; -inf for an item that is no candidate.
        targets: (B,) candidate numbers; `NOT_A_CANDIDATE` stands behind all candidates, a miss at any k.

    Raises:
        ValueError: shapes differ, a score is NaN, or a target is out of range or itself no candidate.
    """
    values = _target_scores(scores, targets)
    greater = np.empty(len(targets), dtype=np.int64)
    equal = np.empty(len(targets), dtype=np.int64)
    for row, value in enumerate(values):  # a row at a time: counting along an axis is several times slower
        greater[row] = np.count_nonzero(scores[row] > value)
        equal[row] = np.count_nonzero(scores[row] == value)
    missing = targets == NOT_A_CANDIDATE
    greater[missing] = np.count_nonzero(scores[missing] > -np.inf, axis=1)
    equal[missing] = 1
    return RankCounts(greater, equal)


def without(counts: RankCounts, scores: FloatArray, targets: IntArray, *, excluded: Excluded) -> RankCounts:
    """The same counts with some candidates taken out; a target that is one of them is dropped.

    Raises:
        ValueError: `excluded` has another number of rows, or an item that is out of range.
    """
    n_rows, n_items = scores.shape
    if excluded.n_rows != n_rows or (excluded.items.size and excluded.items.max() >= n_items):
        raise ValueError(f"excluded: {excluded.n_rows} rows for scores {scores.shape}, or an item out of range")
    rows, items = excluded.rows, excluded.items
    taken = scores[rows, items]
    values = np.where(targets < 0, -np.inf, scores[np.arange(n_rows), targets])[rows]
    greater = counts.greater - np.bincount(rows[taken > values], minlength=n_rows)
    is_tied = (taken == values) & (targets[rows] != NOT_A_CANDIDATE)
    equal = counts.equal - np.bincount(rows[is_tied], minlength=n_rows)
    is_dropped = np.bincount(rows[items == targets[rows]], minlength=n_rows) > 0
    return RankCounts(greater, np.where(is_dropped, 0, equal))


def _target_scores(scores: FloatArray, targets: IntArray) -> FloatArray:
    if targets.ndim != 1 or scores.shape[:-1] != targets.shape:
        raise ValueError(f"scores {scores.shape} must be (B, N) and targets {targets.shape} (B,)")
    n_items = scores.shape[1]
    if targets.size and (targets.min() < NOT_A_CANDIDATE or targets.max() >= n_items):
        raise ValueError(f"targets {targets.min()}..{targets.max()} must lie in 0..{n_items - 1}, or be -1")
    if scores.size and np.isnan(scores.min()):
        raise ValueError("scores hold NaN; a ranking by NaN means nothing, look for a diverged model")
    values: FloatArray = scores[np.arange(len(targets)), np.maximum(targets, 0)] if n_items else np.zeros(0)
    if np.isneginf(values[targets >= 0]).any():
        raise ValueError("a target scores -inf, so it is no candidate; pass it as -1 (NOT_A_CANDIDATE)")
    return values


def _cumulative(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(gains)])
