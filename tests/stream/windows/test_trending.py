import random

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.windows.trending import HOUR_MS, TrendingCounts

Pairs = list[tuple[str, int]]
pairs = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 60 * HOUR_MS)), max_size=50)


def counts_of(events: Pairs) -> TrendingCounts:
    counts = TrendingCounts()
    for item_id, ts_ms in events:
        counts.add(item_id, ts_ms)
    return counts


def test_most_counted_items_come_first_and_ties_by_id() -> None:
    counts = counts_of([("b", 0), ("a", 0), ("c", 0), ("c", 1)])
    assert counts.top(2) == ["c", "a"]
    assert counts.most(10) == [("c", 2), ("a", 1), ("b", 1)]
    assert counts.top(0) == []


def test_counts_leave_the_window_a_day_of_stream_time_later() -> None:
    counts = counts_of([("old", 0), ("old", 0), ("new", 23 * HOUR_MS)])
    assert counts.top(5) == ["old", "new"]
    counts.add("new", 24 * HOUR_MS)
    assert counts.top(5) == ["new"]
    assert (counts.newest_hour, counts.oldest_ms) == (24, HOUR_MS)


def test_an_event_older_than_the_window_changes_nothing() -> None:
    counts = counts_of([("new", 24 * HOUR_MS), ("old", HOUR_MS - 1)])
    assert counts.top(5) == ["new"]


def test_event_that_fell_from_a_ring_counts_no_more() -> None:
    counts = counts_of([("a", 0), ("a", 1), ("b", 2)])
    counts.remove_all([("a", 0), ("b", 2)])
    assert counts.hours() == {0: {"a": 1}}
    counts.remove_all([("a", 1)])
    assert (counts.hours(), counts.top(5)) == ({}, [])


def test_removing_what_left_the_window_changes_nothing() -> None:
    counts = counts_of([("a", 0), ("a", 24 * HOUR_MS)])
    counts.remove_all([("a", 0)])
    assert counts.most(5) == [("a", 1)]


def test_merged_counts_follow_the_newer_of_both() -> None:
    counts = counts_of([("a", 0), ("b", 5 * HOUR_MS)])
    counts.merge(counts_of([("b", 26 * HOUR_MS), ("b", 5 * HOUR_MS)]))
    assert counts.hours() == {5: {"b": 2}, 26: {"b": 1}}
    other = counts_of([("c", 26 * HOUR_MS)])
    other.merge(counts_of([("a", 0), ("b", 5 * HOUR_MS)]))
    assert other.hours() == {5: {"b": 1}, 26: {"c": 1}}


@settings(deadline=None)
@given(pairs)
def test_order_does_not_matter(events: Pairs) -> None:
    assert counts_of(events).hours() == counts_of(events[::-1]).hours()


@settings(deadline=None)
@given(pairs)
def test_many_at_once_count_as_one_after_the_other(events: Pairs) -> None:
    counts = TrendingCounts()
    counts.add_all(events)
    assert counts.hours() == counts_of(events).hours()
    assert counts.most(9) == counts_of(events).most(9)


@settings(deadline=None)
@given(pairs, st.integers(0, 1_000))
def test_what_is_left_after_removals_counts_as_if_it_alone_had_come(events: Pairs, seed: int) -> None:
    """The newest event of all stays, as it does in its ring."""
    newest = max(events, key=lambda event: event[1], default=("a", 0))
    left = [newest, *(event for event in events if random.Random(seed).random() < 0.5)]
    counts = counts_of([*left, *events])
    counts.remove_all(events)
    assert counts.hours() == counts_of(left).hours()
    assert counts.most(9) == counts_of(left).most(9)
