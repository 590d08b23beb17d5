from stream.events import ArmCount, PartitionCounts, decode_partition_counts, encode
from stream.windows.arms import ArmCounts, ArmHour
from stream.windows.counts import partition_counts
from stream.windows.trending import HOUR_MS, TrendingCounts


def test_record_says_what_a_partition_counts() -> None:
    trending, arms = TrendingCounts(), ArmCounts()
    trending.add_all([("b", 5 * HOUR_MS), ("a", 5 * HOUR_MS), ("a", 4 * HOUR_MS)])
    arms.add_all([ArmHour("x", "t", 4, 1, 2, 1, {"click": 1})])
    counts = partition_counts(3, trending, arms)
    assert counts == PartitionCounts(
        partition=3,
        hour=5,
        trending=(("a", 2), ("b", 1)),
        arms=(ArmCount(experiment="x", arm="t", hour=4, n_feeds=1, n_items=2, n_outcomes=1, kinds={"click": 1}),),
    )
    assert decode_partition_counts(encode(counts)) == counts


def test_only_the_thousand_most_popular_items_are_named() -> None:
    trending = TrendingCounts()
    trending.add_all([(f"item-{n:04}", 0) for n in range(1_500)])
    counts = partition_counts(0, trending, ArmCounts())
    assert len(counts.trending) == 1_000
    assert counts.trending[-1] == ("item-0999", 1)


def test_record_fits_its_topic_however_long_the_ids() -> None:
    trending, arms = TrendingCounts(), ArmCounts()
    trending.add_all([("\x01" * 252 + f"{n:04}", 0) for n in range(1_000)])
    arms.add_all([ArmHour("\x01" * 5_000, str(arm), hour, 1) for hour in range(48) for arm in range(3)])
    raw = encode(partition_counts(0, trending, arms))
    assert 200_000 < len(raw) <= 1_000_000
    counts = decode_partition_counts(raw)
    assert counts.trending[0] == ("\x01" * 252 + "0000", 1)
    assert counts.arms[-1].hour == 47
