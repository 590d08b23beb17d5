"""What every path of `benchmarks.parity` reads: real events, and exposures made up around them by a seed.

Before every tenth event its user is shown ten items, the event's own among them; every second of those events names
the feed. Exposures belong to two arms of one experiment. At the end one event and one exposure a partition, forty
minutes later, move stream time past every window.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream.events import Exposure, Interaction, encode
from stream.log import Message
from stream.partition import partition_of
from stream.replay.dataset import open_dataset
from stream.topics import EVENTS, EXPOSURES

EVERY = 10
SHOWN = 10
SHOWN_BEFORE_MS = 5_000
LAST_AFTER_MS = 40 * 60_000
EXPERIMENT = "parity"


class Told(NamedTuple):
    """One record to be published."""

    topic: str
    message: Message


def read_events(data: Path, n_events: int | None) -> list[Interaction]:
    """The data set's events that enter sequences, oldest first; the first `n_events` of them, or all."""
    events = list(open_dataset(data).interactions())
    return sorted(events, key=lambda event: (event.ts_ms, event.event_id))[:n_events]


def told(events: Sequence[Interaction], n_partitions: int) -> list[Told]:
    """Events and exposures in the order of their times."""
    rng = random.Random(0)
    items = sorted({event.item_id for event in events})
    records: list[tuple[int, int, Told]] = []
    for n, event in enumerate(events):
        said = event
        if n % EVERY == 0:
            exposure = _exposure(n, event, items, rng)
            records.append((exposure.ts_ms, 0, _told(EXPOSURES, exposure)))
            if n % (2 * EVERY) == 0:
                said = msgspec.structs.replace(event, feed_id=exposure.feed_id)
        records.append((event.ts_ms, 1, _told(EVENTS, said)))
    in_order = [record for _, _, record in sorted(records, key=lambda each: each[:2])]
    return in_order + list(_last(events[-1].ts_ms + LAST_AFTER_MS, n_partitions))


def _exposure(n: int, event: Interaction, items: Sequence[str], rng: random.Random) -> Exposure:
    shown = [item for item in rng.sample(items, SHOWN) if item != event.item_id][: SHOWN - 1]
    shown.insert(rng.randrange(SHOWN), event.item_id)
    return Exposure(
        feed_id=f"feed-{n:08d}",
        user_id=event.user_id,
        ts_ms=event.ts_ms - SHOWN_BEFORE_MS,
        item_ids=tuple(shown),
        experiment=EXPERIMENT,
        arm=rng.choice(("a", "b")),
        model_version="seeded",
    )


def _last(ts_ms: int, n_partitions: int) -> Iterator[Told]:
    """A user for each partition."""
    names = (f"last-{number}" for number in range(1_000_000))
    users: dict[int, str] = {}
    while len(users) < n_partitions:
        name = next(names)
        users.setdefault(partition_of(name.encode(), n_partitions), name)
    for name in users.values():
        yield _told(EXPOSURES, Exposure(feed_id=f"feed-{name}", user_id=name, ts_ms=ts_ms, item_ids=("last",)))
        yield _told(EVENTS, Interaction(event_id=f"event-{name}", user_id=name, item_id="last", ts_ms=ts_ms))


def _told(topic: str, record: Interaction | Exposure) -> Told:
    return Told(topic, Message(record.user_id.encode(), encode(record)))
