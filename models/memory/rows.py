"""Rows of partners by item, bounded in size, each with the moment its weights are of. What `transitions.py` adds to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_ITEMS = 1_024
_GROWTH = 4  # a quarter more at a time
_LEAST_FADING = 1e-6  # half-lives; one of the usual 500,000 events is two of these


class Moment(NamedTuple):
    """A place in the stream: its highest event time so far, and how many events came."""

    ts_ms: int
    n_events: int


@dataclass(frozen=True, eq=False)
class Row:
    """One item's partners, as they were at a moment.

    Attributes:
        partners: (K,) item numbers, distinct.
        weights: (K,) float32 of the pairs.
        count: of the item's events.
        moment: from which all of them fade.
    """

    partners: Ints
    weights: Floats
    count: float
    moment: Moment

    def strongest(self, n: int) -> Row:
        """The same with its strongest partners only, at most `n`, in their order."""
        if len(self.partners) <= n:
            return self
        kept = np.sort(np.argsort(-self.weights, kind="stable")[:n])
        return replace(self, partners=self.partners[kept], weights=self.weights[kept])


class HalfLives(NamedTuple):
    """In how much stream time, and in how many events, weights halve; both apply."""

    ms: float
    events: float


class Rows:
    """The rows of items 0 to N-1, in arrays that grow.

    Cells of a row are filled from its start. Partners are kept as number + 1; 0 is an empty cell.
    """

    def __init__(self, row_size: int, half_lives: HalfLives) -> None:
        self.row_size, self.half_lives = row_size, half_lives
        self.n_items = 0
        self._partners = np.zeros((_FIRST_ITEMS, row_size), np.int32)
        self._weights = np.zeros((_FIRST_ITEMS, row_size), np.float32)
        self._counts = np.zeros(_FIRST_ITEMS, np.float64)
        self._stamps = np.zeros((_FIRST_ITEMS, 2), np.int64)  # a moment each
        self._places = np.zeros(_FIRST_ITEMS, np.float64)  # of these moments, in half-lives

    def grow(self, n_items: int) -> None:
        """Have room for so many items.

        The arrays are resized in place: the system moves pages, not bytes, and the peak is not twice the size.
        """
        self.n_items = max(self.n_items, n_items)
        have = len(self._counts)
        if n_items <= have:
            return
        size = max(n_items, have + have // _GROWTH)
        for array in (self._partners, self._weights, self._counts, self._stamps, self._places):
            array.resize((size, *array.shape[1:]), refcheck=False)  # no view ever leaves this class

    def fade(self, items: Ints, now: Moment) -> None:
        """Bring the rows of distinct items to this moment.

        Those that faded next to nothing since theirs stay at it: the factor would be 1 in float32, time and again.
        """
        items = items[self._place(now) - self._places[items] >= _LEAST_FADING]
        factors = self._factors(items, now)
        self._weights[items] *= factors.astype(np.float32)[:, None]
        self._counts[items] *= factors
        self._stamps[items] = now
        self._places[items] = self._place(now)

    def add_count(self, item: int, amount: float) -> None:
        """Add to the item's count, as it stands at its row's moment."""
        self._counts[item] += amount

    def add_row(self, item: int, partners: Ints, weights: Floats) -> None:
        """Add to the item's pairs with distinct partners; where the row is full, the weakest make room.

        Args:
            item: whose row, faded to now.
            partners: (K,), at most `row_size`.
            weights: (K,).
        """
        cells, sums = self._partners[item], self._weights[item]  # views
        hits = (
            cells == (partners + 1).astype(np.int32)[:, None]
        )  # (K, row_size); of one type, so that none is converted
        places = hits.argmax(axis=1)
        known = hits[np.arange(len(partners)), places]
        sums[places[known]] += weights[known]
        if not known.all():
            new = ~known
            weakest = _weakest(sums, int(np.count_nonzero(new)))  # empty cells come first
            cells[weakest] = partners[new] + 1
            sums[weakest] = weights[new]

    def add_column(self, items: Ints, partner: int, weights: Floats) -> None:
        """Add to the pairs of distinct items with one partner; in full rows the weakest makes room.

        Args:
            items: (K,) whose rows, faded to now.
            partner: the same for all.
            weights: (K,).
        """
        hits = self._partners[items] == np.int32(partner + 1)  # (K, row_size)
        places = hits.argmax(axis=1)
        known = hits[np.arange(len(items)), places]
        if known.all():
            self._weights[items, places] += weights
            return
        places = np.where(known, places, self._weights[items].argmin(axis=1))
        before = np.where(known, self._weights[items, places], np.float32(0.0))
        self._partners[items, places] = partner + 1
        self._weights[items, places] = before + weights

    def counts(self, items: Ints, now: Moment) -> Doubles:
        """(K,) counts as they stand at this moment."""
        counts: Doubles = self._counts[items] * self._factors(items, now)
        return counts

    def sums(self, items: Ints, shares: Doubles, now: Moment, *, n_items: int) -> Doubles:
        """(n_items,) by partner: the items' weights at this moment, times the items' shares (K,), summed."""
        factors = (self._factors(items, now) * shares).astype(np.float32)
        weighted = self._weights[items]
        weighted *= factors[:, None]
        by_partner = np.bincount(self._partners[items].ravel(), weighted.ravel(), minlength=n_items + 1)
        sums: Doubles = by_partner[1 : n_items + 1].astype(np.float64, copy=False)
        return sums

    def get(self, item: int) -> Row:
        """A copy of the item's row."""
        used = np.flatnonzero(self._partners[item])
        ts_ms, n_events = self._stamps[item].tolist()
        partners = self._partners[item, used].astype(np.int64) - 1
        return Row(partners, self._weights[item, used], float(self._counts[item]), Moment(ts_ms, n_events))

    def packed(self) -> tuple[Ints, Ints, Floats, Doubles, Ints]:
        """Copies of all rows: how long each is, partners and weights of one row after the other, counts, moments."""
        partners = self._partners[: self.n_items]
        used = partners > 0
        cells = partners[used].astype(np.int64) - 1
        counts, moments = self._counts[: self.n_items].copy(), self._stamps[: self.n_items].copy()
        return used.sum(axis=1), cells, self._weights[: self.n_items][used], counts, moments

    def put(self, item: int, row: Row) -> None:
        """Replace the item's row; of one that is too long the strongest stay."""
        self.grow(max(item, int(row.partners.max(initial=0))) + 1)
        row = row.strongest(self.row_size)
        for array, values in ((self._partners, row.partners + 1), (self._weights, row.weights)):
            array[item, : len(values)] = values
            array[item, len(values) :] = 0
        self._counts[item] = row.count
        self._stamps[item] = row.moment
        self._places[item] = self._place(row.moment)

    def _factors(self, items: Ints, now: Moment) -> Doubles:
        """(K,) what is left at this moment of weights of the rows' moments."""
        factors: Doubles = np.exp2(self._places[items] - self._place(now))
        return factors

    def _place(self, moment: Moment) -> float:
        """A moment as a number of half-lives."""
        return moment.ts_ms / self.half_lives.ms + moment.n_events / self.half_lives.events


def _weakest(weights: Floats, n: int) -> Ints:
    """(n,) places of the lowest of few weights, lowest first; of equal ones the first."""
    return np.argsort(weights, kind="stable")[:n] if n > 1 else np.array([weights.argmin()])
