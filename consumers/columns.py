"""Where items stand in a model's scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.ranks import NOT_A_CANDIDATE


class Columns:
    """Column by item id, worked out again only when the model's items changed.

    A model may keep a dead row of an item before its live one; the last one is meant.
    """

    def __init__(self) -> None:
        self.item_ids: list[str] = []
        self._column_of: dict[str, int] = {}

    def become(self, item_ids: Sequence[str]) -> bool:
        """Take over the items of these scores; whether they are others than before."""
        item_ids = list(item_ids)
        if item_ids == self.item_ids:
            return False
        self.item_ids = item_ids
        self._column_of = {item_id: column for column, item_id in enumerate(item_ids)}
        return True

    def places(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """(B,) column of each id, `NOT_A_CANDIDATE` for one without."""
        return np.array([self._column_of.get(item_id, NOT_A_CANDIDATE) for item_id in item_ids], dtype=np.int64)

    def known(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Columns of those ids that have one."""
        places = self.places(item_ids)
        found: NDArray[np.int64] = places[places != NOT_A_CANDIDATE]
        return found
