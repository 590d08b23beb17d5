"""What the runner asks of a role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from stream.log import Record


class Role(Protocol):
    """One reader of one topic. All methods are called from the role's own thread."""

    @property
    def name(self) -> str:
        """Unique in a runner; a metric label."""
        ...

    @property
    def topic(self) -> str:
        """The topic it reads."""
        ...

    @property
    def group(self) -> str | None:
        """The consumer group it shares the partitions with; None reads every partition in every process."""
        ...

    def handle(self, records: list[Record]) -> None:
        """Do the work of a non-empty batch; when it returns, the batch is committed."""
        ...

    def close(self) -> None:
        """Write down what must be kept. Called once, when the runner stops."""
        ...


@runtime_checkable
class OffsetOwner(Role, Protocol):
    """A role whose offsets lie beside its state."""

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Make the state of these partitions ready; called again after a restart of the role.

        Returns:
            Next offset to read, by partition.
        """
        ...

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Keep the state, and stand at these offsets, durably: the log ends there, before what was gained.

        Args:
            offsets: next offset to read, by partition held.
        """
        ...

    def lost(self, partitions: Sequence[int]) -> None:
        """Write down and let go of these partitions."""
        ...

    def idle(self) -> None:
        """Nothing came; a chance to do what is due by time."""
        ...

    def positions(self) -> Mapping[int, int]:
        """Next offsets that may be committed, by partition held."""
        ...
