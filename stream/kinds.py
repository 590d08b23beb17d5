"""Event kinds: a closed set, each saying whether it enters a sequence and is a target.

The set is configuration; events of a kind outside it are rejected at ingest and by every consumer. A kind's
number is its place in the set and is what state keeps, so a set in use is only ever appended to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stream.events import MAX_KIND_LENGTH, BadEvent

MAX_KINDS = 256  # numbers are kept as uint8


class UnknownKind(BadEvent):
    """An event's kind that is not in the configured set."""


@dataclass(frozen=True)
class EventKind:
    """One kind of behaviour.

    Attributes:
        name: as events carry it.
        enters_sequence: whether it becomes part of what feeds are answered from.
        is_target: whether a model should learn to predict it.
    """

    name: str
    enters_sequence: bool
    is_target: bool

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= MAX_KIND_LENGTH:
            raise ValueError(f"kind name {self.name!r} must have 1 to {MAX_KIND_LENGTH} characters")
        if self.is_target and not self.enters_sequence:
            raise ValueError(f"kind {self.name!r} is a target but does not enter the sequence; set both")


class EventKinds:
    """The closed set of kinds in force, numbered in the order given.

    >>> kinds = EventKinds([EventKind("click", True, True)])
    >>> kinds.get("click").enters_sequence, kinds.number("click")
    (True, 0)
    """

    def __init__(self, kinds: Sequence[EventKind]) -> None:
        """The set in force.

        Raises:
            ValueError: none, too many, or a name given twice.
        """
        if not 1 <= len(kinds) <= MAX_KINDS:
            raise ValueError(f"{len(kinds)} event kinds given; 1 to {MAX_KINDS} are possible")
        self._kinds = tuple(kinds)
        self._numbers = {kind.name: number for number, kind in enumerate(self._kinds)}
        if len(self._numbers) < len(self._kinds):
            raise ValueError(f"event kinds named twice in {[kind.name for kind in self._kinds]}; remove one")

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of their numbers."""
        return tuple(self._numbers)

    def get(self, name: str) -> EventKind:
        """The kind of this name.

        Raises:
            UnknownKind: not in the set; the message names those that are.
        """
        return self._kinds[self.number(name)]

    def number(self, name: str) -> int:
        """The number (0 to 255) that state keeps for this kind.

        Raises:
            UnknownKind: not in the set; the message names those that are.
        """
        try:
            return self._numbers[name]
        except KeyError:
            known = ", ".join(self._numbers)
            raise UnknownKind(f"kind {name[:80]!r} is not known; known are {known}") from None

    def __getitem__(self, number: int) -> EventKind:
        return self._kinds[number]

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[EventKind]:
        return iter(self._kinds)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers


DEFAULT_KINDS = EventKinds(
    [
        EventKind("view", enters_sequence=True, is_target=True),
        EventKind("click", enters_sequence=True, is_target=True),
        EventKind("like", enters_sequence=True, is_target=True),
        EventKind("play", enters_sequence=True, is_target=True),
        EventKind("purchase", enters_sequence=True, is_target=True),
        EventKind("rate", enters_sequence=True, is_target=True),
        EventKind("dislike", enters_sequence=False, is_target=False),
    ]
)
