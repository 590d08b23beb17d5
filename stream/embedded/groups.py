"""Consumer groups of the embedded log: which reader of the process holds which partition.

A partition moves in two steps, as in Kafka's cooperative protocol: its old holder gives it up inside its
own poll(), where it can still commit, and only then its new holder takes it. A holder that has not polled for too
long is put out of the group, and its commits are refused.
"""

from __future__ import annotations

from collections.abc import Iterable


class Group:
    """Assignment of one topic's partitions. Not thread-safe: the topic's lock is held around every call."""

    def __init__(self, n_partitions: int, *, max_silence_s: float) -> None:
        self._max_silence_s = max_silence_s
        self._last_poll_s: dict[object, float] = {}  # members in the order they joined
        self._holders: list[object | None] = [None] * n_partitions
        self.generation = 0  # rises with every change that a waiting reader should look at

    def poll(self, member: object, now_s: float) -> None:
        """A member is alive; the first time, it joins. Silent ones are put out."""
        if member not in self._last_poll_s:
            self.generation += 1
        self._last_poll_s[member] = now_s
        for other, last_poll_s in list(self._last_poll_s.items()):
            if now_s - last_poll_s > self._max_silence_s:
                self.leave(other)

    def leave(self, member: object) -> None:
        """The member is gone; its partitions are free."""
        if self._last_poll_s.pop(member, None) is None:
            return
        self._holders = [None if holder is member else holder for holder in self._holders]
        self.generation += 1

    def held_by(self, member: object) -> tuple[int, ...]:
        """Partitions the member holds now."""
        return tuple(p for p, holder in enumerate(self._holders) if holder is member)

    def to_release(self, member: object) -> tuple[int, ...]:
        """Partitions it holds that should now be another's."""
        return tuple(p for p in self.held_by(member) if self._target(p) is not member)

    def release(self, member: object, partitions: Iterable[int]) -> None:
        """Give partitions up, for their new holder to take."""
        for partition in partitions:
            if self._holders[partition] is member:
                self._holders[partition] = None
                self.generation += 1

    def take(self, member: object) -> tuple[int, ...]:
        """Take what is free and meant for the member."""
        free = tuple(p for p, holder in enumerate(self._holders) if holder is None and self._target(p) is member)
        for partition in free:
            self._holders[partition] = member
        return free

    def _target(self, partition: int) -> object | None:
        members = list(self._last_poll_s)
        return members[partition % len(members)] if members else None
