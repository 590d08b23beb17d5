"""Whether every record that was fetched was handled: each is linked with the one fetched before it.

Faust empties its queues in more than one place, and goes on behind what it dropped: the next commit would lose that.
Offsets alone cannot tell, since a log may have gaps of its own (markers of transactions, records past retention).
"""

from __future__ import annotations

from stream.workers.acks import Source


class Chain:
    """Links by source; for records of one generation of the group.

    >>> chain, source = Chain(), Source("events", 0)
    >>> for offset in (5, 7, 8):
    ...     chain.fetched(source, offset)
    >>> chain.handled(source, 5), chain.is_handled(source), chain.handled(source, 8)
    (True, False, False)
    """

    def __init__(self) -> None:
        self._last_fetched: dict[Source, int] = {}
        self._last_handled: dict[Source, int] = {}
        self._before: dict[tuple[Source, int], int | None] = {}

    def fetched(self, source: Source, offset: int) -> None:
        """A record is on its way."""
        self._before[source, offset] = self._last_fetched.get(source)
        self._last_fetched[source] = offset

    def handled(self, source: Source, offset: int) -> bool:
        """A record has come; False when one that was fetched before it has not."""
        before = self._before.pop((source, offset), None)
        is_next = before is None or before == self._last_handled.get(source)
        self._last_handled[source] = offset
        return is_next

    def is_handled(self, source: Source) -> bool:
        """Whether all that was fetched was handled."""
        return self._last_handled.get(source) == self._last_fetched.get(source)

    def restart(self) -> None:
        """All that is on its way may be dropped: reading goes back to what was committed."""
        self._last_fetched.clear()
        self._last_handled.clear()
        self._before.clear()
