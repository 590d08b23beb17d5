"""Rows of an item index to the numbers that a model of IDs counts in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.evaluation.ranks import IntArray
from models.item_index import ItemTable


class RowNumbers:
    """The number of each row's item, looked up once a row: an index only ever appends. Any thread.

    Args:
        item_ids: the items the model knows, in order.
    """

    def __init__(self, item_ids: Sequence[str]) -> None:
        self._number_of = {item_id: number for number, item_id in enumerate(item_ids)}
        self._by_row = np.zeros(0, np.int64)

    def of(self, item_ids: Sequence[str]) -> IntArray:
        """(n,) number of each item; for one the model does not know, how many it knows."""
        unknown = len(self._number_of)
        return np.array([self._number_of.get(item_id, unknown) for item_id in item_ids], dtype=np.int64)

    def of_rows(self, table: ItemTable) -> IntArray:
        """(table.n,) the same of each row's item."""
        known = self._by_row
        if len(known) < table.n:
            known = self._by_row = np.r_[known, self.of(table.item_ids[len(known) : table.n])]
        return known[: table.n]
