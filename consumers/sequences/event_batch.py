"""A batch of interactions as columns: what can be made ready before a store is locked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from stream.events import Interaction
from stream.kinds import EventKinds

Int64s = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Events made ready for a store, without touching it.

    Attributes:
        entering: (n,) places in the original batch of the n events that enter sequences.
        n_events: size of the original batch.
        user_ids: of the n events.
        item_ids: of the n events.
        times: (n,) event time in milliseconds.
        hashes: (n,) of the event ids.
        kinds: (n,) kind numbers.
    """

    entering: Int64s
    n_events: int
    user_ids: list[str]
    item_ids: list[str]
    times: Int64s
    hashes: NDArray[np.uint64]
    kinds: NDArray[np.uint8]


def prepare(events: Sequence[Interaction], kinds: EventKinds) -> Batch:
    """Events as columns; needs no store and so no lock.

    Raises:
        UnknownKind: a kind outside the set.
    """
    numbers = np.array([kinds.number(event.kind) for event in events], np.uint8)
    enters = np.array([kind.enters_sequence for kind in kinds])
    entering = np.flatnonzero(enters[numbers])
    taken = events if len(entering) == len(events) else [events[i] for i in entering.tolist()]
    # event_hash() of all at once
    digests = b"".join([blake2b(event.event_id.encode(), digest_size=8).digest() for event in taken])
    return Batch(
        entering=entering,
        n_events=len(events),
        user_ids=[event.user_id for event in taken],
        item_ids=[event.item_id for event in taken],
        times=np.array([event.ts_ms for event in taken], np.int64),
        hashes=np.maximum(np.frombuffer(digests, "<u8"), np.uint64(1)),
        kinds=numbers[entering],
    )
