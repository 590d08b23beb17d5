from stream.events import ArmCount
from stream.windows.arms import ArmCounts, ArmHour, add_hour, drop_old_hours, summed


def test_counts_of_an_arm_and_hour_are_summed_over_users() -> None:
    counts = ArmCounts()
    counts.add_all([ArmHour("x", "b", 7, 1, 10, 2, {"like": 1, "click": 3}), ArmHour("x", "a", 7, 1, 5)])
    counts.add_all([ArmHour("x", "b", 7, 2, 20, 1, {"click": 1})])
    assert counts.counts() == [
        ArmCount(experiment="x", arm="a", hour=7, n_feeds=1, n_items=5),
        ArmCount(experiment="x", arm="b", hour=7, n_feeds=3, n_items=30, n_outcomes=3, kinds={"click": 4, "like": 1}),
    ]


def test_hours_leave_two_days_after_the_newest() -> None:
    counts = ArmCounts()
    counts.add_all([ArmHour("x", "a", hour, 1) for hour in (0, 1, 48)])
    assert [arm.hour for arm in counts.hours()] == [1, 48]
    counts.add_all([ArmHour("x", "a", 0, 1)])
    assert [arm.hour for arm in counts.hours()] == [1, 48]


def test_users_own_hours_are_kept_as_long_as_any_sum_may_need_them() -> None:
    arms: list[ArmHour] = []
    for hour in (48, 0, 1, 1):
        add_hour(arms, ArmHour("x", "a", hour, 1))
    drop_old_hours(arms)
    assert arms == [ArmHour("x", "a", 1, 2), ArmHour("x", "a", 48, 1)]


def test_adding_changes_no_argument() -> None:
    new, arms, counts = ArmHour("x", "a", 1, 1, 1, 1, {"click": 1}), list[ArmHour](), ArmCounts()
    for _ in range(2):
        add_hour(arms, new)
        counts.add_all([new])
    assert new == ArmHour("x", "a", 1, 1, 1, 1, {"click": 1})
    assert arms == counts.hours() == [ArmHour("x", "a", 1, 2, 2, 2, {"click": 2})]


def test_published_counts_of_partitions_are_summed() -> None:
    count = ArmCount(experiment="x", arm="a", hour=1, n_feeds=1, n_items=2, n_outcomes=3, kinds={"click": 4})
    assert summed([count, count]) == [
        ArmCount(experiment="x", arm="a", hour=1, n_feeds=2, n_items=4, n_outcomes=6, kinds={"click": 8})
    ]
