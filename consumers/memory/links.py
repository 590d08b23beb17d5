"""Which events the memory learns, and what each of them came after: those that enter their user's sequence.

The state is kept by the same core that serving answers from (`consumers.sequences.store`), so that duplicates and
events too old to count are left out here as there. A late event comes after what was before it in event time.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from consumers.sequences.event_batch import prepare
from consumers.sequences.rings import Entry
from consumers.sequences.store import APPLIED, SequenceStore, apply_batch
from stream.events import Interaction, event_hash
from stream.kinds import EventKinds


class Link(NamedTuple):
    """An event that counts.

    Attributes:
        history: the user's last items before it, oldest first.
        item_id: what came.
        ts_ms: when.
    """

    history: list[str]
    item_id: str
    ts_ms: int


def new_links(store: SequenceStore, events: Sequence[Interaction], kinds: EventKinds, *, n_last: int) -> list[Link]:
    """Apply events of a partition to its store; those that entered a sequence, in order.

    Args:
        store: of the partition; changed.
        events: of known kinds. Whatever batches they come in, the links are the same.
        kinds: the set in force.
        n_last: how many items of a history are of use.
    """
    known = {user_id: _entries(store, user_id) for user_id in {event.user_id for event in events}}
    results = apply_batch(store, prepare(events, kinds)).results
    links = []
    for at in np.flatnonzero(results == APPLIED).tolist():
        event = events[at]
        entries = known[event.user_id]
        entry = Entry(event.ts_ms, event_hash(event.event_id), store.items[event.item_id], kinds.number(event.kind))
        place = bisect(entries, entry)
        before = entries[max(0, place - n_last) : place]
        links.append(Link([store.item_ids[old.item] for old in before], event.item_id, event.ts_ms))
        entries.insert(place, entry)
        del entries[: -store.rings.length]
    return links


def _entries(store: SequenceStore, user_id: str) -> list[Entry]:
    row = store.users.get(user_id)
    return [] if row is None else store.rings.entries(row)
