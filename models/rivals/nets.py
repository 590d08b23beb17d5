"""The neural rivals: an item tower, a sequence encoder, and scores by dot product or cosine.

- GRU4Rec (Hidasi & Karatzoglou, CIKM 2018, arXiv 1706.03847): ID vectors, a GRU.
- SASRec (Kang & McAuley, ICDM 2018, arXiv 1808.09781): ID vectors, M2SE's causal Transformer, normalised before
  attention.
- UniSRec (Hou et al., KDD 2022, arXiv 2206.05941), text only and trained on this catalogue alone: text vectors through
  a mixture of whitening experts, the same Transformer.

Deviations from all three: every position is a target, and the loss is a softmax over all items that own an ID (the
originals sample negatives, or take the batch's); with it SASRec is at its best (Klenitskiy & Vasilev, RecSys 2023,
arXiv 2309.07602). Scores of all three are cosines over a temperature of 0.07, as UniSRec has them and M2SE; GRU4Rec and
SASRec had plain products, which `NextItemConfig.scores` brings back; with a `TimedShape` they read M2SE's time buckets,
too. AdamW, its rate rising and falling linearly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.content.table import ContentTable
from models.encoder import objectives
from models.encoder.batches import Batch
from models.encoder.config import Shape, TimedShape
from models.encoder.m2se import SequenceEncoder
from models.encoder.time_gaps import TimeGaps
from models.rivals.config import NextItemConfig
from models.rivals.counting import mean_part


class IdTower(nn.Module):
    """One learned vector an item; items beyond them have none."""

    def __init__(self, n_owners: int, shape: Shape) -> None:
        super().__init__()
        self.n_items = n_owners
        self.vectors = nn.Parameter(torch.randn(n_owners, shape.dim) * shape.dim**-0.5)

    def forward(self, n_items: int) -> Tensor:
        """(n_items, D) of the first items."""
        return self.vectors[:n_items]


class WhiteningAdaptor(nn.Module):
    """Mixture of E parametric whitenings `(x - b) W`, the gate noisy in training (UniSRec section 2.1)."""

    def __init__(self, in_dim: int, shape: Shape) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(shape.n_experts, in_dim))
        self.turn = nn.Parameter(torch.randn(shape.n_experts, in_dim, shape.dim) * 0.02)
        self.gate = nn.Linear(in_dim, shape.n_experts, bias=False)
        self.noise = nn.Linear(in_dim, shape.n_experts, bias=False)
        self.dropout = shape.dropout

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, d) to (N, D)."""
        weights = self.gate(vectors)  # (N, E)
        if self.training:
            weights = weights + torch.randn_like(weights) * (functional.softplus(self.noise(vectors)) + 1e-2)
        kept = functional.dropout(vectors, self.dropout, self.training)
        opinions = torch.einsum("nd,edk->nek", kept, self.turn)
        opinions = opinions - torch.einsum("ed,edk->ek", self.shift, self.turn)
        return torch.einsum("ne,nek->nk", weights.softmax(-1), opinions)


class TextTower(nn.Module):
    """Text to model width: an item is the mean of its parts; one learned vector stands for a missing text."""

    def __init__(self, content: ContentTable, shape: Shape) -> None:
        super().__init__()
        self.n_items = len(content)
        self.text = nn.Buffer(mean_part(content.text, content.text_mask), persistent=False)
        self.is_present = nn.Buffer(content.text_mask.any(-1, keepdim=True), persistent=False)
        self.adaptor = WhiteningAdaptor(self.text.shape[1], shape)
        self.missing = nn.Parameter(torch.randn(shape.dim) * 0.02)

    def forward(self, n_items: int) -> Tensor:
        """(n_items, D) of the first items."""
        return self.encode(self.text[:n_items], self.is_present[:n_items])

    def encode(self, text: Tensor, is_present: Tensor) -> Tensor:
        """(N, D) of any items by their mean part (N, d_t), where (N, 1) says there is one."""
        return torch.where(is_present, self.adaptor(text), self.missing)


class RecurrentEncoder(nn.Module):
    """A GRU in the place of the Transformer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gru = nn.GRU(shape.dim, shape.inner_dim, shape.n_layers, batch_first=True)
        self.out = nn.Linear(shape.inner_dim, shape.dim)
        self.dropout = shape.dropout

    def forward(self, items: Tensor) -> Tensor:
        """Item vectors (B, L, D), right-padded, to states (B, L, D); a position sees what came before it."""
        states, _ = self.gru(functional.dropout(items, self.dropout, self.training))
        out: Tensor = self.out(functional.dropout(states, self.dropout, self.training))
        return out


class NextItemNet(nn.Module):
    """Item vectors, states after each position, and the softmax that both are learned by.

    Args:
        items: `IdTower` or `TextTower`.
        config: which encoder and which scores.
        n_owners: items training knows.
    """

    def __init__(self, items: IdTower | TextTower, config: NextItemConfig, *, n_owners: int) -> None:
        super().__init__()
        self.items, self.config = items, config
        shape = config.shape
        self.sequence = RecurrentEncoder(shape) if config.encoder == "gru" else SequenceEncoder(shape)
        self.n_owners = n_owners
        self.is_cosine = config.scores == "cosine"
        self.temperature = shape.temperature if self.is_cosine else 1.0
        self.gaps: TimeGaps | None = None
        if isinstance(shape, TimedShape) and shape.n_time_buckets:
            self.gaps = TimeGaps(shape.n_time_buckets, shape.dim, dropout=shape.time_dropout)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Softmax cross-entropy over the items that own an ID, at every target of the batch."""
        vectors = self.items(self.n_owners)
        states = self.states(vectors, batch.rows, batch.ts_ms)[batch.is_target]  # (M, D)
        targets = batch.targets[batch.is_target]
        return objectives.next_item(states, self.scored(vectors), targets, temperature=self.temperature)

    def states(self, vectors: Tensor, rows: Tensor, ts_ms: Tensor | None) -> Tensor:
        """States (B, L, D) after each position, ready for a dot product with `scored`.

        Args:
            vectors: (N, D) of the items.
            rows: (B, L) int64, right-padded.
            ts_ms: (B, L) int64 event times; only time buckets read them, and need them.

        Raises:
            ValueError: there are time buckets and no times.
        """
        items = functional.embedding(rows, vectors)
        if self.gaps is not None:
            if ts_ms is None:
                raise ValueError(f"{len(self.gaps.vectors)} time buckets: sequences need the times of events")
            items = items + self.gaps(ts_ms)
        return self.scored(self.sequence(items))

    def scored(self, vectors: Tensor) -> Tensor:
        """Vectors (..., D) as they enter a score: of length 1 where scores are cosines."""
        return functional.normalize(vectors, dim=-1) if self.is_cosine else vectors
