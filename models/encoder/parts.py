"""Content without its padding: the real parts of all items in one row of parts, so that no work is done on the rest."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.content.table import ContentTable


class PackedParts(NamedTuple):
    """The parts of N items of one modality, item after item.

    Attributes:
        parts: (P, d), P real parts in all.
        starts: (N,) int64, where each item's parts start.
        counts: (N,) int64, how many it has; 0 where the modality is missing.
    """

    parts: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, parts: Tensor, mask: Tensor) -> "PackedParts":
        """Pack `parts` (N, S, d) where `mask` (N, S) is True."""
        counts = mask.sum(-1)
        return cls(parts[mask], counts.cumsum(0) - counts, counts)

    def select(self, rows: Tensor) -> "PackedParts":
        """The parts of the given items, (n,) int64, in that order."""
        counts = self.counts[rows]
        starts = counts.cumsum(0) - counts
        shift = (self.starts[rows] - starts).repeat_interleave(counts)
        return PackedParts(self.parts[torch.arange(len(shift)) + shift], starts, counts)

    def is_present(self) -> Tensor:
        """(N,) bool, whether the item has the modality."""
        return self.counts > 0

    def pooled(self, scores: Tensor) -> Tensor:
        """Mean of each item's parts weighted by the softmax of their scores (P,): (N, d), zeros without parts."""
        if not len(self.parts):
            return self.parts.new_zeros(len(self.counts), self.parts.shape[1])
        columns = torch.arange(int(self.counts.max()), device=scores.device)
        mask = columns < self.counts[:, None]  # (N, S)
        padded = scores.new_full(mask.shape, torch.finfo(scores.dtype).min).masked_scatter(mask, scores)
        return torch.nn.functional.embedding_bag(
            torch.arange(len(self.parts), device=scores.device),
            self.parts,
            self.starts,
            mode="sum",
            per_sample_weights=padded.softmax(-1)[mask].to(self.parts.dtype),
        )


class PackedContent(NamedTuple):
    """Both modalities of N items."""

    text: PackedParts
    image: PackedParts

    @classmethod
    def of(cls, table: ContentTable) -> "PackedContent":
        """Pack a table."""
        return cls(PackedParts.of(table.text, table.text_mask), PackedParts.of(table.image, table.image_mask))

    def select(self, rows: Tensor) -> "PackedContent":
        """The given items, (n,) int64, in that order."""
        return PackedContent(self.text.select(rows), self.image.select(rows))

    def has_both(self) -> Tensor:
        """(N,) bool, items of which neither modality is missing."""
        return self.text.is_present() & self.image.is_present()
