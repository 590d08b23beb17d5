"""Exposures joined to events: the result depends on which there were, not on how they came."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import Exposure, Interaction, Outcome
from stream.windows.arms import ArmHour
from stream.windows.attribution import (
    AttributionSettings,
    UserWindow,
    add_event,
    add_exposure,
    close,
    closing,
    due_ms,
    is_late_event,
    is_late_exposure,
    is_open,
    wake_ms,
)

RULES = AttributionSettings(window_ms=100, lateness_ms=20)


def shown(feed_id: str, ts_ms: int, *item_ids: str, **facts: object) -> Exposure:
    return Exposure(feed_id=feed_id, user_id="ada", ts_ms=ts_ms, item_ids=item_ids, **facts)  # type: ignore[arg-type]


def click(event_id: str, ts_ms: int, item_id: str, feed_id: str | None = None, kind: str = "click") -> Interaction:
    return Interaction(event_id=event_id, user_id="ada", item_id=item_id, ts_ms=ts_ms, kind=kind, feed_id=feed_id)


def window_of(*records: Exposure | Interaction, now_ms: int = 0, rules: AttributionSettings = RULES) -> UserWindow:
    window = UserWindow()
    for record in records:
        add(window, record, now_ms, rules)
    return window


def add(window: UserWindow, record: Exposure | Interaction, now_ms: int, rules: AttributionSettings = RULES) -> bool:
    if isinstance(record, Exposure):
        return add_exposure(window, record, rules, now_ms)
    return add_event(window, record, rules, now_ms)


def outcome_ids(window: UserWindow, now_ms: int) -> list[str]:
    return [outcome.outcome_id for outcome in closing(window, "ada", now_ms, RULES)]


def test_outcome_names_the_first_event_and_counts_all_kinds() -> None:
    window = window_of(
        shown("f", 10, "a", "b", experiment="x", arm="t", model_version="v1", propensities=(0.5, 0.25)),
        click("e2", 60, "b", "f", kind="like"),
        click("e1", 40, "b", "f"),
        click("e3", 70, "b"),
    )
    assert closing(window, "ada", 111, RULES) == [
        Outcome(
            outcome_id="f:b",
            feed_id="f",
            item_id="b",
            user_id="ada",
            rank=1,
            shown_ms=10,
            ts_ms=40,
            event_id="e1",
            kinds={"click": 2, "like": 1},
            experiment="x",
            arm="t",
            model_version="v1",
            propensity=0.25,
        )
    ]


def test_nothing_closes_before_stream_time_has_passed_the_window() -> None:
    window = window_of(shown("f", 10, "a"), click("e", 110, "a"))
    assert due_ms(window, RULES) == 111
    assert outcome_ids(window, 110) == []
    assert outcome_ids(window, 111) == ["f:a"]


def test_window_includes_its_first_and_last_millisecond() -> None:
    window = window_of(shown("f", 10, "a", "b", "c", "d"), *[click(f"e{n}", 9 + n, i) for n, i in [(0, "a"), (1, "b")]])
    add(window, click("e-last", 110, "c"), 0)
    add(window, click("e-after", 111, "d"), 0)
    assert outcome_ids(window, 200) == ["f:b", "f:c"]


def test_event_that_names_a_feed_counts_for_that_feed_only() -> None:
    window = window_of(shown("old", 0, "a"), shown("new", 50, "a", "b"), click("e1", 60, "a", "old"))
    add(window, click("e2", 60, "b", "other"), 0)
    assert outcome_ids(window, 500) == ["old:a"]


def test_event_that_names_none_counts_for_the_newest_exposure_that_showed_it() -> None:
    window = window_of(shown("old", 0, "a", "b"), shown("new", 50, "a"), shown("after", 70, "a", "b"))
    for event in [click("e1", 60, "a"), click("e2", 60, "b")]:
        add(window, event, 0)
    assert outcome_ids(window, 500) == ["old:b", "new:a"]


def test_item_shown_twice_in_a_feed_counts_at_its_first_place() -> None:
    window = window_of(shown("f", 0, "b", "a", "a"), click("e", 1, "a"))
    assert [outcome.rank for outcome in closing(window, "ada", 500, RULES)] == [1]


def test_propensity_is_left_out_where_the_exposure_has_none_for_the_rank() -> None:
    window = window_of(shown("f", 0, "a", "b", propensities=(0.5,)), click("e", 1, "b"))
    assert [outcome.propensity for outcome in closing(window, "ada", 500, RULES)] == [None]


def test_known_records_change_nothing() -> None:
    window = window_of(shown("f", 0, "a"), click("e", 1, "a"))
    before = msgspec.msgpack.encode(window)
    assert [add(window, shown("f", 0, "a"), 0), add(window, click("e", 1, "a"), 0)] == [False, False]
    assert msgspec.msgpack.encode(window) == before


def test_events_older_than_stream_time_and_exposures_that_closed_are_late() -> None:
    assert not is_late_event(click("e", 200, "a"), now_ms=200)
    assert is_late_event(click("e", 199, "a"), now_ms=200)
    assert not is_late_exposure(shown("f", 100, "a"), RULES, now_ms=200)
    assert is_late_exposure(shown("f", 99, "a"), RULES, now_ms=200)
    window = UserWindow()
    assert [add(window, click("e", 199, "a"), 200), add(window, shown("f", 99, "a"), 200)] == [False, False]
    assert not is_open(window)


def test_an_exposure_that_comes_late_claims_no_event_that_another_one_closed_with() -> None:
    window = window_of(shown("old", 0, "a"), click("e1", 60, "a"), click("e2", 60, "b"))
    assert outcome_ids(window, 101) == ["old:a"]
    close(window, 101, RULES)
    assert add(window, shown("late", 50, "a", "b"), 101)
    assert not add(window, click("e1", 60, "a"), 101)
    assert outcome_ids(window, 151) == ["late:b"]


def test_an_event_that_comes_while_outcomes_are_on_their_way_changes_neither_them_nor_the_counts() -> None:
    window = window_of(shown("f", 0, "a"))
    assert closing(window, "ada", 150, RULES) == []
    assert not add(window, click("e", 50, "a"), 150)
    (arm,) = close(window, 150, RULES)
    assert (arm.n_feeds, arm.n_outcomes) == (1, 0)


def test_closed_exposure_does_not_open_again_though_stream_time_went_back() -> None:
    window = window_of(shown("f", 0, "a"), click("e", 1, "a"))
    close(window, 500, RULES)
    assert not add(window, shown("f", 0, "a"), 0)
    assert closing(window, "ada", 500, RULES) == []


def test_closing_changes_nothing_and_close_counts_the_arm() -> None:
    window = window_of(shown("f", 7_200_000, "a", "b", experiment="x", arm="t"), click("e", 7_200_001, "a"))
    add(window, shown("g", 7_200_002, "a"), 0)
    before = msgspec.msgpack.encode(window)
    assert outcome_ids(window, 7_200_101) == ["f:a"]
    assert msgspec.msgpack.encode(window) == before
    assert close(window, 7_200_101, RULES) == [ArmHour("x", "t", 2, 1, 2, 1, {"click": 1})]
    assert close(window, 7_200_101, RULES) == []
    assert [open_feed.feed_id for open_feed in window.exposures] == ["g"]
    assert close(window, 7_200_103, RULES) == [ArmHour("none", "none", 2, 1, 1, 0, {})]
    assert window.arms == [ArmHour("none", "none", 2, 1, 1, 0, {}), ArmHour("x", "t", 2, 1, 2, 1, {"click": 1})]


def test_window_of_an_idle_user_closes_once_its_events_are_of_no_use() -> None:
    window = window_of(click("e1", 50, "a"), click("e2", 60, "a"))
    assert (due_ms(window, RULES), wake_ms(window, RULES)) == (None, 161)
    close(window, 160, RULES)
    assert is_open(window)
    close(window, 161, RULES)
    assert not is_open(window)


def test_user_with_arms_alone_has_nothing_due() -> None:
    window = window_of(shown("f", 0, "a"))
    close(window, 500, RULES)
    assert (is_open(window), wake_ms(window, RULES)) == (False, None)


def test_beyond_its_bounds_a_window_lets_the_oldest_go_and_counts_them() -> None:
    rules = AttributionSettings(window_ms=100, lateness_ms=20, max_exposures=2, max_events=2)
    window = window_of(*[shown(f"f{n}", n, "a") for n in (1, 2, 3)], rules=rules)
    assert [add(window, click(f"e{n}", n, "a"), 0, rules) for n in (2, 3, 4, 1)] == [True, True, True, False]
    assert [open_feed.feed_id for open_feed in window.exposures] == ["f2", "f3"]
    assert [event.event_id for event in window.events] == ["e3", "e4"]
    assert window.n_dropped == 3


def test_window_survives_msgpack() -> None:
    window = window_of(shown("f", 0, "a", propensities=(0.5,)), shown("g", 300, "b"), click("e", 250, "a", "f", "like"))
    close(window, 200, RULES)
    raw = msgspec.msgpack.encode(window)
    assert msgspec.msgpack.decode(raw, type=UserWindow) == window


@pytest.mark.parametrize("name", ["window_ms", "max_exposures", "max_events"])
def test_settings_without_room_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        AttributionSettings(**{name: 0})
    with pytest.raises(ValueError, match="lateness_ms=-1 must be at least 0"):
        AttributionSettings(lateness_ms=-1)


def oracle(records: list[Exposure | Interaction]) -> dict[str, tuple[str, dict[str, int]]]:
    """The rule itself, over all there ever was: outcome id -> first event, kinds."""
    feeds = {record.feed_id: record for record in records if isinstance(record, Exposure)}
    events = {record.event_id: record for record in records if isinstance(record, Interaction)}
    found: dict[str, list[Interaction]] = {}
    for event in sorted(events.values(), key=lambda event: (event.ts_ms, event.event_id)):
        possible = [
            feed
            for feed in feeds.values()
            if feed.ts_ms <= event.ts_ms <= feed.ts_ms + RULES.window_ms
            and event.item_id in feed.item_ids
            and event.feed_id in (None, feed.feed_id)
        ]
        if possible:
            newest = max(possible, key=lambda feed: (feed.ts_ms, feed.feed_id))
            found.setdefault(f"{newest.feed_id}:{event.item_id}", []).append(event)
    return {
        key: (claimed[0].event_id, {kind: sum(e.kind == kind for e in claimed) for kind in {e.kind for e in claimed}})
        for key, claimed in found.items()
    }


items = st.sampled_from("abcd")
exposures = st.builds(
    lambda number, ts_ms, shown_items: shown(f"f{number}", ts_ms * 10, *shown_items),
    st.integers(0, 1_000),
    st.integers(0, 60),
    st.lists(items, min_size=1, max_size=3),
)
events = st.builds(
    lambda number, ts_ms, item_id, feed, kind: click(
        f"e{number}", ts_ms * 10, item_id, None if feed is None else f"f{feed}", kind
    ),
    st.integers(0, 1_000),
    st.integers(0, 60),
    items,
    st.none() | st.integers(0, 3),
    st.sampled_from(["click", "like"]),
)


def distinct(records: list[Exposure | Interaction]) -> list[Exposure | Interaction]:
    """One record an id: what the same id says twice is the same."""
    by_id = {getattr(record, "event_id", record.feed_id): record for record in records}
    return list(by_id.values())


@settings(max_examples=300, deadline=None)
@given(st.lists(exposures | events, max_size=40).map(distinct), st.integers(0, 1_000_000))
def test_any_order_and_repetition_within_the_lateness_gives_the_same_outcomes(
    records: list[Exposure | Interaction], seed: int
) -> None:
    """Records are delayed by less than the lateness, some come twice, and windows close as soon as they may."""
    rng = random.Random(seed)
    arrivals = sorted(
        ((record.ts_ms + rng.randrange(RULES.lateness_ms + 1), record) for record in records for _ in range(2)),
        key=lambda pair: pair[0],
    )
    window, highest_ms = UserWindow(), 0
    found: list[Outcome] = []
    for _, record in arrivals:
        highest_ms = max(highest_ms, record.ts_ms)
        now_ms = highest_ms - RULES.lateness_ms
        add(window, record, now_ms)
        found += closing(window, "ada", now_ms, RULES)
        close(window, now_ms, RULES)
    found += closing(window, "ada", 10_000, RULES)
    added = close(window, 10_000, RULES)
    assert len(found) == len({outcome.outcome_id for outcome in found})
    assert {o.outcome_id: (o.event_id, o.kinds) for o in found} == oracle(records)
    assert sum(arm.n_feeds for arm in window.arms) == sum(isinstance(record, Exposure) for record in records)
    assert sum(arm.n_outcomes for arm in window.arms) == len(found)
    assert sum(arm.n_feeds for arm in added) <= sum(arm.n_feeds for arm in window.arms)
    assert not is_open(window)
