"""What the blend makes of a model version's scores: the memory and the counts, put beside them row by row.

The memory numbers items in its own order, the index of a `Ranker` in another. Both only ever append, so which row is
which number is looked up once, and again only for what is new in either.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.memory.blend import PARTS, BlendWeights, Floats, Part, PartScores, brought_by, utilities

Ints = NDArray[np.int64]


class Memory(Protocol):
    """The fast memory by item id (consumers.memory.shared.SharedMemory)."""

    @property
    def n_items(self) -> int:
        """Items with a number."""
        ...

    def numbers(self, item_ids: Sequence[str]) -> Ints:
        """(N,) number of each item, the same for ever; -1 for one that never came."""
        ...

    def scores(self, history: Sequence[str]) -> Floats:
        """(n_items,) score of each item by its number, at least 0, after a user's items, oldest first."""
        ...


class Columns(Protocol):
    """What was scored (models.item_index.ItemTable)."""

    @property
    def item_ids(self) -> Sequence[str]:
        """Id of each column; may be longer than the scores, by what came later."""
        ...


@dataclass(frozen=True)
class FeedBlend:
    """What scores are blended with beside a model version, at one moment.

    Attributes:
        weights: of the parts.
        age: of the model, as the weights know it.
        memory: item transitions.
        counts: of trending items, by item; not changed any more.
    """

    weights: BlendWeights
    age: float
    memory: Memory
    counts: Mapping[str, int]


class Blended(NamedTuple):
    """All candidates of one request, blended.

    Attributes:
        utilities: (N,) what is ranked by; -inf for what is no candidate.
        parts: what each part said.
        blend: what was in force.
    """

    utilities: Floats
    parts: PartScores
    blend: FeedBlend

    @property
    def memory(self) -> Floats:
        """(N,) what the memory alone would rank by; -inf for what is no candidate."""
        said = self.parts.values[PARTS.index("memory")]
        return np.where(self.parts.is_candidate, said, np.float32(-np.inf))

    @property
    def seen(self) -> Ints:
        """Columns of what the user has seen, ascending."""
        return np.flatnonzero(self.parts.values[PARTS.index("seen")])

    def brought_by(self, rows: Sequence[int]) -> list[Part]:
        """Which part brought each of these rows' items."""
        return brought_by(self.blend.weights, self.parts, self.utilities, rows, age=self.blend.age)


class _Numbers(NamedTuple):
    memory: Memory | None = None
    n_items: int = 0  # of the memory, when they were looked up
    by_row: Ints = np.zeros(0, np.int64)


class _Counts(NamedTuple):
    counts: Mapping[str, int] | None = None
    by_row: Floats = np.zeros(0, np.float32)


class BlendRows:
    """A memory's numbers and trending counts, in the rows of one index. Any thread may ask.

    Args:
        row_of: the row of a live item; a row is its item's for ever.
    """

    def __init__(self, row_of: Callable[[str], int | None]) -> None:
        self._row_of = row_of
        self._numbers = _Numbers()
        self._counts = _Counts()

    def rows(self, items: Iterable[str], n: int) -> list[int]:
        """Which of the first `n` rows are of these items, each once."""
        rows = map(self._row_of, dict.fromkeys(items))
        return [row for row in rows if row is not None and row < n]

    def blended(
        self, blend: FeedBlend, model: Floats, items: Sequence[str], table: Columns, *, seen: Sequence[str] = ()
    ) -> Blended:
        """Blend what a model scored for one user.

        Args:
            blend: in force.
            model: (N,) scores of the model, -inf for what is no candidate; at least one is.
            items: of the user, oldest first; they count as seen.
            table: the rows that were scored.
            seen: further items that count as seen.
        """
        n = len(model)
        numbers = self._numbers_of(blend.memory, table, n)  # first: the memory may grow meanwhile
        memory = np.append(blend.memory.scores(items), np.float32(0.0))[numbers]  # number -1 is the last
        parts = PartScores.of(model, memory, self._counts_of(blend.counts, n), self.rows((*items, *seen), n))
        return Blended(utilities(blend.weights, parts, age=blend.age), parts, blend)

    def _numbers_of(self, memory: Memory, table: Columns, n: int) -> Ints:
        """(N,) number of each row's item, -1 where it has none."""
        known = self._numbers if self._numbers.memory is memory else _Numbers(memory)
        n_items = memory.n_items
        if known.n_items != n_items or len(known.by_row) < n:
            by_row = np.full(max(n, len(known.by_row)), -1, np.int64)
            by_row[: len(known.by_row)] = known.by_row
            missing = np.flatnonzero(by_row[:n] < 0)
            by_row[missing] = memory.numbers([table.item_ids[row] for row in missing.tolist()])
            known = self._numbers = _Numbers(memory, n_items, by_row)
        return known.by_row[:n]

    def _counts_of(self, counts: Mapping[str, int], n: int) -> Floats:
        """(N,) count of each row's item."""
        known = self._counts
        if known.counts is not counts or len(known.by_row) != n:
            by_row = np.zeros(n, np.float32)
            for item_id, count in counts.items():
                row = self._row_of(item_id)
                if row is not None and row < n:
                    by_row[row] = count
            known = self._counts = _Counts(counts, by_row)
        return known.by_row
