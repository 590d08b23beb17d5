"""What every kind of model version has to do; `Ranker` does the rest: items that come and go, requests, newcomers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from models.content.table import ContentTable
from models.encoder.m2se import ItemVectors
from models.item_index import ItemTable


class Scorer(Protocol):
    """What a model makes of items and sequences."""

    @property
    def owners(self) -> Sequence[str]:
        """Items of which it learned something by their ID, in order; all others are new to it."""
        ...

    @property
    def dims(self) -> tuple[int, int]:
        """Widths of the text and the image vector it gives an item; 0 for none."""
        ...

    @property
    def content_dims(self) -> tuple[int | None, int | None]:
        """Widths of the text and the image parts it reads; None where it reads none."""
        ...

    def place(self, content: ContentTable) -> ItemVectors:
        """Vectors of N items, (N, D) each, from content of these widths."""
        ...

    def scores(self, sequences: Sequence[Sequence[int]], times_ms: Sequence[Sequence[int]], table: ItemTable) -> Tensor:
        """Scores of all rows, dead ones too.

        Args:
            sequences: B of rows, oldest first. An empty one may get anything: nobody is shown it.
            times_ms: event time of each row, or `UNKNOWN_MS` (models.encoder.time_gaps).
            table: what they are rows of.

        Returns:
            (B, table.n), finite, an item it knows nothing of behind those it knows; -inf throughout for a sequence it
            knows nothing of. The caller may change it.
        """
        ...

    def similar(self, row: int, table: ItemTable) -> Tensor:
        """(table.n,) how close each item is to one, -inf where that cannot be told."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights and item ids into a bundle's stage."""
        ...
