"""What lists of recommendations show, beside whether they are right: coverage, novelty, popularity, who is seen.

Item popularity is always that of training, so that a model is not excused by what the test shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.encoder.batches import SequenceData
from models.evaluation.ranks import BoolArray, IntArray

HEAD_SHARE = 0.2  # of the items, the most popular of which are the head (Abdollahpouri et al. 2019)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Popularity:
    """How often each item came in training.

    Attributes:
        counts: (N,) events.
    """

    counts: IntArray

    @classmethod
    def of(cls, train: SequenceData, n_items: int) -> Popularity:
        """Counted over all histories."""
        return cls(np.bincount(train.rows, minlength=n_items))

    @property
    def is_new(self) -> BoolArray:
        """(N,) items that never came."""
        is_new: BoolArray = self.counts == 0
        return is_new

    @property
    def is_head(self) -> BoolArray:
        """(N,) the most popular fifth of the items; among equals, those that stand first in the catalogue."""
        is_head = np.zeros(len(self.counts), np.bool_)
        is_head[np.argsort(-self.counts, kind="stable")[: round(HEAD_SHARE * len(self.counts))]] = True
        return is_head

    def percentiles(self) -> Values:
        """(N,) share of the items that are less popular, half of those equally popular included.

        >>> Popularity(np.array([5, 1, 1, 9])).percentiles().tolist()
        [0.625, 0.25, 0.25, 0.875]
        """
        ordered = np.sort(self.counts)
        below = np.searchsorted(ordered, self.counts, side="left")
        up_to = np.searchsorted(ordered, self.counts, side="right")
        return (below + up_to) / (2 * len(ordered))

    def information(self) -> Values:
        """(N,) self-information in bits, -log2 of the item's share of the events (Vargas & Castells 2011).

        One event is added to every item, so that one that never came has a value.
        """
        bits: Values = -np.log2((self.counts + 1) / (self.counts.sum() + len(self.counts)))
        return bits


LIST_METRICS = ("novelty@10", "popularity@10", "popularity_lift@10", "tail_share@10", "new_share@10")


def list_values(shown: IntArray, histories: Sequence[IntArray], popularity: Popularity) -> Values:
    """What each list is like, in the order of `LIST_METRICS`.

    Args:
        shown: (Q, k) items of each list, negative in an empty place.
        histories: Q of the users' items, each at least one.
        popularity: of the training.

    Returns:
        (Q, 5): mean bits of surprise; mean popularity percentile; how far that lies above the history's (popularity
        lift of Abdollahpouri et al., RecSys 2020, as a difference of percentiles); share of items outside the head;
        share of items that training never saw. NaN where the list is empty.
    """
    percentiles = popularity.percentiles()
    is_tail, is_new = ~popularity.is_head, popularity.is_new
    shown_percentile = _means(percentiles, shown)
    usual = np.array([percentiles[history].mean() for history in histories])
    columns = [
        _means(popularity.information(), shown),
        shown_percentile,
        shown_percentile - usual,
        _means(is_tail.astype(np.float64), shown),
        _means(is_new.astype(np.float64), shown),
    ]
    return np.stack(columns, axis=1)


def exposures(shown: IntArray, n_items: int) -> IntArray:
    """(N,) how often each item was shown."""
    return np.bincount(shown[shown >= 0], minlength=n_items)


def coverage(shown: IntArray, n_items: int) -> float:
    """Share of the items shown at least once: catalogue coverage (Ge et al., RecSys 2010)."""
    return float((exposures(shown, n_items) > 0).mean())


def gini(amounts: IntArray) -> float:
    """Gini coefficient of how exposure is spread (Fleder & Hosanagar 2009): 0 all alike or none, 1 - 1/N one has all.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    n, total = len(amounts), amounts.sum()
    if not total:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(amounts) / (n * total))


def group_shares(amounts: IntArray, groups: Sequence[Sequence[str]]) -> dict[str, float]:
    """Share of an amount by group, largest first; an item of several groups counts to each in equal parts.

    Of exposure it is Singh & Joachims' (KDD 2018), with the same weight for every place of a list.

    Args:
        amounts: (N,) by item.
        groups: N times the groups of an item, such as its provider or genres; empty where none is known.

    >>> group_shares(np.array([3, 1]), [["drama"], ["drama", "crime"]])
    {'drama': 0.875, 'crime': 0.125}
    """
    sums: dict[str, float] = {}
    for amount, names in zip(amounts.tolist(), groups, strict=True):
        for name in names:
            sums[name] = sums.get(name, 0.0) + amount / len(names)
    total = sum(sums.values())
    return {name: value / total for name, value in sorted(sums.items(), key=lambda pair: -pair[1])} if total else {}


def _means(values: Values, shown: IntArray) -> Values:
    """(Q,) mean of the items' values over the filled places of each list."""
    is_filled = shown >= 0
    n_filled = is_filled.sum(axis=1)
    sums = np.where(is_filled, values[shown], 0.0).sum(axis=1)
    means = np.full(len(shown), np.nan)
    np.divide(sums, n_filled, out=means, where=n_filled > 0)
    return means
