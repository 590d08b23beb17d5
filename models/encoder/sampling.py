"""A softmax over a sample of a catalogue too large for all of it, corrected for how likely each item is drawn.

Negatives are drawn with replacement, popular items more often, and each distinct one counts once: item j is among
them with probability 1 - (1 - p_j)^B. Its exponential is divided by that, so that the sampled denominator is the full
one in expectation (Horvitz & Thompson 1952; Bengio & Senecal 2008 divide by the expected number of draws, which is
right only where nothing is drawn twice). The target is always there and counts as itself.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MAX_ITEMS = 20_000
"""Items of a catalogue that the softmax over all is for."""
N_DRAWS = 8_192
"""Drawn a step from a larger one, where nothing else is asked."""


class ItemSample(NamedTuple):
    """Distinct items that were drawn.

    Attributes:
        rows: (S,) int64, ascending.
        log_inclusion: (S,) logarithm of the probability that a sample holds the item.
    """

    rows: Tensor
    log_inclusion: Tensor

    def to(self, device: torch.device) -> "ItemSample":
        """The same on a device."""
        return ItemSample(self.rows.to(device), self.log_inclusion.to(device))


def log_inclusion(shares: Tensor, n_draws: int) -> Tensor:
    """Logarithm of the chance that at least one of so many draws is this item.

    Args:
        shares: (N,) float64, each item's share of the draws, above 0.
        n_draws: B, at least 1.

    Returns:
        (N,) float64.
    """
    return (-torch.expm1(n_draws * torch.log1p(-shares))).log()  # a single item: log1p(-1) is fine


class ItemSampler:
    """Draws items in proportion to how often they are targets, plus one, so that each can be drawn.

    Args:
        counts: (N,) how often each item is a target.
        n_draws: B, at least 1; fewer distinct items come out.
    """

    def __init__(self, counts: Tensor, n_draws: int) -> None:
        shares = (counts.double() + 1.0) / (counts.double() + 1.0).sum()
        self._ends = shares.cumsum(0)
        self._n_draws = n_draws
        self._log_inclusion = log_inclusion(shares, n_draws)

    @classmethod
    def where_needed(cls, counts: Tensor, n_draws: int) -> "ItemSampler | None":
        """Of so many draws, or for 0 as the catalogue's size wants it: None for the softmax over all of it."""
        return cls(counts, n_draws or N_DRAWS) if n_draws or len(counts) > MAX_ITEMS else None

    def draw(self, generator: torch.Generator) -> ItemSample:
        """One sample."""
        places = torch.rand(self._n_draws, generator=generator, dtype=torch.float64) * self._ends[-1]
        rows = torch.unique(torch.searchsorted(self._ends, places, right=True).clamp_(max=len(self._ends) - 1))
        return ItemSample(rows, self._log_inclusion[rows].float())


def sampled_next_item(
    states: Tensor, positives: Tensor, negatives: Tensor, *, same: Tensor, log_inclusion: Tensor
) -> Tensor:
    """Softmax cross-entropy of each target against the sample.

    Args:
        states: (M, D), over the temperature already.
        positives: (M, D), the vector of each row's target.
        negatives: (S, D), the vectors of the sample.
        same: (M, S) bool, whether the drawn item is the row's target: it is no negative there.
        log_inclusion: (S,), as in `ItemSample`.

    Returns:
        Scalar, mean over rows.
    """
    right = (states * positives).sum(-1, keepdim=True)  # (M, 1)
    wrong = (states @ negatives.T - log_inclusion).masked_fill(same, float("-inf"))  # (M, S)
    first = torch.zeros(len(states), dtype=torch.int64, device=states.device)
    return functional.cross_entropy(torch.cat([right, wrong], dim=1), first)
