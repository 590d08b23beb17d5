"""How often each item came among the last events: what the blend calls trending, counted live as it is offline."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from heapq import nsmallest
from itertools import accumulate
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.memory.learner import N_TRENDING
from models.memory.popularity import WINDOW
from stream.events import MAX_BLEND_BYTES

_COUNTED_S = 1.0
_STATE_BYTES, _COUNT_BYTES = 4_096, 12  # of all else in a state, and of a count with what stands around it
_CHARACTER_BYTES = 6  # at most, escaped


class RecentItems:
    """Counts over the last events of all users. One thread.

    Args:
        window: how many events; `models.memory.popularity.WindowedPopularity` has as many.
        clock: seconds, never going back.
    """

    def __init__(self, window: int = WINDOW, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._window, self._clock = window, clock
        self._events: deque[str] = deque()
        self._counts: Counter[str] = Counter()
        self._said: Mapping[str, int] = {}
        self._said_at: float | None = None

    def add(self, item_id: str) -> None:
        """Count one event; the oldest falls out of a full window."""
        self._events.append(item_id)
        self._counts[item_id] += 1
        if len(self._events) > self._window:
            oldest = self._events.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]

    def counts(self) -> Mapping[str, int]:
        """How often each of the `N_TRENDING` items with most came, of equals those first by id.

        Fewer where a state would not hold their ids, beyond 60 characters each. The same object until it is a second
        old.
        """
        now = self._clock()
        if self._said_at is None or now - self._said_at >= _COUNTED_S:
            most = nsmallest(N_TRENDING, self._counts.items(), key=lambda one: (-one[1], one[0]))
            sizes = accumulate((_COUNT_BYTES + _CHARACTER_BYTES * len(one) for one, _ in most), initial=_STATE_BYTES)
            next(sizes)
            self._said = dict(one for one, size in zip(most, sizes, strict=True) if size <= MAX_BLEND_BYTES)
            self._said_at = now
        return self._said

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays, for a snapshot."""
        number = {item_id: nth for nth, item_id in enumerate(self._counts)}
        ids = np.frombuffer(msgspec.json.encode(list(number)), np.uint8)
        return {"recent_ids": ids, "recent": np.array([number[item_id] for item_id in self._events], np.int32)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""
        ids = msgspec.json.decode(state["recent_ids"].tobytes(), type=list[str])
        self._events = deque(ids[number] for number in state["recent"].tolist())
        self._counts, self._said_at = Counter(self._events), None
