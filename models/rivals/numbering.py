"""Catalogue rows to the numbers a neural model counts in: items that own an ID first, withheld ones behind them."""

from __future__ import annotations

import numpy as np

from models.encoder.batches import SequenceData
from models.evaluation.ranks import BoolArray, IntArray


class Numbering:
    """The two numberings of one catalogue.

    Args:
        has_id: (N,) which catalogue rows own an ID.

    Attributes:
        row_of: (N,) catalogue row of each number.
        n_owners: numbers below it own an ID.
    """

    def __init__(self, has_id: BoolArray) -> None:
        self.row_of: IntArray = np.r_[np.flatnonzero(has_id), np.flatnonzero(~has_id)]
        self.n_owners = int(has_id.sum())
        self._number_of = np.argsort(self.row_of)

    def numbers(self, rows: IntArray) -> IntArray:
        """The numbers of catalogue rows."""
        numbers: IntArray = self._number_of[rows]
        return numbers

    def renumbered(self, data: SequenceData) -> SequenceData:
        """The same histories in numbers.

        Raises:
            ValueError: an event of an item without an ID: training must not see it.
        """
        rows = self.numbers(data.rows)
        withheld = rows >= self.n_owners
        if withheld.any():
            raise ValueError(
                f"{int(withheld.sum())} of {len(rows)} training events are of items without an ID, the first of row "
                f"{data.rows[withheld][0]}; take all events of withheld items out of training"
            )
        return SequenceData(rows, data.ts_ms, data.starts, data.is_target)
