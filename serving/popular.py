"""What no model decides: trending items, and the newest. Counted anew at most once a second."""

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from consumers.catalog.catalog import Catalog
from consumers.sequences.user_sequences import UserSequences
from serving.parts import Trending

N_CANDIDATES = 1_000
N_NEWCOMERS = 20
MAX_AGE_S = 1.0


class Popular:
    """Popular items. Any thread may ask; two that ask at once may both count, which does no harm."""

    def __init__(
        self,
        sequences: UserSequences,
        catalog: Catalog,
        counts: Trending | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sequences = sequences
        self._catalog = catalog
        self._counts = counts
        self._clock = clock
        self._counted: tuple[float, list[str]] | None = None

    def top(self, k: int, exclude: AbstractSet[str]) -> list[str]:
        """At most k items that the catalogue knows, without those excluded."""
        chosen: list[str] = []
        for item_id in self._candidates():
            if len(chosen) == k:
                break
            if item_id not in exclude and self._catalog.get(item_id) is not None:
                chosen.append(item_id)
        return chosen

    def _candidates(self) -> list[str]:
        now_s = self._clock()
        if self._counted is None or now_s - self._counted[0] >= MAX_AGE_S or not self._counted[1]:
            everywhere = self._counts.trending(N_CANDIDATES) if self._counts is not None else ()
            trending = everywhere or self._sequences.trending(N_CANDIDATES)  # of the users here, if nobody counts all
            newest = self._catalog.newest(N_CANDIDATES)
            self._counted = (now_s, list(dict.fromkeys([*trending, *newest])))
        return self._counted[1]


class Newcomers:
    """The items that arrived last, which compete for one place in each feed. Any thread may ask."""

    def __init__(self, catalog: Catalog, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._catalog = catalog
        self._clock = clock
        self._looked: tuple[float, list[str]] | None = None

    def ids(self) -> list[str]:
        """Newest first; up to a second old."""
        now_s = self._clock()
        if self._looked is None or now_s - self._looked[0] >= MAX_AGE_S:
            self._looked = (now_s, self._catalog.newest(N_NEWCOMERS))
        return self._looked[1]
