from consumers.windows.partition import PartitionWindows
from stream.events import Exposure, Interaction
from stream.topics import EVENTS, EXPOSURES
from stream.windows.attribution import AttributionSettings

RULES = AttributionSettings(window_ms=100, lateness_ms=20, max_events=3)


def partition() -> PartitionWindows:
    return PartitionWindows(RULES, idle_s=1e9)


def shown(feed_id: str, ts_ms: int, user: str = "ada") -> Exposure:
    return Exposure(feed_id=feed_id, user_id=user, ts_ms=ts_ms, item_ids=("a",))


def click(event_id: str, ts_ms: int, user: str = "ada") -> Interaction:
    return Interaction(event_id=event_id, user_id=user, item_id="a", ts_ms=ts_ms)


def filled() -> PartitionWindows:
    windows = partition()
    windows.add_all(EXPOSURES, [shown("f", 1_000), shown("g", 1_000, "bob"), shown("late", 5_000)])
    windows.add_all(EVENTS, [click("e1", 1_001), click("e2", 1_002, "bob"), click("e3", 5_000)])
    return windows


def test_users_that_are_due_close_a_few_at_a_time() -> None:
    windows = filled()
    first = windows.closing(1)
    assert (first.users, [outcome.outcome_id for outcome in first.outcomes]) == (["ada"], ["f:a"])
    windows.close(first)
    second = windows.closing(9)
    assert (second.users, [outcome.outcome_id for outcome in second.outcomes]) == (["bob"], ["g:a"])
    windows.close(second)
    assert windows.closing(9).users == []
    assert windows.n_users == 1
    assert [(arm.n_feeds, arm.n_outcomes) for arm in windows.arms.hours()] == [(2, 2)]


def test_what_was_put_back_is_still_due() -> None:
    windows = filled()
    windows.put_back(windows.closing(9))
    assert [outcome.outcome_id for outcome in windows.closing(9).outcomes] == ["f:a", "g:a"]


def test_users_without_anything_that_waits_are_let_go() -> None:
    windows = filled()
    windows.add_all(EVENTS, [click("e9", 9_000, "eve")])
    windows.add_all(EXPOSURES, [shown("h", 9_000, "eve")])
    while (due := windows.closing(1)).users:
        windows.close(due)
    assert windows.n_users == 1


def test_late_records_and_those_beyond_a_users_bounds_are_told() -> None:
    windows = filled()
    assert windows.add_all(EXPOSURES, [shown("too-late", 1_000), shown("f", 1_000)]) == 2
    assert windows.add_all(EVENTS, [click(f"m{n}", 5_000 + n, "eve") for n in range(5)]) == 2
    assert windows.add_all(EVENTS, [click("m4", 5_004, "eve")]) == 0


def test_topic_is_ahead_only_while_the_other_has_more_to_be_read() -> None:
    windows = partition()
    windows.add_all(EVENTS, [click("e", 101)])
    assert (windows.is_ahead(EVENTS), windows.is_ahead(EXPOSURES)) == (True, False)
    windows.wait_for_other(EVENTS, timeout_s=0.0)
    windows.clock.hold(EXPOSURES, is_held=False)
    assert not windows.is_ahead(EVENTS)
    windows.clock.hold(EXPOSURES, is_held=True)
    windows.add_all(EXPOSURES, [shown("f", 1)])
    assert not windows.is_ahead(EVENTS)


def test_restored_partition_goes_on_as_the_one_that_was_saved() -> None:
    windows, again = filled(), partition()
    windows.next_offsets[EVENTS] = 3
    again.restore(windows.saved())
    assert (again.next_offsets, again.n_users) == ({EVENTS: 3, EXPOSURES: 0}, 2)
    assert again.closing(9) == windows.closing(9)
