"""A recommender asked all questions of a test: where each target stands, and what the ten best items were.

Full ranking over the items live at that moment; a user's same-second events are each asked from the state before the
block. *Filtered* and *unfiltered* are those of `report.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.encoder.batches import SequenceData
from models.evaluation.ranks import NOT_A_CANDIDATE, BoolArray, Excluded, IntArray, RankCounts, rank_counts, without
from models.examples import question_spans, taken_out
from models.rivals.recommender import Recommender

N_SHOWN = 10
NOTHING = -1  # in place of an item, where there were fewer candidates than places
BATCH_SIZE = 256

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Questions:
    """What is asked, whatever the model.

    Attributes:
        data: histories; the events marked `is_target` are asked, but for those in a user's first second.
        live_from_ms: (N,) when each item became a candidate; a very early time where it always was one.
        is_withheld: (N,) items kept out of training on purpose.
    """

    data: SequenceData
    live_from_ms: IntArray
    is_withheld: BoolArray

    @cached_property
    def spans(self) -> IntArray:
        """(Q, 3) first event of the history, the end of it, the target's event; ascending."""
        return question_spans(self.data, asked=self.data.is_target, limit=len(self.data.rows), seed=0)

    @property
    def targets(self) -> IntArray:
        """(Q,) item that came."""
        rows: IntArray = self.data.rows[self.spans[:, 2]]
        return rows

    @property
    def users(self) -> IntArray:
        """(Q,) whose question it is."""
        users: IntArray = self.data.users()[self.spans[:, 2]]
        return users

    @property
    def n_before(self) -> IntArray:
        """(Q,) length of the history."""
        lengths: IntArray = self.spans[:, 1] - self.spans[:, 0]
        return lengths

    @property
    def n_without_history(self) -> int:
        """Targets that are not asked, since nothing came before their second."""
        return int(self.data.is_target.sum()) - len(self.spans)


@dataclass(frozen=True)
class Ranked:
    """Every question's outcome under one model.

    Attributes:
        filtered: (Q,) without the items that the user had before (`taken_out`); dropped where the target is one.
        unfiltered: (Q,).
        withheld_filtered: (Q,) among the withheld items only; dropped as well where the target is none of them.
        withheld_unfiltered: likewise.
        shown: (Q, N_SHOWN) the best of the filtered candidates, best first; `NOTHING` past their end.
    """

    filtered: RankCounts
    unfiltered: RankCounts
    withheld_filtered: RankCounts
    withheld_unfiltered: RankCounts
    shown: IntArray


def rank_all(recommender: Recommender, questions: Questions) -> Ranked:
    """Ask a fitted recommender everything.

    Raises:
        ValueError: it scored NaN, or another number of items.
    """
    n_items = len(questions.live_from_ms)
    order = np.random.default_rng(0).permutation(n_items)  # ties are shown in an order that no catalogue has
    parts = []
    for spans, scores in _scored(recommender, questions):
        if scores.shape[1] != n_items:
            raise ValueError(f"{recommender.name} scored {scores.shape[1]} items of {n_items}")
        targets, times_ms = questions.data.rows[spans[:, 2]], questions.data.ts_ms[spans[:, 2]]
        live = np.where(questions.live_from_ms <= times_ms[:, None], scores, np.float32(-np.inf))
        seen = taken_out(questions.data, spans)
        counts = _both(live, targets, seen)
        among = _both_among(np.flatnonzero(questions.is_withheld), live, targets, seen)
        parts.append((*counts, *among, _best(live, seen, order)))
    return _joined(parts)


def _scored(recommender: Recommender, questions: Questions) -> Iterator[tuple[IntArray, Scores]]:
    """Questions and their scores, a batch at a time; a block's history is scored once."""
    ends, place = np.unique(questions.spans[:, 1], return_inverse=True)
    for start in range(0, len(ends), BATCH_SIZE):
        low, high = np.searchsorted(place, [start, start + BATCH_SIZE])
        spans = questions.spans[low:high]
        blocks = spans[np.unique(place[low:high], return_index=True)[1]]
        scores = recommender.scores(
            [questions.data.rows[first:end] for first, end, _ in blocks.tolist()],
            [questions.data.ts_ms[first:end] for first, end, _ in blocks.tolist()],
        )
        yield spans, scores[place[low:high] - start]


def _both(scores: Scores, targets: IntArray, seen: list[IntArray]) -> tuple[RankCounts, RankCounts]:
    """Filtered and unfiltered; a target that is not live stands behind all others."""
    is_live = scores[np.arange(len(targets)), targets] > -np.inf
    places = np.where(is_live, targets, NOT_A_CANDIDATE)
    counts = rank_counts(scores, places)
    return without(counts, scores, places, excluded=Excluded.of(seen)), counts


def _both_among(
    pool: IntArray, scores: Scores, targets: IntArray, seen: list[IntArray]
) -> tuple[RankCounts, RankCounts]:
    """The same among the items of `pool` only; questions whose target is none of them are dropped."""
    dropped = np.zeros(len(targets), np.int64)
    filtered, unfiltered = RankCounts(dropped, dropped.copy()), RankCounts(dropped.copy(), dropped.copy())
    asked = np.flatnonzero(np.isin(targets, pool))
    if len(asked):
        place = np.full(scores.shape[1], NOT_A_CANDIDATE)
        place[pool] = np.arange(len(pool))
        among = [place[seen[row]] for row in asked]
        inside = _both(scores[asked][:, pool], place[targets[asked]], [rows[rows >= 0] for rows in among])
        for counts, found in zip((filtered, unfiltered), inside, strict=True):
            counts.greater[asked], counts.equal[asked] = found.greater, found.equal
    return filtered, unfiltered


def _best(scores: Scores, seen: list[IntArray], order: IntArray) -> IntArray:
    """(B, N_SHOWN) best candidates that the user has not had."""
    excluded = Excluded.of(seen)
    candidates = scores.copy()
    candidates[excluded.rows, excluded.items] = -np.inf
    candidates = candidates[:, order]
    n_best = min(N_SHOWN, candidates.shape[1])
    best = np.argpartition(-candidates, n_best - 1, axis=1)[:, :n_best]
    values = np.take_along_axis(candidates, best, axis=1)
    ranked = np.argsort(-values, axis=1, kind="stable")
    items = np.take_along_axis(order[best], ranked, axis=1)
    shown = np.full((len(scores), N_SHOWN), NOTHING)
    shown[:, :n_best] = np.where(np.take_along_axis(values, ranked, axis=1) > -np.inf, items, NOTHING)
    return shown


def _joined(parts: list[tuple[RankCounts, RankCounts, RankCounts, RankCounts, IntArray]]) -> Ranked:
    filtered, unfiltered, withheld_filtered, withheld_unfiltered = (
        RankCounts(np.concatenate([c.greater for c in column]), np.concatenate([c.equal for c in column]))
        for column in zip(*[part[:4] for part in parts], strict=True)
    )
    shown = np.concatenate([part[4] for part in parts])
    return Ranked(filtered, unfiltered, withheld_filtered, withheld_unfiltered, shown)
