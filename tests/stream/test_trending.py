import json

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.trending import HOUR_MS, TrendingCounts

events = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 23 * HOUR_MS)), max_size=50)


def counts_of(pairs: list[tuple[str, int]]) -> TrendingCounts:
    counts = TrendingCounts()
    for item_id, ts_ms in pairs:
        counts.add(item_id, ts_ms)
    return counts


def test_most_counted_items_come_first_and_ties_by_id() -> None:
    counts = counts_of([("b", 0), ("a", 0), ("c", 0), ("c", 1)])
    assert counts.top(2) == ["c", "a"]
    assert counts.top(10) == ["c", "a", "b"]
    assert counts.top(0) == []


def test_counts_leave_the_window_a_day_of_stream_time_later() -> None:
    counts = counts_of([("old", 0), ("old", 0), ("new", 23 * HOUR_MS)])
    assert counts.top(5) == ["old", "new"]
    counts.add("new", 24 * HOUR_MS)
    assert counts.top(5) == ["new"]


def test_an_event_older_than_the_window_changes_nothing() -> None:
    counts = counts_of([("new", 24 * HOUR_MS), ("old", HOUR_MS - 1)])
    assert counts.top(5) == ["new"]


def test_state_survives_json() -> None:
    counts = counts_of([("a", 0), ("b", HOUR_MS), ("b", HOUR_MS)])
    again = TrendingCounts.from_dict(json.loads(json.dumps(counts.to_dict())))
    assert again.to_dict() == counts.to_dict()
    again.add("c", 24 * HOUR_MS)
    assert again.top(5) == ["b", "c"]


@settings(deadline=None)
@given(events)
def test_order_does_not_matter_within_a_day(pairs: list[tuple[str, int]]) -> None:
    assert counts_of(pairs).top(4) == counts_of(pairs[::-1]).top(4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 60 * HOUR_MS)), max_size=50))
def test_many_at_once_count_as_one_after_the_other(pairs: list[tuple[str, int]]) -> None:
    counts = TrendingCounts()
    counts.add_all(pairs)
    assert counts.to_dict() == counts_of(pairs).to_dict()
