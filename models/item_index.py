"""The items a model can score: an append-only table that grows while others read it.

A changed item gets a new row and its old one dies; a removed item's row dies. An item that is placed anew as it was
keeps its row, so sending a whole catalogue again takes no memory. Readers take `table()` once and work on it; what is
appended meanwhile lies beyond what they see, and who is alive is written anew for each table, so nobody waits for
anybody and no reader sees half a change.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.encoder.m2se import ItemVectors

FIRST_CAPACITY = 1024
ROUNDING = 1e-5


class ItemTable(NamedTuple):
    """One moment of the index.

    Args:
        vectors: text (capacity, D) and image (capacity, D'), what a sequence is read with.
        directions: (capacity, D + D'), what a state is scored against.
        alive: (capacity,) bool, False for a removed or replaced item.
        item_ids: Id of each row; may grow while it is read, rows beyond `n` are not part of this moment.
        n: Rows that exist.
    """

    vectors: ItemVectors
    directions: Tensor
    alive: Tensor
    item_ids: list[str]
    n: int


class ItemIndex:
    """Append-only item vectors with a row for each live item.

    Args:
        text_dim: Width D of an item's text vector.
        image_dim: Width D' of its image vector. Either may be 0: such a model knows items by their ID.
    """

    def __init__(self, text_dim: int, image_dim: int) -> None:
        self._lock = threading.Lock()
        self._row_of: dict[str, int] = {}
        self._table = _empty(text_dim, image_dim, FIRST_CAPACITY)

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._row_of

    def table(self) -> ItemTable:
        """The index as it is now. Look rows up before, never after, taking the table: a table has every older row."""
        return self._table

    def row(self, item_id: str) -> int | None:
        """Row of a live item, else None."""
        return self._row_of.get(item_id)

    def live_ids(self) -> list[str]:
        """Ids of the live items, oldest row first."""
        with self._lock:
            return list(self._row_of)

    def append(self, item_ids: Sequence[str], vectors: ItemVectors) -> None:
        """Add items, or replace those that exist and are not as they were.

        Args:
            item_ids: N ids, each once.
            vectors: text (N, D) and image (N, D').
        """
        with self._lock:
            is_new = ~self._is_unchanged(item_ids, vectors)
            item_ids = [item_id for item_id, new_one in zip(item_ids, is_new.tolist(), strict=True) if new_one]
            vectors = ItemVectors(vectors.text[is_new], vectors.image[is_new])
            table = self._room_for(len(item_ids))
            new = slice(table.n, table.n + len(item_ids))
            table.vectors.text[new] = vectors.text
            table.vectors.image[new] = vectors.image
            table.directions[new] = vectors.directions()
            table.item_ids.extend(item_ids)
            alive = table.alive.clone()
            alive[new] = True
            alive[[self._row_of[item_id] for item_id in item_ids if item_id in self._row_of]] = False
            self._table = table._replace(alive=alive, n=new.stop)
            self._row_of.update(zip(item_ids, range(new.start, new.stop), strict=True))

    def remove(self, item_ids: Sequence[str]) -> None:
        """Take items out; unknown ones are passed over. Their vectors stay readable for whoever holds a table."""
        with self._lock:
            gone = [row for item_id in item_ids if (row := self._row_of.pop(item_id, None)) is not None]
            alive = self._table.alive.clone()
            alive[gone] = False
            self._table = self._table._replace(alive=alive)

    def _is_unchanged(self, item_ids: Sequence[str], vectors: ItemVectors) -> Tensor:
        """(N,) bool, items whose live row holds these vectors already, up to rounding."""
        rows = torch.tensor([self._row_of.get(item_id, -1) for item_id in item_ids], dtype=torch.int64)
        is_live = rows >= 0
        there = self._table.vectors.at(rows[is_live])
        is_unchanged = torch.zeros(len(item_ids), dtype=torch.bool)
        is_unchanged[is_live] = _equal(there.text, vectors.text[is_live]) & _equal(there.image, vectors.image[is_live])
        return is_unchanged

    def _room_for(self, n_new: int) -> ItemTable:
        old = self._table
        if old.n + n_new <= len(old.alive):
            return old
        text_dim, image_dim = old.vectors.text.shape[1], old.vectors.image.shape[1]
        grown = _empty(text_dim, image_dim, max(2 * len(old.alive), old.n + n_new))
        for target, source in (
            (grown.vectors.text, old.vectors.text),
            (grown.vectors.image, old.vectors.image),
        ):
            target[: old.n] = source[: old.n]
        grown.directions[: old.n] = old.directions[: old.n]
        grown.alive[: old.n] = old.alive[: old.n]
        return grown._replace(item_ids=list(old.item_ids), n=old.n)


def _equal(first: Tensor, second: Tensor) -> Tensor:
    """(N,) bool, rows (N, D) that are the same; a batch of another size rounds otherwise."""
    return torch.isclose(first, second, rtol=ROUNDING, atol=ROUNDING).all(dim=1)


def _empty(text_dim: int, image_dim: int, capacity: int) -> ItemTable:
    vectors = ItemVectors(torch.zeros(capacity, text_dim), torch.zeros(capacity, image_dim))
    directions = torch.zeros(capacity, text_dim + image_dim)
    return ItemTable(vectors, directions, torch.zeros(capacity, dtype=torch.bool), [], 0)
