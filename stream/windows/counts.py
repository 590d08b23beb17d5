"""What a partition counts, as the record that tells every process: trending items and arms."""

from __future__ import annotations

from stream.events import MAX_ITEM_BYTES, MAX_TRENDING_ITEMS, PartitionCounts, encode
from stream.windows.arms import ArmCounts
from stream.windows.trending import TrendingCounts


def partition_counts(partition: int, trending: TrendingCounts, arms: ArmCounts) -> PartitionCounts:
    """The record of one partition of `events`; its key is `str(partition)`.

    Absolute, so that it may be sent again or be lost without harm. Where ids are so long that it would be above the
    topic's limit, the least popular items and the oldest hours are left out.
    """
    items, hours = trending.most(MAX_TRENDING_ITEMS), arms.counts()
    while True:
        counts = PartitionCounts(
            partition=partition, hour=trending.newest_hour, trending=tuple(items), arms=tuple(hours)
        )
        if len(encode(counts)) <= MAX_ITEM_BYTES:
            return counts
        items = items[: len(items) // 2]
        newest = sorted(count.hour for count in hours)[len(hours) // 2 :]
        hours = [count for count in hours if count.hour > newest[0]] if newest else []
