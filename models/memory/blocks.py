"""Users' histories as a stream: a user's events of one second are one block, and blocks come in the order of time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.encoder.batches import MS_PER_SECOND, SequenceData, run_starts


class Block(NamedTuple):
    """A user's events of one second: places `begin` to `end` of the flat arrays; the user's first is at `first`."""

    first: int
    begin: int
    end: int


def blocks_by_time(data: SequenceData, *, since_ms: int, until_ms: int) -> list[Block]:
    """The blocks that begin in [since_ms, until_ms), oldest first.

    >>> data = SequenceData.from_events(*np.array([[1, 1, 2], [0, 1, 2], [5_000, 9_000, 7_000]]))
    >>> [data.rows[block.begin].item() for block in blocks_by_time(data, since_ms=0, until_ms=10_000)]
    [0, 2, 1]
    """
    users, seconds = data.users(), data.ts_ms // MS_PER_SECOND
    begins = run_starts(users, seconds)
    ends = np.r_[begins, len(users)][1:]
    inside = np.flatnonzero((data.ts_ms[begins] >= since_ms) & (data.ts_ms[begins] < until_ms))
    order = inside[np.argsort(seconds[begins[inside]], kind="stable")]
    places = np.stack([data.starts[users[begins]], begins, ends], axis=1)[order]  # (n_blocks, 3)
    return [Block(*block) for block in places.tolist()]
