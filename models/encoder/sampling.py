"""A softmax over a sample of a catalogue too large for all of it, corrected for how likely each item is drawn.

Negatives are drawn with replacement, popular items more often, and each distinct one counts once: item j is among
them with probability 1 - (1 - p_j)^B. Its exponential is divided by that, so that the sampled denominator is the full
one in expectation (Horvitz & Thompson 1952; Bengio & Senecal 2008 divide by the expected number of draws, which is
right only where nothing is drawn twice). The target is always there and counts as itself.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MAX_ITEMS = 20_000
"""Items of a catalogue that the softmax over all is for."""
N_DRAWS = 8_192
"""Drawn a step from a larger one, where nothing else is asked."""
NEVER_A_NEGATIVE = 80.0
"""As a log inclusion: nothing is left of the item beside others, and its own score survives taking it off and back."""


class ItemSample(NamedTuple):
    """Distinct items that were drawn.

    Attributes:
        rows: (S,) int64, ascending.
        log_inclusion: (S,) logarithm of the probability that a sample holds the item.
    """

    rows: Tensor
    log_inclusion: Tensor

    def beside(self, targets: Tensor) -> tuple["ItemSample", Tensor]:
        """The sample and a batch's targets, for `softmax_loss`; those that were not drawn are negatives of nobody.

        Args:
            targets: (M,) int64.

        Returns:
            The distinct items of both, and the place (M,) of each target in them.
        """
        rows, places = torch.unique(torch.cat([self.rows, targets]), return_inverse=True)
        inclusion = self.log_inclusion.new_full(rows.shape, NEVER_A_NEGATIVE)
        inclusion[places[: len(self.rows)]] = self.log_inclusion
        return ItemSample(rows, inclusion), places[len(self.rows) :]

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
