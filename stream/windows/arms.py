"""Per arm of an experiment and hour: what was shown and what followed, as sums over users.

A user's counts are part of the user's window and grow when an exposure closes; a partition's are the sum over its
users, so that they can be made again from the windows, and nothing delivered again is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from stream.events import ArmCount

N_HOURS = 48
NO_EXPERIMENT = "none"  # experiment and arm of what was shown outside any


class ArmHour(msgspec.Struct, array_like=True):
    """One arm's counts of one hour of showing."""

    experiment: str
    arm: str
    hour: int
    n_feeds: int = 0
    n_items: int = 0
    n_outcomes: int = 0
    kinds: dict[str, int] = {}

    def add(self, other: ArmHour) -> None:
        """Add the counts of other feeds of this arm and hour."""
        self.n_feeds += other.n_feeds
        self.n_items += other.n_items
        self.n_outcomes += other.n_outcomes
        _add_kinds(self.kinds, other.kinds)


class ArmCounts:
    """The arms of many users: of the 48 hours that end with the newest one added.

    >>> counts = ArmCounts()
    >>> counts.add_all([ArmHour("layout", "b", 7, 1, 10, 2, {"click": 3})] * 2)
    >>> counts.counts()[0].n_items
    20
    """

    def __init__(self) -> None:
        self._hours: dict[tuple[str, str, int], ArmHour] = {}
        self._newest_hour = 0

    def add_all(self, arms: Iterable[ArmHour]) -> None:
        """Add counts: a user's whole arms once, then what each `close` of that user gave."""
        for arm in arms:
            if arm.hour > self._newest_hour:
                self._newest_hour = arm.hour
                self._expire()
            if arm.hour > self._newest_hour - N_HOURS:
                key = (arm.experiment, arm.arm, arm.hour)
                self._hours.setdefault(key, ArmHour(*key)).add(arm)

    def hours(self) -> list[ArmHour]:
        """All counts, by experiment, arm and hour, as `add_all` takes them back."""
        return [self._hours[key] for key in sorted(self._hours)]

    def counts(self) -> list[ArmCount]:
        """All counts as they are published, by experiment, arm and hour."""
        return [_published(arm) for arm in self.hours()]

    def _expire(self) -> None:
        for key in [key for key in self._hours if key[2] <= self._newest_hour - N_HOURS]:
            del self._hours[key]


def add_hour(arms: list[ArmHour], new: ArmHour) -> None:
    """Add counts to a user's few arms, in place; they are kept by (experiment, arm, hour)."""
    key = (new.experiment, new.arm, new.hour)
    for known in arms:
        if (known.experiment, known.arm, known.hour) == key:
            known.add(new)
            return
    arms.append(ArmHour(*key, new.n_feeds, new.n_items, new.n_outcomes, dict(new.kinds)))
    arms.sort(key=lambda counted: (counted.experiment, counted.arm, counted.hour))


def drop_old_hours(arms: list[ArmHour]) -> None:
    """Let go of a user's hours that no sum over users keeps any more, in place."""
    newest_hour = max((arm.hour for arm in arms), default=0)
    arms[:] = [arm for arm in arms if arm.hour > newest_hour - N_HOURS]


def summed(counts: Iterable[ArmCount]) -> list[ArmCount]:
    """Published counts of several partitions as if of one."""
    total = ArmCounts()
    total.add_all(
        ArmHour(count.experiment, count.arm, count.hour, count.n_feeds, count.n_items, count.n_outcomes, count.kinds)
        for count in counts
    )
    return total.counts()


def _published(arm: ArmHour) -> ArmCount:
    return ArmCount(
        experiment=arm.experiment,
        arm=arm.arm,
        hour=arm.hour,
        n_feeds=arm.n_feeds,
        n_items=arm.n_items,
        n_outcomes=arm.n_outcomes,
        kinds=dict(sorted(arm.kinds.items())),
    )


def _add_kinds(kinds: dict[str, int], more: dict[str, int]) -> None:
    for kind, count in more.items():
        kinds[kind] = kinds.get(kind, 0) + count
