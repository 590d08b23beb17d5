"""What is popular, counted from the rings of a store: the link between user sequences and trending counts.

The counts of a partition are those of the events in its rings, so they are not kept on disk: a store that was
loaded is counted anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from consumers.sequences.rings import Columns, Int64s
from consumers.sequences.store import SequenceStore
from stream.windows.trending import HOUR_MS, N_HOURS, HourCounts, TrendingCounts

MAX_CELLS = 32_000_000  # hours times items: 256 MB while counting


def counted(store: SequenceStore, *, max_cells: int = MAX_CELLS) -> TrendingCounts:
    """The counts of all rings; 50 million events of one day take seconds.

    Args:
        store: as it was loaded.
        max_cells: a catalogue of more items times hours is counted by sorting events, which takes longer.
    """
    counts = TrendingCounts()
    n_items = len(store.item_ids)
    first_hour = store.rings.newest_ms() // HOUR_MS - N_HOURS + 1
    recent = store.rings.recent(first_hour * HOUR_MS)
    if n_items * N_HOURS > max_cells:
        for times, items in recent:
            counts.add_hours(_hours_of(times, items, store.item_ids))
        return counts
    cells = np.zeros(n_items * N_HOURS, np.int64)  # hour by hour, an item each
    for times, items in recent:
        cells += np.bincount((times // HOUR_MS - first_hour) * n_items + items, minlength=len(cells))
    for n, of_hour in enumerate(cells.reshape(N_HOURS, n_items)):
        numbers = np.flatnonzero(of_hour)
        if len(numbers):
            item_ids = [store.item_ids[number] for number in numbers.tolist()]
            hour_counts = Counter(dict(zip(item_ids, of_hour[numbers].tolist(), strict=True)))
            counts.add_hours({first_hour + n: hour_counts})
    return counts


def fallen_hours(store: SequenceStore, fallen: Iterable[Columns], oldest_ms: int) -> HourCounts:
    """Events that left rings, by hour and item.

    Args:
        store: names the items.
        fallen: as `store.apply_batch` told.
        oldest_ms: what is older counts no more and is left out.
    """
    recent = [events.take(events.times >= oldest_ms) for events in fallen]
    recent = [events for events in recent if len(events.times)]
    if not recent:
        return {}
    times = np.concatenate([events.times for events in recent])
    return _hours_of(times, np.concatenate([events.items for events in recent]), store.item_ids)


def _hours_of(times: Int64s, items: NDArray[np.uint32], item_ids: Sequence[str]) -> HourCounts:
    keys, sizes = np.unique((times // HOUR_MS) << 32 | items, return_counts=True)
    hours: HourCounts = {}
    for key, size in zip(keys.tolist(), sizes.tolist(), strict=True):
        hours.setdefault(key >> 32, Counter())[item_ids[key & 0xFFFF_FFFF]] = size
    return hours
