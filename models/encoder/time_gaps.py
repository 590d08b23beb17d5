"""How long after the event before it an event came, as one of a few learned vectors: log-gap time buckets.

TiSASRec (Li, Wang & McAuley, WSDM 2020) and HSTU (Zhai et al., ICML 2024, arXiv 2402.17152) let the time between every
two positions bias attention, HSTU in buckets of its logarithm. Deviation, for simplicity: a position knows only the
time since the one before it, and its bucket's vector is added to what enters the encoder, like the position's own.

Where nobody knows the times, as of a session's items, nothing is added; training hides those of some sequences, so that
these are answered as well.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoder.batches import MS_PER_SECOND

UNKNOWN_MS = -1
"""In the place of an event time: nobody knows it."""


class TimeGaps(nn.Module):
    """One learned vector a bucket.

    Args:
        n_buckets: At least 3.
        dim: Width D.
        dropout: Share of the sequences whose times training hides.
    """

    def __init__(self, n_buckets: int, dim: int, *, dropout: float) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(n_buckets, dim) * 0.02)
        self.dropout = dropout

    def forward(self, ts_ms: Tensor) -> Tensor:
        """Event times (B, L) int64 to vectors (B, L, D), zeros where it or the one before is `UNKNOWN_MS`."""
        is_known = ts_ms != UNKNOWN_MS
        is_known = is_known & functional.pad(is_known[:, :-1], (1, 0), value=True)
        if self.training:
            is_known = is_known & (torch.rand(len(ts_ms), 1, device=ts_ms.device) >= self.dropout)
        vectors = functional.embedding(gap_buckets(ts_ms, len(self.vectors)), self.vectors)
        return vectors * is_known[..., None]


def gap_buckets(ts_ms: Tensor, n_buckets: int) -> Tensor:
    """The bucket of the time since the position before.

    Whole seconds are compared, as events of one second have no order. 0: nothing is before it; 1: the same second, or
    an earlier one, as in padding; 2 + b: 2**b to 2**(b + 1) - 1 seconds, the last bucket without an end.

    Args:
        ts_ms: (B, L) int64, oldest first.
        n_buckets: At least 3.

    Returns:
        (B, L) int64.

    >>> gap_buckets(torch.tensor([[10_000, 10_900, 11_000, 14_000, 3_614_000]]), 32).tolist()
    [[0, 1, 2, 3, 13]]
    """
    gaps_s = ts_ms.div(MS_PER_SECOND, rounding_mode="floor").diff(dim=-1).clamp(min=0)
    _, n_bits = torch.frexp(gaps_s.double())  # 0 of 0, else 1 + floor(log2), exactly
    return functional.pad((n_bits.long() + 1).clamp(max=n_buckets - 1), (1, 0))
