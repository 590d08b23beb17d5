"""M2SE as a model version: an item without a learned ID is placed by its content alone."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.content.table import ContentTable
from models.encoder.batches import last_states, padded
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

    def scores(self, sequences: Sequence[Sequence[int]], times_ms: Sequence[Sequence[int]], table: ItemTable) -> Tensor:
        """(B, N) after the newest rows of each sequence, as many as the window takes."""
        config = self._model.config
        rows, ts_ms = (padded([one[-config.window :] for one in column]) for column in (sequences, times_ms))
        lengths = torch.tensor([min(len(sequence), config.window) for sequence in sequences], dtype=torch.int64)
        states = last_states(self._model.encode_sequences(table.vectors.at(rows), ts_ms), lengths.clamp(min=1))
        return states @ table.directions[: table.n].T / config.temperature

    def similar(self, row: int, table: ItemTable) -> Tensor:
        """(N,) mean cosine of both modalities in [-1, 1]."""
        return table.directions[: table.n] @ table.directions[row] / 2.0

    def save(self, folder: Path) -> None:
        """Write weights and item ids into a bundle's stage."""
        write_model(folder, self._model, self.owners)


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
    """Write weights and item ids into a bundle's stage."""
    write_weights(folder, model.state_dict(), item_ids)
