"""What learns from every event, in one piece: the fast memory, what is trending, and the blend of both with the model.

For each block, a user's events of one second: `parts` and `learn` from the state before it, then `apply`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.memory.blend import Blend, BlendConfig, BlendWeights, PartScores, utilities
from models.memory.popularity import WindowedPopularity
from models.memory.rows import Ints
from models.memory.transitions import MemoryConfig, Transitions

N_TRENDING = 5_000  # items with most events; the others count as none, live as offline


@dataclass(frozen=True)
class OnlineLearner:
    """Over one numbering of items, 0..N-1.

    Attributes:
        memory: item transitions.
        trending: counts of the last events of all users.
        blend: weights of the parts.
    """

    memory: Transitions
    trending: WindowedPopularity
    blend: Blend

    @classmethod
    def new(
        cls,
        *,
        memory: MemoryConfig | None = None,
        blend: BlendConfig | None = None,
        weights: BlendWeights | None = None,
    ) -> OnlineLearner:
        """Nothing learned yet, or the weights of an earlier one."""
        return cls(Transitions(memory), WindowedPopularity(), Blend(blend, weights))

    def parts(self, model: NDArray[np.float32], history: Ints) -> PartScores:
        """What each part says after a history.

        Args:
            model: (N,) scores of the encoder; -inf where an item is no candidate.
            history: (L,) all the user's items, oldest first; they count as seen.
        """
        rows = history.tolist()
        memory = self.memory.scores(rows, len(model))
        return PartScores.of(model, memory, most(self.trending.scores(rows, len(model))), history)

    def utilities(self, model: NDArray[np.float32], history: Ints, *, age: float = 0.0) -> NDArray[np.float32]:
        """(N,) what the blend ranks by after a history."""
        return utilities(self.blend.weights, self.parts(model, history), age=age)

    def apply(self, history: Ints, items: Sequence[int], ts_ms: Sequence[int]) -> None:
        """Learn events of one user into the fast memory and the trending items, one after the other.

        Args:
            history: (L,) the user's items before them, oldest first.
            items: what came.
            ts_ms: when, milliseconds since 1970, ascending.
        """
        known = history[-self.memory.config.n_last :].tolist()
        for item, at_ms in zip(items, ts_ms, strict=True):
            self.memory.update(known, item, at_ms)
            self.trending.update(known, item)
            known.append(item)


def most(counts: NDArray[np.float32], n: int = N_TRENDING) -> NDArray[np.float32]:
    """(N,) the counts of the n items with most, of equals the first; 0 for the others.

    >>> most(np.array([1, 3, 2, 2], np.float32), 2).tolist()
    [0.0, 3.0, 2.0, 0.0]
    """
    if len(counts) <= n:
        return counts
    kept = np.zeros_like(counts)
    rows = np.argsort(-counts, kind="stable")[:n]
    kept[rows] = counts[rows]
    return kept
