"""Which events followed what was shown: one user's exposures joined to the user's events, in event time.

An event belongs to an exposure that showed its item at most `window_ms` before it: to the feed the event names, or,
where it names none, to the newest exposure not after it. An exposure closes when stream time has passed its window;
by then every event in time has arrived, so what `closing` gives is final, and depends only on which exposures and
events there were, not on how they came. In time is what is not older than stream time when it arrives. Stream time is
that of the slower topic: so what is later than the allowed lateness may be in time while the other topic is read
behind, and late when a crash makes it be read again with that one ahead.

An exposure that is not in time still counts until its window closes: what was shown was shown. An event that an older
exposure closed with stays with that one, so whose it is depends on when they came; what comes while outcomes are on
their way to the log, or before a crash has them sent again, may take along an event that they tell of.

All functions are over plain data: the embedded runner keeps windows in memory, the Faust app in a table.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from stream.events import Exposure, Interaction, Outcome
from stream.windows.arms import NO_EXPERIMENT, ArmHour, add_hour, drop_old_hours
from stream.windows.trending import HOUR_MS


@dataclass(frozen=True)
class AttributionSettings:
    """How exposures and events are joined.

    Attributes:
        window_ms: how long after it was shown an item's events belong to the exposure, inclusive.
        lateness_ms: how much stream time stays behind the newest record, for those that come late.
        max_exposures: kept by user; beyond, the oldest go and are counted.
        max_events: likewise.
    """

    window_ms: int = 30 * 60_000
    lateness_ms: int = 2 * 60_000
    max_exposures: int = 200
    max_events: int = 500

    def __post_init__(self) -> None:
        for name in ("window_ms", "max_exposures", "max_events"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.lateness_ms < 0:
            raise ValueError(f"lateness_ms={self.lateness_ms} must be at least 0")


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """An exposure that is open; sorted by (shown_ms, feed_id)."""

    shown_ms: int
    feed_id: str
    item_ids: tuple[str, ...]
    experiment: str | None
    arm: str | None
    model_version: str | None
    propensities: tuple[float, ...] | None


class Happened(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event that an exposure may still claim; sorted by (ts_ms, event_id)."""

    ts_ms: int
    event_id: str
    item_id: str
    kind: str
    feed_id: str | None


_ByRank = dict[int, list[Happened]]


class UserWindow(msgspec.Struct, array_like=True):
    """One user's open exposures, the events they may claim, and what came of those that closed.

    Attributes:
        closed_ms: stream time of the last `close`; nothing closes twice.
        exposures: by (shown_ms, feed_id).
        events: by (ts_ms, event_id).
        arms: of the exposures closed in the last 48 hours.
        n_dropped: exposures and events beyond the bounds, so far.
    """

    closed_ms: int = 0
    exposures: list[Shown] = []
    events: list[Happened] = []
    arms: list[ArmHour] = []
    n_dropped: int = 0


def is_late_event(event: Interaction, now_ms: int) -> bool:
    """Whether the event is older than stream time: what closed by then must not change any more."""
    return event.ts_ms < now_ms


def is_late_exposure(exposure: Exposure, settings: AttributionSettings, now_ms: int) -> bool:
    """Whether the exposure's window has closed already."""
    return exposure.ts_ms + settings.window_ms < now_ms


def add_event(window: UserWindow, event: Interaction, settings: AttributionSettings, now_ms: int) -> bool:
    """Note one of the user's events; any kind counts.

    Returns:
        False when it is known already or too late, and nothing changed.
    """
    now_ms = max(now_ms, window.closed_ms)
    _prune(window, settings, now_ms)
    if is_late_event(event, now_ms):
        return False
    event_id = event.event_id
    for known in window.events:
        if known.event_id == event_id:
            return False
    happened = Happened(event.ts_ms, event.event_id, event.item_id, event.kind, event.feed_id)
    insort(window.events, happened, key=_event_order)
    return _keep_newest(window, window.events, settings.max_events, happened)


def add_exposure(window: UserWindow, exposure: Exposure, settings: AttributionSettings, now_ms: int) -> bool:
    """Note what was shown to the user.

    Returns:
        False when it is known already or too late, and nothing changed.
    """
    now_ms = max(now_ms, window.closed_ms)
    _prune(window, settings, now_ms)
    known = any(shown.feed_id == exposure.feed_id for shown in window.exposures)
    if known or is_late_exposure(exposure, settings, now_ms):
        return False
    facts = (exposure.experiment, exposure.arm, exposure.model_version, exposure.propensities)
    shown = Shown(exposure.ts_ms, exposure.feed_id, exposure.item_ids, *facts)
    insort(window.exposures, shown, key=_exposure_order)
    return _keep_newest(window, window.exposures, settings.max_exposures, shown)


def due_ms(window: UserWindow, settings: AttributionSettings) -> int | None:
    """Stream time at which the next exposure closes; None without any."""
    return window.exposures[0].shown_ms + settings.window_ms + 1 if window.exposures else None


def wake_ms(window: UserWindow, settings: AttributionSettings) -> int | None:
    """Stream time at which anything is to be done: the next exposure closes, or no event is of use any more."""
    if window.exposures or not window.events:
        return due_ms(window, settings)
    return window.events[-1].ts_ms + settings.window_ms + 1


def closing(window: UserWindow, user_id: str, now_ms: int, settings: AttributionSettings) -> list[Outcome]:
    """Outcomes of the exposures that are due, by feed and rank; changes nothing."""
    return [
        _outcome(shown, user_id, rank, events)
        for shown, by_rank in _joined(window, now_ms, settings)
        for rank, events in sorted(by_rank.items())
    ]


def close(window: UserWindow, now_ms: int, settings: AttributionSettings) -> list[ArmHour]:
    """Drop the exposures that are due, with their events, and count them; their outcomes are durable by then.

    Returns:
        What was added to the window's arms.
    """
    added: list[ArmHour] = []
    joined = _joined(window, now_ms, settings)
    for shown, by_rank in joined:
        kinds = Counter(event.kind for events in by_rank.values() for event in events)
        key = (shown.experiment or NO_EXPERIMENT, shown.arm or NO_EXPERIMENT, shown.shown_ms // HOUR_MS)
        add_hour(added, ArmHour(*key, 1, len(shown.item_ids), len(by_rank), dict(kinds)))
    if joined:
        claimed = {event.event_id for _, by_rank in joined for events in by_rank.values() for event in events}
        window.events[:] = [event for event in window.events if event.event_id not in claimed]
        del window.exposures[: len(joined)]
        for arm in added:
            add_hour(window.arms, arm)
        drop_old_hours(window.arms)
        window.closed_ms = max(window.closed_ms, now_ms)
    _prune(window, settings, max(now_ms, window.closed_ms))
    return added


def is_open(window: UserWindow) -> bool:
    """Whether an exposure or an event waits for something."""
    return bool(window.exposures or window.events)


def _joined(window: UserWindow, now_ms: int, settings: AttributionSettings) -> list[tuple[Shown, _ByRank]]:
    """The exposures that are due, each with the events that followed its items, by rank and in order."""
    n_due = bisect_left(window.exposures, now_ms - settings.window_ms, key=lambda shown: shown.shown_ms)
    due = window.exposures[:n_due]
    if not due:
        return []
    first_ms, last_ms = due[0].shown_ms, due[-1].shown_ms + settings.window_ms
    by_feed: dict[str, _ByRank] = {shown.feed_id: {} for shown in due}
    items = {item_id for shown in due for item_id in shown.item_ids}
    for event in window.events:
        if not (first_ms <= event.ts_ms <= last_ms and event.item_id in items):
            continue
        shown = _claimant(window.exposures, event, settings)
        if shown is not None and shown.feed_id in by_feed:
            rank = shown.item_ids.index(event.item_id)
            by_feed[shown.feed_id].setdefault(rank, []).append(event)
    return [(shown, by_feed[shown.feed_id]) for shown in due]


def _claimant(exposures: Sequence[Shown], event: Happened, settings: AttributionSettings) -> Shown | None:
    """The exposure an event belongs to."""
    for shown in reversed(exposures):
        is_named = event.feed_id is None or event.feed_id == shown.feed_id
        if is_named and shown.shown_ms <= event.ts_ms and event.item_id in shown.item_ids:
            return shown if event.ts_ms <= shown.shown_ms + settings.window_ms else None
    return None


def _outcome(shown: Shown, user_id: str, rank: int, events: Sequence[Happened]) -> Outcome:
    first, item_id, propensities = events[0], shown.item_ids[rank], shown.propensities
    return Outcome(
        outcome_id=f"{shown.feed_id}:{item_id}",
        feed_id=shown.feed_id,
        item_id=item_id,
        user_id=user_id,
        rank=rank,
        shown_ms=shown.shown_ms,
        ts_ms=first.ts_ms,
        event_id=first.event_id,
        kinds=dict(sorted(Counter(event.kind for event in events).items())),
        experiment=shown.experiment,
        arm=shown.arm,
        model_version=shown.model_version,
        propensity=propensities[rank] if propensities is not None and rank < len(propensities) else None,
    )


def _prune(window: UserWindow, settings: AttributionSettings, now_ms: int) -> None:
    """Let go of events that nothing can claim any more: no exposure still to come, and none that is open."""
    oldest_ms = now_ms - settings.window_ms
    if window.exposures:
        oldest_ms = min(oldest_ms, window.exposures[0].shown_ms)
    events = window.events
    if events and events[0].ts_ms < oldest_ms:
        del events[: bisect_left(events, oldest_ms, key=lambda event: event.ts_ms)]


def _keep_newest(window: UserWindow, entries: list[Shown] | list[Happened], limit: int, new: object) -> bool:
    if len(entries) <= limit:
        return True
    window.n_dropped += 1
    return entries.pop(0) is not new


def _event_order(event: Happened) -> tuple[int, str]:
    return event.ts_ms, event.event_id


def _exposure_order(shown: Shown) -> tuple[int, str]:
    return shown.shown_ms, shown.feed_id
