"""From one model to the next: the first starts from nothing, a later one from its parent, which is also its teacher."""

from dataclasses import asdict

import torch
from torch import Tensor

from models.content.table import ContentTable
from models.encoder.batches import Batch
from models.encoder.config import EncoderConfig, Shape
from models.encoder.m2se import M2SE, ItemVectors
from models.encoder_scorer import load_model
from models.registry.bundle import Bundle


class PreviousModel:
    """The parent of a cycle as a teacher: its scores over the items it had an ID for.

    Args:
        model: The parent's encoder.
        table: The catalogue; its leading rows are the parent's IDs.
    """

    def __init__(self, model: M2SE, table: ContentTable) -> None:
        self._model = model.eval()
        with torch.inference_mode():
            self._vectors = model.encode_items(table)
            self._known = self._vectors.directions()[: len(model.ids)] / model.config.temperature

    def move(self, device: torch.device) -> None:
        """Go where batches are."""
        self._model.to(device)
        self._vectors = ItemVectors(self._vectors.text.to(device), self._vectors.image.to(device))
        self._known = self._known.to(device)

    @property
    def n_known(self) -> int:
        """Items it had an ID for."""
        return len(self._known)

    @torch.inference_mode()
    def factors(self, batch: Batch, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(M, 2D) at the batch's target positions and (N_t, 2D), or (n, 2D) of some of the items it knew."""
        states = self._model.encode_sequences(self._vectors.at(batch.rows), batch.ts_ms)  # (B, L, 2D)
        known = self._known if rows is None else self._known[rows]
        return states[batch.is_target], known


def first_model(shape: Shape, table: ContentTable, n_ids: int, seed: int) -> M2SE:
    """A model with drawn weights for a catalogue, its widths from the content."""
    config = EncoderConfig(text_dim=table.text.shape[2], image_dim=table.image.shape[2], **asdict(shape))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return M2SE(config, n_ids=n_ids)


def next_model(parent: Bundle, table: ContentTable, n_ids: int) -> tuple[M2SE, PreviousModel]:
    """The parent's weights with room for new IDs, and the parent as it was.

    Raises:
        DamagedBundle: the parent cannot be read.
    """
    model, _ = load_model(parent)
    model.grow_ids(n_ids)
    teacher, _ = load_model(parent)
    return model, PreviousModel(teacher, table)
