"""Intervals that resample users, not events: one user's events hang together, and users are what varies.

Sums by user are enough for it (the mean over the events of a resample is a ratio of sums), so memory grows
with users and not with events.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES = 1_000
_FIRST_ROWS = 1_024


class Interval(NamedTuple):
    """A mean over events and the bounds of its interval."""

    mean: float
    low: float
    high: float


class UserSums:
    """Per user, how many values were added and what they sum to."""

    def __init__(self, n_columns: int) -> None:
        self.n = 0
        self._row_of: dict[Hashable, int] = {}
        self._counts = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self._sums = np.zeros((_FIRST_ROWS, n_columns))

    def add(self, users: Sequence[Hashable], values: NDArray[np.float64]) -> None:
        """Add one row of values to each named user; a user may come several times.

        Args:
            users: (R,).
            values: (R, n_columns).
        """
        rows = [self._row_of.setdefault(user, len(self._row_of)) for user in users]
        self._grow(len(self._row_of))
        np.add.at(self._counts, rows, 1)
        np.add.at(self._sums, rows, values)
        self.n += len(rows)

    @property
    def users(self) -> list[Hashable]:
        """Users in the order of their first value."""
        return list(self._row_of)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(U,) values added, in the order of `users`."""
        return self._counts[: len(self._row_of)]

    @property
    def sums(self) -> NDArray[np.float64]:
        """(U, n_columns) sums, in the order of `users`."""
        return self._sums[: len(self._row_of)]

    def rows(self, users: Sequence[Hashable]) -> list[int]:
        """Rows of known users."""
        return [self._row_of[user] for user in users]

    def counts_by_user(self) -> dict[Hashable, int]:
        """How many values each user has."""
        return dict(zip(self._row_of, self.counts.tolist(), strict=True))

    def _grow(self, n_rows: int) -> None:
        spare = n_rows - len(self._counts)
        if spare > 0:
            more = max(spare, len(self._counts))
            self._counts = np.concatenate([self._counts, np.zeros(more, dtype=np.int64)])
            self._sums = np.concatenate([self._sums, np.zeros((more, self._sums.shape[1]))])


def mean_interval(
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """`mean_intervals` of a single metric.

    Args:
        sums: (U,) sum of the values of each user.
        counts: (U,) how many values that is, at least 1.
        level: share of resamples inside the interval.
        n_resamples: how often the users are drawn.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        The mean and its interval; NaN without users.
    """
    return mean_intervals(sums[:, None], counts, level=level, n_resamples=n_resamples, seed=seed)[0]


def mean_intervals(
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Percentile bootstrap of means over events, users drawn with replacement, the same draws for every metric.

    Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    For the difference of two models pass the difference of their sums: both are then resampled together.

    Args:
        sums: (U, M) sum of the values of each user, by metric.
        counts: (U,) how many values that is, at least 1.
        level: share of resamples inside the interval.
        n_resamples: how often the users are drawn.
        seed: of the draws; the same seed gives the same intervals.

    Returns:
        M means with their intervals; NaN without users.
    """
    n_users = len(sums)
    if n_users == 0:
        return [Interval(float("nan"), float("nan"), float("nan"))] * sums.shape[1]
    rng = np.random.default_rng(seed)
    means = np.empty((n_resamples, sums.shape[1]))
    for i in range(n_resamples):
        times = np.bincount(rng.integers(0, n_users, size=n_users), minlength=n_users)  # each user was drawn
        means[i] = (times @ sums) / (times @ counts)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    mean = sums.sum(axis=0) / counts.sum()
    return [Interval(*bounds) for bounds in zip(mean.tolist(), low.tolist(), high.tolist(), strict=True)]
