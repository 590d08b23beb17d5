"""M2SE, MP4SR's multimodal mixup sequence encoder (arXiv 2303.11879, section 4).

Content parts of an item -> attention pooling -> mixture-of-experts adaptor -> one vector per modality; two streams
of them (text, image) -> one causal Transformer -> one state per position and stream. Items are scored by the sum of
both streams' cosines. A missing modality is a learned vector.

Deviations from the paper: blocks normalise before attention (trains stably at higher rates), every position is scored,
not only the last, some items lose their ID in fine-tuning (`id_dropout`, so that one model serves items without one),
and with `n_time_buckets` the time since the event before is added to what enters the Transformer. How it is trained
differs in what `TrainingConfig` says, and a missing modality is never mixed in (`mix_complementary`).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.content.table import ContentTable
from models.encoder.config import EncoderConfig, Shape
from models.encoder.dropout import add_dropped, dropped
from models.encoder.parts import PackedContent, PackedParts
from models.encoder.time_gaps import TimeGaps


class ItemVectors(NamedTuple):
    """Adapted items: `text` (N, D) and `image` (N, D), not normalised, the ID already added where there is one."""

    text: Tensor
    image: Tensor

    def at(self, rows: Tensor) -> "ItemVectors":
        """The vectors of `rows` (any shape, int64)."""
        return ItemVectors(functional.embedding(rows, self.text), functional.embedding(rows, self.image))

    def to(self, dtype: torch.dtype) -> "ItemVectors":
        """Both in another precision."""
        return ItemVectors(self.text.to(dtype), self.image.to(dtype))

    def directions(self) -> Tensor:
        """Both modalities normalised side by side, (N, 2D): a dot product with states is the sum of cosines."""
        return torch.cat([functional.normalize(self.text, dim=-1), functional.normalize(self.image, dim=-1)], dim=-1)


class AttentionPool(nn.Module):
    """Additive attention over the parts of an item (section 4.1)."""

    def __init__(self, dim: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, packed: PackedParts) -> Tensor:
        """Pool the parts of N items to (N, d); an item without parts gives zeros."""
        return packed.pooled(self.score(torch.tanh(self.hidden(packed.parts))).squeeze(-1))


class MixtureAdaptor(nn.Module):
    """Mixture of E experts, each Linear + dropout + LayerNorm, mixed by a softmax gate (section 4.1)."""

    def __init__(self, in_dim: int, out_dim: int, *, n_experts: int, dropout: float) -> None:
        super().__init__()
        self.experts = nn.Linear(in_dim, n_experts * out_dim)
        self.gate = nn.Linear(in_dim, n_experts, bias=False)
        self.dropout = dropout
        self.scale = nn.Parameter(torch.ones(n_experts, out_dim))
        self.shift = nn.Parameter(torch.zeros(n_experts, out_dim))

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled content (N, d) to (N, D)."""
        opinions = dropped(self.experts(pooled), self.dropout, is_training=self.training)
        opinions = opinions.view(-1, *self.scale.shape)  # (N, E, D)
        opinions = functional.layer_norm(opinions, opinions.shape[-1:]) * self.scale
        gates = self.gate(pooled).softmax(-1)  # (N, E)
        mixed: Tensor = (opinions * gates.unsqueeze(-1)).sum(1) + gates @ self.shift  # einsum's gradient is slower
        return mixed


class ModalityEncoder(nn.Module):
    """One modality of an item: parts to one vector of model width, or the learned vector where it is missing."""

    def __init__(self, in_dim: int, config: Shape) -> None:
        super().__init__()
        self.pool = AttentionPool(in_dim)
        self.adaptor = MixtureAdaptor(in_dim, config.dim, n_experts=config.n_experts, dropout=config.dropout)
        self.missing = nn.Parameter(torch.randn(config.dim) * 0.02)

    def forward(self, packed: PackedParts) -> Tensor:
        """Encode N items to (N, D)."""
        present = packed.is_present()[:, None]  # (N, 1)
        return torch.where(present, self.adaptor(self.pool(packed)), self.missing)


class Block(nn.Module):
    """One causal Transformer block, normalised before attention and before the feed-forward."""

    def __init__(self, config: Shape) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.norm_attention = nn.LayerNorm(config.dim)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.norm_inner = nn.LayerNorm(config.dim)
        self.inner = nn.Linear(config.dim, config.inner_dim)
        self.outer = nn.Linear(config.inner_dim, config.dim)

    def forward(self, states: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D); a position sees itself and what came before it."""
        states = self._add(states, self._attend(self.norm_attention(states)))
        return self._add(states, self.outer(functional.gelu(self.inner(self.norm_inner(states)))))

    def _attend(self, states: Tensor) -> Tensor:
        batch, length, dim = states.shape
        heads = self.qkv(states).view(batch, length, 3, self.n_heads, dim // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, H, L, D/H)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        attended: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, dim))
        return attended

    def _add(self, states: Tensor, change: Tensor) -> Tensor:
        return add_dropped(states, change, self.dropout, is_training=self.training)


class SequenceEncoder(nn.Module):
    """The causal Transformer both streams share, with learned positions."""

    def __init__(self, config: Shape) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(config.window, config.dim) * 0.02)
        self.norm_input = nn.LayerNorm(config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm_output = nn.LayerNorm(config.dim)
        self.dropout = config.dropout

    def forward(self, items: Tensor) -> Tensor:
        """Item vectors (B, L, D), right-padded, to states (B, L, D).

        Padding on the right needs no mask: a causal position never sees it.

        Raises:
            ValueError: the sequences are longer than the window.
        """
        if items.shape[1] > len(self.positions):
            raise ValueError(f"sequences of {items.shape[1]} positions, window={len(self.positions)}; give the newest")
        states = self.norm_input(items + self.positions[: items.shape[1]])
        states = dropped(states, self.dropout, is_training=self.training)
        for block in self.blocks:
            states = block(states)
        normed: Tensor = self.norm_output(states)
        return normed


class M2SE(nn.Module):
    """The whole encoder: items from content and ID, sequences from items.

    Args:
        config: Shape.
        n_ids: Items that own a learned ID vector; rows at or beyond it are scored by content alone.
    """

    def __init__(self, config: EncoderConfig, *, n_ids: int = 0) -> None:
        super().__init__()
        self.config = config
        self.text = ModalityEncoder(config.text_dim, config)
        self.image = ModalityEncoder(config.image_dim, config)
        self.sequence = SequenceEncoder(config)
        self.ids = nn.Parameter(torch.zeros(n_ids, config.dim))
        n_buckets, hidden = config.n_time_buckets, config.time_dropout
        self.gaps = TimeGaps(n_buckets, config.dim, dropout=hidden) if n_buckets else None  # drawn last

    def grow_ids(self, n_ids: int) -> None:
        """Give items up to `n_ids` an ID vector; a new one starts at zero, as if it had none."""
        if n_ids < len(self.ids):
            raise ValueError(f"n_ids={n_ids} is below the {len(self.ids)} that exist; IDs are never taken away")
        grown = self.ids.new_zeros(n_ids, self.config.dim)
        grown[: len(self.ids)] = self.ids.detach()
        self.ids = nn.Parameter(grown)

    def encode_content(self, content: ContentTable | PackedContent) -> ItemVectors:
        """Adapt the content of every item of `content`; no ID enters."""
        packed = PackedContent.of(content) if isinstance(content, ContentTable) else content
        packed = packed.to(self.ids.device)
        return ItemVectors(self.text(packed.text), self.image(packed.image))

    def encode_items(
        self,
        content: ContentTable | PackedContent,
        *,
        rows: Tensor | None = None,
        id_dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> ItemVectors:
        """Adapt items and add ID vector i to both modalities of catalogue row i, where it has one.

        Args:
            content: N items.
            rows: (N,) int64, their catalogue rows; None for a whole catalogue, the first `n_ids` in the IDs' order.
            id_dropout: Share of the IDs left out, so that content alone also learns to place an item.
            generator: Draws which.
        """
        vectors = self.encode_content(content)
        if not len(self.ids):
            return vectors
        ids: Tensor = self.ids
        if id_dropout:
            ids = ids * (torch.rand(len(ids), 1, generator=generator).to(ids.device) >= id_dropout)
        if rows is None:
            ids = functional.pad(ids, (0, 0, 0, len(vectors.text) - len(ids)))  # (N, D)
        else:
            ids = functional.embedding(rows.clamp(max=len(ids) - 1), ids) * (rows < len(ids))[:, None]
        return ItemVectors(vectors.text + ids, vectors.image + ids)

    def encode_sequences(self, items: ItemVectors, ts_ms: Tensor | None = None) -> Tensor:
        """States of both streams.

        Args:
            items: text and image (B, L, D) of each position, right-padded, L at most `window`.
            ts_ms: (B, L) int64 event time of each position, or `UNKNOWN_MS`; only time buckets read it, and need it.

        Returns:
            (B, L, 2D): text-stream and image-stream state side by side, each of length 1.

        Raises:
            ValueError: the sequences are longer than the window, or the model has time buckets and there are no times.
        """
        if self.gaps is not None:
            if ts_ms is None:
                raise ValueError(f"n_time_buckets={self.config.n_time_buckets}: sequences need the times of events")
            gaps = self.gaps(ts_ms)  # (B, L, D)
            items = ItemVectors(items.text + gaps, items.image + gaps)
        both = self.sequence(torch.cat([items.text, items.image]))  # (2B, L, D)
        text, image = functional.normalize(both, dim=-1).chunk(2)
        return torch.cat([text, image], dim=-1)


def mix_complementary(items: ItemVectors, *, share: Tensor, has_both: Tensor, draws: Tensor) -> ItemVectors:
    """Complementary sequence mixup (section 4.2): at a random share of positions the two streams trade places.

    An item that lacks a modality stays where it is: its learned vector is no view of it that could be mixed in.

    Args:
        items: text and image (B, L, D).
        share: (B, 1), the mixing rate of each sequence.
        has_both: (B, L) bool, whether neither modality of the item there is missing.
        draws: (B, L) ~ U(0, 1), what is below the rate trades places.
    """
    swap = ((draws < share) & has_both).unsqueeze(-1)  # (B, L, 1)
    return ItemVectors(torch.where(swap, items.image, items.text), torch.where(swap, items.text, items.image))
