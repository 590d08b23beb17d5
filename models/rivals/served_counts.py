"""Popularity, co-occurrence and nearest content as model versions.

The first two know items by their ID: what never came in training stands behind all that did. Content places every
item, a new one too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.content.table import ContentTable
from models.encoder.m2se import ItemVectors
from models.item_index import ItemTable
from models.registry.weights import Tensors, write_weights
from models.rivals.cooccurrence import CooccurrenceConfig, LiveCooccurrence
from models.rivals.counting import Profile, Scores, mean_part
from models.rivals.rows import RowNumbers

NO_VECTORS = (0, 0)
NO_CONTENT = (None, None)
NEVER_CAME = -1.0  # co-occurrence scores what came at least 0


class ServedPopularity:
    """How often each item came in training.

    Args:
        counts: (n,) of each item.
        item_ids: the items that came.
    """

    kind = "popularity"
    dims, content_dims = NO_VECTORS, NO_CONTENT

    def __init__(self, counts: Scores, item_ids: Sequence[str]) -> None:
        if len(counts) != len(item_ids):
            raise ValueError(f"{len(item_ids)} item ids for {len(counts)} counts")
        self.owners = tuple(item_ids)
        self._counts, self._numbers = counts, RowNumbers(item_ids)

    @classmethod
    def load(cls, config: dict[str, Any], weights: Tensors, item_ids: Sequence[str]) -> ServedPopularity:
        """What `save` wrote."""
        return cls(weights["counts"].numpy(), item_ids)

    def config(self) -> dict[str, Any]:
        """Nothing can be set."""
        return {}

    def save(self, folder: Path) -> None:
        """Write counts and item ids into a bundle's stage."""
        write_weights(folder, {"counts": torch.from_numpy(self._counts)}, self.owners)

    def place(self, content: ContentTable) -> ItemVectors:
        """Content says nothing here."""
        return no_vectors(len(content))

    def scores(self, sequences: Sequence[Sequence[int]], times_ms: Sequence[Sequence[int]], table: ItemTable) -> Tensor:
        """(B, N) counts, the same for everybody."""
        return self._by_row(table).repeat(len(sequences), 1)

    def similar(self, row: int, table: ItemTable) -> Tensor:
        """(N,) unknown: counts tell nothing of two items."""
        return torch.full((table.n,), -torch.inf)

    def _by_row(self, table: ItemTable) -> Tensor:
        return torch.from_numpy(np.append(self._counts, np.float32(0))[self._numbers.of_rows(table)])


class ServedCooccurrence:
    """What came close to the user's last items in everybody's training histories.

    Args:
        pairs: what was counted, items numbered as they stand in `item_ids`.
        item_ids: the items that came, without those there was no room for.
    """

    kind = "cooccurrence"
    dims, content_dims = NO_VECTORS, NO_CONTENT

    def __init__(self, pairs: LiveCooccurrence, item_ids: Sequence[str]) -> None:
        self.owners = tuple(item_ids)
        self._pairs, self._numbers = pairs, RowNumbers(item_ids)

    @classmethod
    def load(cls, config: dict[str, Any], weights: Tensors, item_ids: Sequence[str]) -> ServedCooccurrence:
        """What `save` wrote."""
        n_items = len(item_ids)
        counts, pairs = weights["counts"].numpy(), np.zeros((n_items, n_items), np.float32)
        pairs.reshape(-1)[weights["at"].numpy()] = weights["pairs"].numpy()
        return cls(LiveCooccurrence.restored(CooccurrenceConfig(**config), counts, pairs), item_ids)

    def config(self) -> dict[str, Any]:
        """How far back pairs go and how fast they fade."""
        return asdict(self._pairs.config)

    def save(self, folder: Path) -> None:
        """Write counts, the pairs that came and item ids into a bundle's stage."""
        counts, pairs = self._pairs.learned(len(self.owners))
        at = np.flatnonzero(pairs)  # most pairs never came
        weights = {"counts": counts, "at": at, "pairs": pairs.reshape(-1)[at]}
        write_weights(folder, {name: torch.from_numpy(array) for name, array in weights.items()}, self.owners)

    def place(self, content: ContentTable) -> ItemVectors:
        """Content says nothing here."""
        return no_vectors(len(content))

    def scores(self, sequences: Sequence[Sequence[int]], times_ms: Sequence[Sequence[int]], table: ItemTable) -> Tensor:
        """(B, N); 0 for what never came near the user's last items, `NEVER_CAME` for what never came at all.

        -inf throughout where none of the last items came in training.
        """
        n_known, n_last = len(self.owners), self._pairs.config.n_last
        numbers = self._numbers.of_rows(table)
        scores = np.full((len(sequences), n_known + 1), NEVER_CAME, dtype=np.float32)
        for at, sequence in enumerate(sequences):
            last = numbers[np.array(sequence[-n_last:], dtype=np.int64)]
            scores[at, :n_known] = self._pairs.scores(last.tolist(), n_known)
            if not (last < n_known).any():
                scores[at] = -np.inf
        return torch.from_numpy(scores[:, numbers])

    def similar(self, row: int, table: ItemTable) -> Tensor:
        """(N,) score after that item alone, -inf where either never came."""
        scores = self.scores([[row]], [[0]], table)[0]
        return scores.masked_fill_(scores < 0, -torch.inf)


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig(Profile):
    """How content neighbours look at a user, and of which content.

    Attributes:
        text_dim: width of text parts.
        image_dim: width of image parts.
    """

    text_dim: int
    image_dim: int


class ServedNeighbours:
    """Items whose content points where the user's last items' content points."""

    kind = "content-knn"
    owners: tuple[str, ...] = ()

    def __init__(self, config: NeighboursConfig) -> None:
        self.dims = self.content_dims = (config.text_dim, config.image_dim)
        self._config = config

    @classmethod
    def load(cls, config: dict[str, Any], weights: Tensors, item_ids: Sequence[str]) -> ServedNeighbours:
        """What `save` wrote; there are no weights."""
        return cls(NeighboursConfig(**config))

    def config(self) -> dict[str, Any]:
        """All there is to it."""
        return asdict(self._config)

    def save(self, folder: Path) -> None:
        """Write no weights of no items into a bundle's stage."""
        write_weights(folder, {}, ())

    def place(self, content: ContentTable) -> ItemVectors:
        """Each modality's mean part, zeros where it is missing."""
        return ItemVectors(mean_part(content.text, content.text_mask), mean_part(content.image, content.image_mask))

    def scores(self, sequences: Sequence[Sequence[int]], times_ms: Sequence[Sequence[int]], table: ItemTable) -> Tensor:
        """(B, N) weighted sum of the cosines with the user's last items; -inf where these have no content."""
        directions = table.directions[: table.n]
        histories = [np.array(sequence, dtype=np.int64) for sequence in sequences]
        wanted = self._config.wanted(directions.numpy(), histories, text_dim=self._config.text_dim)
        scores = torch.from_numpy(wanted) @ directions.T
        return scores.masked_fill_(torch.from_numpy(~wanted.any(axis=1))[:, None], -torch.inf)

    def similar(self, row: int, table: ItemTable) -> Tensor:
        """(N,) mean cosine of both modalities in [-1, 1], a missing one counted as 0."""
        return table.directions[: table.n] @ table.directions[row] / 2.0


def no_vectors(n_items: int) -> ItemVectors:
    """Of items that are known by their ID."""
    return ItemVectors(torch.zeros(n_items, 0), torch.zeros(n_items, 0))
