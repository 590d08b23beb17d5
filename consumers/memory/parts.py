"""What the parts of the blend say of a model's items, as they stand when an event comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from consumers.columns import Columns
from consumers.memory.shared import SharedMemory
from models.memory.blend import Floats, PartScores


class PartReader:
    """The memory and what is trending, in the columns of a model's scores.

    Args:
        memory: may grow between two calls.
    """

    def __init__(self, memory: SharedMemory) -> None:
        self.columns = Columns()
        self._memory = memory
        self._numbers = np.zeros(0, np.int64)  # (N,) the memory's number of each column
        self._n_items = -1  # of the memory, when they were looked up
        self._counts: Mapping[str, int] | None = None
        self._trending = np.zeros(0, np.float32)  # (N,) of the counts

    def begin(self, item_ids: Sequence[str], counts: Mapping[str, int]) -> None:
        """Of these items, and of these counts as they stand now, from now on."""
        if self.columns.become(item_ids):
            self._n_items, self._counts = -1, None
        if counts is not self._counts:
            self._counts = counts
            self._trending = np.array([counts.get(item_id, 0) for item_id in self.columns.item_ids], np.float32)

    def parts(self, model: Floats, known: Sequence[str]) -> PartScores:
        """What each part says after a user's items.

        Args:
            model: (N,) scores; -inf for what is no candidate, at least one is.
            known: the user's items, oldest first; they count as seen.
        """
        memory = np.append(self._memory.scores(known), np.float32(0.0))[self._memory_numbers()]  # number -1 is the last
        return PartScores.of(model, memory, self._trending, self.columns.known(known))

    def _memory_numbers(self) -> NDArray[np.int64]:
        if self._n_items != self._memory.n_items:
            self._numbers = self._memory.numbers(self.columns.item_ids)
            self._n_items = self._memory.n_items
        return self._numbers
