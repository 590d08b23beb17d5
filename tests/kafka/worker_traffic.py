"""A small world's exposures and events in the order they are published, and what must come of them."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from stream.events import Exposure, Interaction, Outcome, encode, event_hash
from stream.kinds import DEFAULT_KINDS
from stream.partition import partition_of
from stream.topics import EVENTS, EXPOSURES
from stream.windows.attribution import AttributionSettings, UserWindow, add_event, add_exposure, closing

WINDOW_MS = 60_000
LATENESS_MS = 20_000
SETTINGS = AttributionSettings(window_ms=WINDOW_MS, lateness_ms=LATENESS_MS)
LENGTH = 50
STEP_MS = 100
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Said:
    """One record to be published."""

    topic: str
    user_id: str
    value: bytes
    what: Interaction | Exposure


def traffic(n_records: int, *, start_ms: int, n_users: int = 200, seed: int = 0) -> list[Said]:
    """Every fourth record shows five items, the others are events; each a little out of order, some twice."""
    rng = random.Random(seed)
    shown: defaultdict[str, list[Exposure]] = defaultdict(list)
    said: list[Said] = []
    for i in range(n_records):
        ts_ms = start_ms + i * STEP_MS - rng.randrange(LATENESS_MS // 2)
        user_id = f"user-{int(n_users * rng.random() ** 2)}"
        if i % 4 == 0:
            exposure = _exposure(i, user_id, ts_ms, rng)
            shown[user_id].append(exposure)
            said.append(Said(EXPOSURES, user_id, encode(exposure), exposure))
        else:
            event = _event(i, user_id, ts_ms, shown[user_id][-2:], rng)
            said.append(Said(EVENTS, user_id, encode(event), event))
        if rng.random() < 0.05:
            said.append(said[-1])
    return said


def ending(said: Iterable[Said], n_partitions: int) -> list[Said]:
    """A record of a user of its own in each partition of both topics, late enough to close all windows."""
    end_ms = max(one.what.ts_ms for one in said) + WINDOW_MS + LATENESS_MS + 1
    users: dict[int, str] = {}
    for i in range(1_000):
        users.setdefault(partition_of(f"last-{i}".encode(), n_partitions), f"last-{i}")
    last: list[Said] = []
    for user_id in users.values():
        exposure = Exposure(feed_id=f"feed-{user_id}", user_id=user_id, ts_ms=end_ms, item_ids=())
        event = Interaction(event_id=f"event-{user_id}", user_id=user_id, item_id="the-end", ts_ms=end_ms)
        last += [Said(EXPOSURES, user_id, encode(exposure), exposure), Said(EVENTS, user_id, encode(event), event)]
    return last


def expected_outcomes(said: Iterable[Said]) -> dict[str, Outcome]:
    """By id: every exposure joined to every event, all at once."""
    windows: defaultdict[str, UserWindow] = defaultdict(UserWindow)
    unbounded = AttributionSettings(WINDOW_MS, LATENESS_MS, max_exposures=10**9, max_events=10**9)
    last_ms = 0
    for one in said:
        last_ms = max(last_ms, one.what.ts_ms)
        if isinstance(one.what, Exposure):
            add_exposure(windows[one.user_id], one.what, unbounded, 0)
        else:
            add_event(windows[one.user_id], one.what, unbounded, 0)
    found = (closing(window, user, last_ms - LATENESS_MS, unbounded) for user, window in windows.items())
    return {outcome.outcome_id: outcome for outcomes in found for outcome in outcomes}


def expected_trending(said: Iterable[Said], n_partitions: int) -> dict[int, dict[str, int]]:
    """By partition: events of each item among the users' newest, of the last day."""
    events: defaultdict[str, dict[tuple[int, int], Interaction]] = defaultdict(dict)
    for one in said:
        if isinstance(one.what, Interaction) and DEFAULT_KINDS.get(one.what.kind).enters_sequence:
            events[one.user_id][one.what.ts_ms, event_hash(one.what.event_id)] = one.what
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for user_id, by_order in events.items():
        newest = sorted(by_order)[-LENGTH:]
        counts[partition_of(user_id.encode(), n_partitions)].update(by_order[order].item_id for order in newest)
    return {partition: dict(counter) for partition, counter in counts.items()}


def _exposure(i: int, user_id: str, ts_ms: int, rng: random.Random) -> Exposure:
    items = tuple(f"item-{number}" for number in rng.sample(range(40), 5))
    experiment, arm = ("layout", rng.choice("ab")) if rng.random() < 0.5 else (None, None)
    return Exposure(feed_id=f"feed-{i}", user_id=user_id, ts_ms=ts_ms, item_ids=items, experiment=experiment, arm=arm)


def _event(i: int, user_id: str, ts_ms: int, shown: list[Exposure], rng: random.Random) -> Interaction:
    kind = rng.choice(["click", "view", "like", "dislike"])
    if not shown or rng.random() < 0.2:
        return Interaction(event_id=f"event-{i}", user_id=user_id, item_id=f"item-{i % 40}", ts_ms=ts_ms, kind=kind)
    feed = rng.choice(shown)
    feed_id = feed.feed_id if rng.random() < 0.5 else None
    item_id = rng.choice(feed.item_ids)
    return Interaction(event_id=f"event-{i}", user_id=user_id, item_id=item_id, ts_ms=ts_ms, kind=kind, feed_id=feed_id)
