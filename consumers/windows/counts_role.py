"""The role that follows what workers count: trending items and arms of all partitions, in every process."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from stream.events import ArmCount, BadEvent, PartitionCounts, decode_partition_counts
from stream.log import Record
from stream.topics import COUNTS
from stream.windows.arms import summed
from stream.windows.trending import N_HOURS


class CountsRole:
    """Newest counts by partition of `events`. Any thread may ask."""

    name = "counts"
    topic = COUNTS
    group = None

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[int, PartitionCounts] = {}

    def handle(self, records: list[Record]) -> None:
        """Take over what the newest record of each partition says."""
        for record in records:
            try:
                counts = decode_partition_counts(record.value)
            except BadEvent:
                continue  # the partition's next record replaces it, within seconds
            with self._lock:
                self._counts[counts.partition] = counts

    def close(self) -> None:
        """Nothing is kept."""

    def trending(self, k: int) -> list[str]:
        """The k items with most events in the last day of the stream, of all partitions; empty before anybody counted.

        A partition whose newest event is a day older than that of another says nothing about today.
        """
        return [item_id for item_id, _ in self._most(k)]

    def arms(self) -> list[ArmCount]:
        """What each arm showed and what followed, by hour, of all partitions."""
        return summed(arm for counts in self._known() for arm in counts.arms)

    def _most(self, k: int) -> list[tuple[str, int]]:
        partitions = self._known()
        newest_hour = max((counts.hour for counts in partitions), default=0)
        total: Counter[str] = Counter()
        for counts in partitions:
            if counts.hour > newest_hour - N_HOURS:
                total.update(dict(counts.trending))
        return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))[:k]

    def _known(self) -> list[PartitionCounts]:
        with self._lock:
            return list(self._counts.values())
