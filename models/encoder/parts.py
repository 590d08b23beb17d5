"""Content without its padding: the real parts of all items in one row of parts, so that no work is done on the rest.

What is selected for a training step is filled up to one of a few sizes: oneDNN, which multiplies bfloat16, makes a
kernel for each shape it meets and keeps a thousand of them, half a megabyte each. The filling is never read.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.content.table import ContentTable

ITEM_STEP, PART_STEP = 256, 1024  # numbers of selected items and parts are multiples, where there are so many


def filled(rows: Tensor, n_items: int) -> Tensor:
    """`rows` (n,) of a catalogue of `n_items` to be selected, the last of them again and again behind."""
    n_filling = _filled(len(rows), ITEM_STEP, n_items) - len(rows)
    return torch.cat([rows, rows[-1:].expand(n_filling)])


class PackedParts(NamedTuple):
    """The parts of N items of one modality, item after item.

    Attributes:
        parts: (P, d), at least as many parts as are counted; what is behind them belongs to no item.
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
        """The parts of the given items, (n,) int64, in that order, filled up."""
        counts = self.counts[rows]
        starts = counts.cumsum(0) - counts
        at = (self.starts[rows] - starts).repeat_interleave(counts)
        at += torch.arange(len(at), device=at.device)
        n_filling = _filled(len(at), PART_STEP, len(self.parts)) - len(at)
        return PackedParts(self.parts[torch.cat([at, at.new_zeros(n_filling)])], starts, counts)

    def to(self, device: torch.device) -> "PackedParts":
        """The same on a device."""
        return PackedParts(self.parts.to(device), self.starts.to(device), self.counts.to(device))

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
        weights = padded.softmax(-1)[mask].to(self.parts.dtype)
        return torch.nn.functional.embedding_bag(
            torch.arange(len(weights), device=scores.device),
            self.parts,
            self.starts,
            mode="sum",
            per_sample_weights=weights,
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

    def to(self, device: torch.device) -> "PackedContent":
        """The same on a device."""
        return PackedContent(self.text.to(device), self.image.to(device))

    def has_both(self) -> Tensor:
        """(N,) bool, items of which neither modality is missing."""
        return self.text.is_present() & self.image.is_present()


def _filled(n: int, step: int, most: int) -> int:
    """`n` rounded up to a multiple of `step`, but not above `most`, and never below `n`."""
    return max(n, min(-(-n // step) * step, most))
