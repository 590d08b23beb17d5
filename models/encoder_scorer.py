"""M2SE as a model version: an item without a learned ID is placed by its content alone."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.content.table import ContentTable
from models.encoder.config import EncoderConfig
from models.encoder.m2se import M2SE, ItemVectors
from models.item_index import ItemTable
from models.registry.bundle import Bundle
from models.registry.weights import Tensors, read_weights, write_weights


class EncoderScorer:
    """Scores by the sum of both streams' cosines over the temperature.

    Args:
        model: Trained encoder; put into evaluation mode.
        item_ids: Items that own the model's ID vectors, in order.
    """

    def __init__(self, model: M2SE, item_ids: Sequence[str]) -> None:
        if len(item_ids) != len(model.ids):
            raise ValueError(f"{len(item_ids)} item ids for {len(model.ids)} ID vectors")
        self.owners = tuple(item_ids)
        self.dims = (model.config.dim, model.config.dim)
        self.content_dims = (model.config.text_dim, model.config.image_dim)
        self._model = model.eval()
        self._id_row = {item_id: row for row, item_id in enumerate(item_ids)}

    def place(self, content: ContentTable) -> ItemVectors:
        """Vectors by content, the ID added where there is one."""
        vectors = self._model.encode_content(content)
        rows = torch.tensor([self._id_row.get(item_id, -1) for item_id in content.item_ids])
        ids = torch.zeros_like(vectors.text)
        ids[rows >= 0] = self._model.ids[rows[rows >= 0]]
        return ItemVectors(vectors.text + ids, vectors.image + ids)

    def scores(self, sequences: Sequence[Sequence[int]], table: ItemTable) -> Tensor:
        """(B, N) after the newest rows of each sequence, as many as the window takes."""
        config = self._model.config
        known = [sequence[-config.window :] for sequence in sequences]
        return self._last_states(known, table.vectors) @ table.directions[: table.n].T / config.temperature

    def similar(self, row: int, table: ItemTable) -> Tensor:
        """(N,) mean cosine of both modalities in [-1, 1]."""
        return table.directions[: table.n] @ table.directions[row] / 2.0

    def save(self, folder: Path) -> None:
        """Write weights and item ids into a bundle's stage."""
        write_model(folder, self._model, self.owners)

    def _last_states(self, rows: Sequence[Sequence[int]], vectors: ItemVectors) -> Tensor:
        """State after each sequence's last item, (B, 2D); shorter sequences are padded on the right with row 0."""
        lengths = torch.tensor([max(len(known), 1) for known in rows], dtype=torch.int64)
        padded = torch.zeros(len(rows), int(lengths.max()) if rows else 1, dtype=torch.int64)
        for at, known in enumerate(rows):
            padded[at, : len(known)] = torch.tensor(known, dtype=torch.int64)
        states = self._model.encode_sequences(vectors.at(padded))
        return states[torch.arange(len(rows)), lengths - 1]


def load_model(bundle: Bundle) -> tuple[M2SE, tuple[str, ...]]:
    """The encoder of a bundle and the items that own its ID vectors.

    Raises:
        DamagedBundle: weights, configuration and item ids do not fit each other.
    """

    def make(weights: Tensors, item_ids: tuple[str, ...]) -> tuple[M2SE, tuple[str, ...]]:
        model = M2SE(EncoderConfig.from_dict(bundle.manifest.config["encoder"]), n_ids=len(item_ids))
        model.load_state_dict(weights)
        return model.eval(), item_ids

    return read_weights(bundle, make)


def write_model(folder: Path, model: M2SE, item_ids: Sequence[str]) -> None:
    """Write weights and item ids into a bundle's stage.

    Raises:
        ValueError: the model reads times, and the histories a live model is asked with have none.
    """
    if model.config.n_time_buckets:
        raise ValueError(
            f"n_time_buckets={model.config.n_time_buckets}: time buckets are for offline evaluation as yet, since live "
            f"histories come without times; publish a model without them"
        )
    write_weights(folder, model.state_dict(), item_ids)
