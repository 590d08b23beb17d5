"""Histories cut so that a library which reads one window a user sees all of them, or only the newest as it would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.encoder.batches import SequenceData
from models.evaluation.ranks import BoolArray, IntArray


@dataclass(frozen=True)
class Pieces:
    """Events of pieces of histories, flat, each piece a user of its own; oldest first inside a piece.

    Attributes:
        users: (E,) number of the piece.
        rows: (E,) item.
        ts_ms: (E,).
        is_target: (E,) whether the event may be predicted; never true of a piece's first.
    """

    users: IntArray
    rows: IntArray
    ts_ms: IntArray
    is_target: BoolArray

    @property
    def n_targets(self) -> int:
        """Events that are predicted in one pass."""
        return int(self.is_target.sum())

    @classmethod
    def of(cls, data: SequenceData, window: int, *, newest_only: bool) -> Pieces:
        """Cut every history from its end into pieces of `window` targets; neighbours share one event.

        Args:
            data: the histories.
            window: inputs a piece has at most; it holds one event more.
            newest_only: only the last piece of each history.
        """
        spans = [
            (max(end - window - 1, first), end)
            for first, last in zip(data.starts[:-1].tolist(), data.starts[1:].tolist(), strict=True)
            for end in range(last, first + 1, -window)
            if not newest_only or end == last
        ]
        at = np.concatenate([np.arange(begin, end) for begin, end in spans] or [np.empty(0, np.int64)])
        lengths = np.array([end - begin for begin, end in spans], dtype=np.int64)
        is_first = np.zeros(len(at), np.bool_)
        is_first[np.cumsum(lengths) - lengths] = True
        users = np.repeat(np.arange(len(spans)), lengths)
        return cls(users, data.rows[at], data.ts_ms[at], data.is_target[at] & ~is_first)

    @classmethod
    def whole(cls, data: SequenceData, users: Sequence[int]) -> Pieces:
        """The whole histories of some users under their own numbers, nothing of them a target."""
        at = np.concatenate([np.arange(data.starts[user], data.starts[user + 1]) for user in users])
        return cls(data.users()[at], data.rows[at], data.ts_ms[at], np.zeros(len(at), np.bool_))
