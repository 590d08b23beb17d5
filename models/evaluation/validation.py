"""Filtered NDCG@10 of the validation events, after every epoch: what training stops by.

Full ranking over the items that own an ID; a user's same-second events are each asked from the state before the
block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.encoder.batches import SequenceData
from models.evaluation.ranks import BoolArray, Excluded, IntArray, rank_counts, without
from models.examples import question_spans, taken_out

MAX_QUESTIONS = 10_000
BATCH_SIZE = 256

ScoreFunction = Callable[[Sequence[IntArray], Sequence[IntArray]], NDArray[np.float32]]


class NoQuestions(ValueError):
    """Validation events say nothing about a model; more data, or other, is needed."""


class ValidationSet:
    """Questions drawn once from the validation events.

    Args:
        data: whole histories; `is_target` marks the validation events.
        candidates: (N,) items to rank; events of others are no questions.
        seed: of the draw, where there are more than `limit`.
        limit: questions at most.

    Raises:
        NoQuestions: no event can be asked, or each is of an item that its user had met.
    """

    def __init__(self, data: SequenceData, *, candidates: BoolArray, seed: int, limit: int = MAX_QUESTIONS) -> None:
        asked = candidates[data.rows]
        spans = question_spans(data, asked=asked, limit=limit, seed=seed)
        if not len(spans):
            raise NoQuestions(
                f"none of {int(data.is_target.sum())} validation events can be asked: each needs an earlier second in "
                "its user's history and an item that owns an ID"
            )
        self._targets = data.rows[spans[:, 2]]
        self._histories = [data.rows[begin:end] for begin, end, _ in spans.tolist()]
        self._seen = taken_out(data, spans)
        if all(target in seen for target, seen in zip(self._targets, self._seen, strict=True)):
            raise NoQuestions(
                f"none of {len(spans)} validation events can be ranked: each is of an item that its user had met"
            )
        self._times_ms = [data.ts_ms[begin:end] for begin, end, _ in spans.tolist()]
        self._candidates = candidates

    def ndcg_at_10(self, scores_of: ScoreFunction) -> float:
        """Mean over the questions whose target is new to its user."""
        values = [self._batch(scores_of, slice(at, at + BATCH_SIZE)) for at in range(0, len(self._targets), BATCH_SIZE)]
        return float(np.concatenate(values).mean())

    def _batch(self, scores_of: ScoreFunction, part: slice) -> NDArray[np.float64]:
        histories, targets = self._histories[part], self._targets[part]
        scores = np.where(self._candidates, scores_of(histories, self._times_ms[part]), np.float32(-np.inf))
        seen = Excluded.of(self._seen[part])
        counts = without(rank_counts(scores, targets), scores, targets, excluded=seen)
        return counts.ranked().ndcg_at(10)
