from consumers.windows.counts_role import CountsRole
from stream.events import ArmCount, PartitionCounts, encode
from stream.log import Record


def record(value: bytes | None, offset: int = 0) -> Record:
    return Record("counts", 0, offset, b"0", value, 1)


def said(partition: int, hour: int, *trending: tuple[str, int], arms: tuple[ArmCount, ...] = ()) -> Record:
    return record(encode(PartitionCounts(partition=partition, hour=hour, trending=trending, arms=arms)))


def test_trending_is_summed_over_partitions() -> None:
    role = CountsRole()
    role.handle([said(0, 5, ("a", 3), ("b", 2)), said(1, 5, ("c", 4), ("b", 2))])
    assert role.trending(9) == ["b", "c", "a"]
    assert role.trending(1) == ["b"]


def test_newest_word_of_a_partition_replaces_the_one_before() -> None:
    role = CountsRole()
    role.handle([said(0, 5, ("a", 3)), said(0, 5, ("b", 1))])
    role.handle([said(0, 6, ("c", 1))])
    assert role.trending(9) == ["c"]


def test_partition_that_stopped_a_day_ago_is_left_out() -> None:
    role = CountsRole()
    role.handle([said(0, 5, ("old", 9)), said(1, 28, ("new", 1))])
    assert role.trending(9) == ["old", "new"]
    role.handle([said(1, 29, ("new", 1))])
    assert role.trending(9) == ["new"]


def test_arms_are_summed_over_partitions() -> None:
    role = CountsRole()
    arm = ArmCount(experiment="x", arm="t", hour=7, n_feeds=1, n_items=10, n_outcomes=2, kinds={"click": 3})
    role.handle([said(0, 7, arms=(arm,)), said(1, 7, arms=(arm,))])
    assert role.arms() == [
        ArmCount(experiment="x", arm="t", hour=7, n_feeds=2, n_items=20, n_outcomes=4, kinds={"click": 6})
    ]


def test_nothing_is_known_before_anybody_counted() -> None:
    role = CountsRole()
    role.handle([record(None), record(b"\xff"), record(b"{}")])
    assert (role.trending(9), role.arms()) == ([], [])
