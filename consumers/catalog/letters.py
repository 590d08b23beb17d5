"""The role that sends what is no item from `items`, and vectors that no tower takes, to the dead-letter topic.

Apart from the catalogue, which every process reads from the beginning at every start: here a group remembers how far
it has read, so each bad record is reported by one process, and not again.
"""

from __future__ import annotations

from consumers.catalog.placement import Placement
from models.towers.tower import BadVector
from monitoring.metrics import Metrics
from stream.dead_letters import DeadLetters
from stream.events import BadEvent
from stream.log import Log, Record
from stream.topics import ITEMS

_FLUSH_S = 10.0


class ItemLetters:
    """`items` -> what `CatalogRole` passes over, or takes without its vectors -> dead letters.

    Args:
        placement: knows which vectors the current model takes.
        log: for dead letters.
        metrics: of this process.
    """

    name = "item-letters"
    topic = ITEMS
    group = "item-letters"

    def __init__(self, placement: Placement, log: Log, *, metrics: Metrics) -> None:
        self._placement, self._metrics = placement, metrics
        self._dead_letters = DeadLetters(log)

    def handle(self, records: list[Record]) -> None:
        """Send what is refused; all of it is durable before the batch is committed."""
        for record in records:
            try:
                self._placement.check(record)
            except (BadEvent, BadVector) as exc:
                self._dead_letters.send(record, reason=str(exc))
                self._metrics.dead_letters_total.labels(topic=ITEMS).inc()
        self._dead_letters.flush(_FLUSH_S)

    def close(self) -> None:
        """Nothing is kept."""
