"""GRU4Rec, SASRec and UniSRec as model versions.

The first two know items by their ID: one that was not trained on is passed over in histories and stands behind all
others. UniSRec places every item by its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.content.table import ContentTable
from models.encoder.batches import last_states, padded
from models.encoder.config import Shape, TimedShape
from models.encoder.m2se import ItemVectors
from models.evaluation.ranks import BoolArray
from models.item_index import ItemTable
from models.registry.weights import Tensors, write_weights
from models.rivals.config import NextItemConfig
from models.rivals.counting import mean_part
from models.rivals.nets import IdTower, NextItemNet, TextTower
from models.rivals.rows import RowNumbers


class ServedNet:
    """Scores by the network's last state.

    Args:
        net: trained; put into evaluation mode.
        config: it was made with.
        item_ids: items that own its ID vectors, in order; none for a network of text.
    """

    def __init__(self, net: NextItemNet, config: NextItemConfig, item_ids: Sequence[str]) -> None:
        items = net.items
        self.owners = tuple(item_ids)
        self.dims = (config.shape.dim, 0)
        self.content_dims = (items.text.shape[1] if isinstance(items, TextTower) else None, None)
        self._net, self._config = net.eval(), config
        self._text = items if isinstance(items, TextTower) else None
        self._numbers = RowNumbers(item_ids)
        vectors = items.vectors.detach() if isinstance(items, IdTower) else torch.zeros(0, config.shape.dim)
        if len(vectors) != len(item_ids):
            raise ValueError(f"{len(item_ids)} item ids for {len(vectors)} ID vectors")
        self._vectors = torch.cat([vectors, torch.zeros(1, config.shape.dim)])  # the last of unknown items

    @classmethod
    def load(cls, config: dict[str, Any], weights: Tensors, item_ids: Sequence[str]) -> ServedNet:
        """What `save` wrote."""
        values = {name: config[name] for name in ("encoder", "scores")}
        shape_of = TimedShape if "n_time_buckets" in config["shape"] else Shape
        made_with = NextItemConfig(**values, shape=shape_of(**config["shape"]))
        width, shape = config["text_dim"], made_with.shape
        items = IdTower(len(item_ids), shape) if width is None else TextTower(_no_items(width), shape)
        net = NextItemNet(items, made_with, n_owners=len(item_ids))
        net.load_state_dict(weights)
        return cls(net, made_with, item_ids)

    def config(self) -> dict[str, Any]:
        """What `load` needs, and how it was trained."""
        return asdict(self._config) | {"text_dim": self.content_dims[0]}

    def save(self, folder: Path) -> None:
        """Write weights and item ids into a bundle's stage."""
        write_weights(folder, self._net.state_dict(), self.owners)

    def place(self, content: ContentTable) -> ItemVectors:
        """By the text, or the ID vectors: zeros for an item without one."""
        if self._text is None:
            vectors = self._vectors[torch.from_numpy(self._numbers.of(content.item_ids))]
        else:
            is_present = content.text_mask.any(-1, keepdim=True)
            vectors = self._text.encode(mean_part(content.text, content.text_mask), is_present)
        return ItemVectors(vectors, torch.zeros(len(content), 0))

    def scores(self, sequences: Sequence[Sequence[int]], times_ms: Sequence[Sequence[int]], table: ItemTable) -> Tensor:
        """(B, N); what it does not know stands behind all others, and is passed over in a sequence."""
        is_known = self._is_known(table)
        window = self._config.shape.window
        at = [[place for place, row in enumerate(sequence) if is_known[row]][-window:] for sequence in sequences]
        known, ts_ms = (
            [[column[place] for place in places] for column, places in zip(columns, at, strict=True)]
            for columns in (sequences, times_ms)
        )
        lengths = torch.tensor([max(len(rows), 1) for rows in known], dtype=torch.int64)
        states = last_states(self._net.states(table.vectors.text, padded(known), padded(ts_ms)), lengths)
        scores = states @ self._scored(table).T / self._net.temperature
        unknown = torch.from_numpy(~is_known)
        behind = scores.masked_fill(unknown, torch.inf).amin(1, keepdim=True) - 1 if table.n else scores
        scores = torch.where(unknown, behind, scores)
        knows_none = torch.tensor([not rows for rows in known], dtype=torch.bool)
        return scores.masked_fill_(knows_none[:, None], -torch.inf)

    def similar(self, row: int, table: ItemTable) -> Tensor:
        """(N,) cosine of the items' vectors, -inf where either is unknown."""
        unknown = torch.from_numpy(~self._is_known(table))
        cosines = table.directions[: table.n] @ table.directions[row]
        return cosines.masked_fill_(unknown | unknown[row], -torch.inf)

    def _is_known(self, table: ItemTable) -> BoolArray:
        """(N,) whether the network has a vector for each row's item."""
        if self._text is not None:
            return np.ones(table.n, np.bool_)
        is_known: BoolArray = self._numbers.of_rows(table) < len(self.owners)
        return is_known

    def _scored(self, table: ItemTable) -> Tensor:
        """(N, D) what a state is scored against."""
        vectors = table.directions if self._net.is_cosine else table.vectors.text
        return vectors[: table.n]


def _no_items(text_dim: int) -> ContentTable:
    text, image = torch.zeros(0, 1, text_dim), torch.zeros(0, 1, 1)
    mask = torch.zeros(0, 1, dtype=torch.bool)
    return ContentTable((), text, mask, image, mask)
