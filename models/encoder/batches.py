"""From users' event histories to training batches: every position a target, little padding, ties never sorted.

Events of one user in the same second have no order; each epoch draws one anew. Histories are cut into windows from a
random phase, and windows of like length share a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MS_PER_SECOND = 1000


@dataclass(frozen=True)
class SequenceData:
    """Events of many users, flat, grouped by user and ascending in time inside a user.

    Args:
        rows: (n_events,) int64, catalogue row of each event's item.
        ts_ms: (n_events,) int64, event time.
        starts: (n_users + 1,) int64, where each user's events start; the last is n_events.
        is_target: (n_events,) bool, whether the event may be predicted in training; others are context only.
    """

    rows: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    starts: NDArray[np.int64]
    is_target: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        n = len(self.rows)
        if not (len(self.ts_ms) == len(self.is_target) == n and self.starts[0] == 0 and self.starts[-1] == n):
            raise ValueError(
                f"arrays disagree: rows={n}, ts_ms={len(self.ts_ms)}, is_target={len(self.is_target)}, "
                f"starts run {self.starts[0]}..{self.starts[-1]}"
            )

    @classmethod
    def from_events(
        cls,
        users: NDArray[np.int64],
        rows: NDArray[np.int64],
        ts_ms: NDArray[np.int64],
        *,
        is_target: NDArray[np.bool_] | None = None,
    ) -> "SequenceData":
        """Group events, in any order, by user and time.

        >>> data = SequenceData.from_events(np.array([7, 3, 7]), np.array([0, 1, 2]), np.array([20, 5, 10]))
        >>> data.rows.tolist(), data.starts.tolist()
        ([1, 2, 0], [0, 1, 3])
        """
        order = np.lexsort((ts_ms, users))
        grouped = users[order]
        starts = np.r_[run_starts(grouped), len(users)]
        flags = np.ones(len(users), np.bool_) if is_target is None else is_target[order]
        return cls(rows[order], ts_ms[order], starts, flags)

    @property
    def n_targets(self) -> int:
        """Events that can be predicted: all but each user's first, where allowed."""
        flags = self.is_target.copy()
        flags[self.starts[:-1]] = False
        return int(flags.sum())

    def subset(self, kept: NDArray[np.bool_], is_target: NDArray[np.bool_]) -> "SequenceData":
        """The events marked in `kept`, with new target flags (both (n_events,)); users left empty disappear."""
        users = self.users()[kept]
        starts = np.r_[run_starts(users), len(users)]
        return SequenceData(self.rows[kept], self.ts_ms[kept], starts, is_target[kept])

    def users(self) -> NDArray[np.int64]:
        """(n_events,) index of each event's user."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


@dataclass(frozen=True)
class Batch:
    """Windows of like length, right-padded with their own first event, so that padding brings no item into a batch.

    Args:
        rows: (B, L) int64, catalogue row at each position.
        targets: (B, L) int64, catalogue row that came next.
        is_target: (B, L) bool, where the loss is taken; False on padding.
        lengths: (B,) int64, real positions, at least 1.
        ts_ms: (B, L) int64, event time at each position; None only where no model reads it.
        own: Where these windows are in the batch they are a share of.
        shared: That batch, where several processes share one.
    """

    rows: Tensor
    targets: Tensor
    is_target: Tensor
    lengths: Tensor
    ts_ms: Tensor | None = None
    own: slice = field(default_factory=lambda: slice(None))
    shared: "Batch | None" = None

    @property
    def whole(self) -> "Batch":
        """The batch this is a share of, or this one."""
        return self if self.shared is None else self.shared

    def to(self, device: torch.device) -> "Batch":
        """The whole batch on a device."""
        return replace(
            self,
            rows=self.rows.to(device),
            targets=self.targets.to(device),
            is_target=self.is_target.to(device),
            lengths=self.lengths.to(device),
            ts_ms=None if self.ts_ms is None else self.ts_ms.to(device),
        )

    def share(self, own: slice) -> "Batch":
        """Some of the windows, padded as they were."""
        return Batch(
            rows=self.rows[own],
            targets=self.targets[own],
            is_target=self.is_target[own],
            lengths=self.lengths[own],
            ts_ms=None if self.ts_ms is None else self.ts_ms[own],
            own=own,
            shared=self,
        )


def epoch_batches(
    data: SequenceData, *, window: int, batch_size: int, rng: np.random.Generator, max_item_drop: float = 0.0
) -> Iterator[Batch]:
    """One pass over every predictable event.

    Args:
        data: The histories.
        window: Positions L of a window at most.
        batch_size: Windows per batch at most.
        rng: Draws the order of ties, the cuts, dropped items and the order of batches.
        max_item_drop: Random item drop (MP4SR section 4.2): each user loses a share ~ U(0, max) of events, never the
            first.
    """
    shuffled = _shuffle_ties(data, rng)
    if max_item_drop:
        shuffled = _drop_items(shuffled, max_item_drop, rng)
    starts, lengths = _cut(shuffled, window, rng)
    by_length = np.argsort(lengths + rng.random(len(lengths)), kind="stable")
    chunks = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
    for index in rng.permutation(len(chunks)):
        batch = _gather(shuffled, starts[chunks[index]], lengths[chunks[index]])
        if bool(batch.is_target.any()):
            yield batch


def run_starts(*columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n_runs,) where runs of rows begin that are the same in all columns (n,).

    >>> run_starts(np.array([4, 4, 5, 5]), np.array([1, 1, 1, 2])).tolist()
    [0, 2, 3]
    """
    is_first = np.ones(len(columns[0]), np.bool_)
    is_first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(is_first)


def padded(rows: Sequence[Sequence[int] | NDArray[np.int64]]) -> Tensor:
    """(B, L) int64, padded with 0 on the right; L is at least 1."""
    matrix = np.zeros((len(rows), max((len(row) for row in rows), default=0) or 1), dtype=np.int64)
    for place, row in zip(matrix, rows, strict=True):
        place[: len(row)] = row
    return torch.from_numpy(matrix)


def last_states(states: Tensor, lengths: Tensor) -> Tensor:
    """State at each history's last real position.

    Args:
        states: (B, L, D), right-padded.
        lengths: (B,) int64, real items, at least 1.

    Returns:
        (B, D).
    """
    return states[torch.arange(len(lengths)), lengths - 1]


def _shuffle_ties(data: SequenceData, rng: np.random.Generator) -> SequenceData:
    """The same histories with the events of each user's second in a new order."""
    order = np.lexsort((rng.random(len(data.rows)), data.ts_ms // MS_PER_SECOND, data.users()))
    return SequenceData(data.rows[order], data.ts_ms[order], data.starts, data.is_target[order])


def _drop_items(data: SequenceData, max_share: float, rng: np.random.Generator) -> SequenceData:
    users = data.users()
    share = rng.uniform(0.0, max_share, len(data.starts) - 1)
    kept = rng.random(len(data.rows)) >= share[users]
    kept[data.starts[:-1]] = True
    return data.subset(kept, data.is_target)


def _cut(data: SequenceData, window: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First event and number of input positions of each window; a window of n positions reads n + 1 events."""
    n_inputs = np.diff(data.starts) - 1  # the last event of a user is only ever a target
    first = data.starts[:-1][n_inputs > 0]
    n_inputs = n_inputs[n_inputs > 0]
    phase = np.where(n_inputs > window, rng.integers(0, window, len(n_inputs)), 0)
    n_windows = -(-(n_inputs + phase) // window)
    user = np.repeat(np.arange(len(first)), n_windows)
    nth = np.arange(len(user)) - np.repeat(n_windows.cumsum() - n_windows, n_windows)
    begin = np.maximum(nth * window - phase[user], 0)
    end = np.minimum((nth + 1) * window - phase[user], n_inputs[user])
    return first[user] + begin, end - begin


def _gather(data: SequenceData, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batch:
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]  # (B, L)
    at = np.where(real, starts[:, None] + columns, starts[:, None])
    return Batch(
        rows=torch.from_numpy(data.rows[at]),
        targets=torch.from_numpy(data.rows[at + 1]),
        is_target=torch.from_numpy(real & data.is_target[at + 1]),
        lengths=torch.from_numpy(lengths),
        ts_ms=torch.from_numpy(data.ts_ms[at]),
    )
