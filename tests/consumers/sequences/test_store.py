import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.sequences.event_batch import prepare
from consumers.sequences.store import (
    APPLIED,
    DUPLICATE,
    IGNORED,
    STALE,
    HistoryEntry,
    SequenceStore,
    apply,
    apply_batch,
    apply_one,
)
from stream.events import Interaction, event_hash
from stream.kinds import DEFAULT_KINDS, UnknownKind

LENGTH, MAX_SEEN = 4, 3


def click(event_id: str, user: str, item: str, ts_ms: int, kind: str = "click") -> Interaction:
    return Interaction(event_id=event_id, user_id=user, item_id=item, ts_ms=ts_ms, kind=kind)


def small_store() -> SequenceStore:
    return SequenceStore(length=LENGTH, max_seen=MAX_SEEN)


def state(store: SequenceStore) -> dict[str, tuple[object, set[str]]]:
    """Everything a store knows of its users, in words that do not depend on rows and numbers."""
    rings = {
        user: [(e.ts_ms, e.event_hash, store.item_ids[e.item], e.kind) for e in store.rings.entries(row)]
        for user, row in store.users.items()
    }
    return {user: (ring, set(store.seen(user))) for user, ring in rings.items() if ring}


def expected_state(events: Sequence[Interaction]) -> dict[str, tuple[object, set[str]]]:
    """The promise itself, from the whole history at once."""
    by_user: dict[str, dict[str, Interaction]] = {}
    for event in events:
        if DEFAULT_KINDS.get(event.kind).enters_sequence:
            by_user.setdefault(event.user_id, {})[event.event_id] = event
    return {user: _expected_user(list(known.values())) for user, known in by_user.items()}


def _expected_user(events: list[Interaction]) -> tuple[object, set[str]]:
    events = sorted(events, key=lambda e: (e.ts_ms, event_hash(e.event_id)))
    ring, older = events[-LENGTH:], events[:-LENGTH]
    last_second = {event.item_id: event.ts_ms // 1_000 for event in older}
    newest = sorted(last_second, key=lambda item: (-last_second[item], item))[:MAX_SEEN]
    entries = [(e.ts_ms, event_hash(e.event_id), e.item_id, DEFAULT_KINDS.number(e.kind)) for e in ring]
    return entries, {event.item_id for event in ring} | set(newest)


def test_sequence_is_in_event_time_order_whatever_the_arrival() -> None:
    store = small_store()
    apply(store, [click("b", "u", "two", 2_000), click("c", "u", "three", 3_000)], DEFAULT_KINDS)
    apply(store, [click("a", "u", "one", 1_000)], DEFAULT_KINDS)
    assert store.sequence("u") == ["one", "two", "three"]


def test_history_gives_items_times_and_kinds() -> None:
    store = small_store()
    apply(store, [click("a", "u", "one", 1_001, "view"), click("b", "u", "two", 2_999, "like")], DEFAULT_KINDS)
    assert store.history("u") == [HistoryEntry("one", 1_001, 0), HistoryEntry("two", 2_999, 2)]
    assert (store.timed("u"), store.timed("nobody")) == ((["one", "two"], [1_001, 2_999]), ([], []))


def test_duplicate_event_leaves_sequence_unchanged() -> None:
    store = small_store()
    assert apply(store, [click("a", "u", "one", 1_000)] * 2, DEFAULT_KINDS).tolist() == [True, False]
    assert apply(store, [click("a", "u", "one", 1_000)], DEFAULT_KINDS).tolist() == [False]
    assert store.sequence("u") == ["one"]


def test_event_older_than_a_full_ring_is_only_seen() -> None:
    store = small_store()
    apply(store, [click(f"e{n}", "u", f"item-{n}", 1_000 * n) for n in range(2, 6)], DEFAULT_KINDS)
    assert apply(store, [click("e1", "u", "item-1", 1_000)], DEFAULT_KINDS).tolist() == [False]
    assert store.sequence("u") == ["item-2", "item-3", "item-4", "item-5"]
    assert sorted(store.seen("u")) == ["item-1", "item-2", "item-3", "item-4", "item-5"]


def test_seen_keeps_the_newest_beyond_the_sequence_up_to_its_bound() -> None:
    store = small_store()
    apply(store, [click(f"e{n}", "u", f"item-{n}", 1_000 * n) for n in range(12)], DEFAULT_KINDS)
    assert sorted(store.seen("u")) == sorted(f"item-{n}" for n in range(5, 12))


def test_seen_beyond_the_sequence_can_be_switched_off() -> None:
    store = SequenceStore(length=2, max_seen=0)
    apply(store, [click(f"e{n}", "u", f"item-{n}", n) for n in range(5)], DEFAULT_KINDS)
    assert sorted(store.seen("u")) == ["item-3", "item-4"]


def test_kind_that_does_not_enter_makes_no_user() -> None:
    store = small_store()
    assert apply(store, [click("a", "u", "one", 1, "dislike")], DEFAULT_KINDS).tolist() == [False]
    assert store.n_users == 0


def test_unknown_kind_is_refused_and_nothing_applied() -> None:
    store = small_store()
    with pytest.raises(UnknownKind, match="kind 'poke' is not known; known are view, click"):
        apply(store, [click("a", "u", "one", 1), click("b", "u", "one", 1, "poke")], DEFAULT_KINDS)
    assert store.n_users == 0


def test_unknown_user_has_nothing() -> None:
    store = small_store()
    assert (store.sequence("nobody"), store.history("nobody"), store.seen("nobody")) == ([], [], [])


def test_batch_says_what_became_of_each_event() -> None:
    store = small_store()
    apply(store, [click(f"e{n}", "u", "x", 1_000 * n) for n in range(2, 6)], DEFAULT_KINDS)
    events = [
        click("new", "u", "x", 9_000),
        click("e5", "u", "x", 5_000),
        click("old", "u", "x", 1),
        click("no", "u", "x", 9_000, "dislike"),
    ]
    assert apply_batch(store, prepare(events, DEFAULT_KINDS)).results.tolist() == [APPLIED, DUPLICATE, STALE, IGNORED]


def test_batch_tells_what_full_rings_let_go_and_not_what_was_too_old() -> None:
    store = small_store()
    apply(store, [click(f"e{n}", "u", f"item-{n}", 1_000 * n) for n in range(2, 6)], DEFAULT_KINDS)
    events = [click("old", "u", "x", 1), click("e6", "u", "y", 6_000), click("e6", "u", "y", 6_000)]
    fallen = apply_batch(store, prepare(events, DEFAULT_KINDS)).fallen
    assert [(e.ts_ms, store.item_ids[e.item]) for columns in fallen for e in columns.entries()] == [(2_000, "item-2")]


def test_length_and_max_seen_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="length=0 must be 1 to 65535"):
        SequenceStore(length=0)
    with pytest.raises(ValueError, match="max_seen=-1 must be at least 0"):
        SequenceStore(max_seen=-1)


def histories(max_users: int) -> st.SearchStrategy[list[Interaction]]:
    one = st.tuples(
        st.integers(0, 40),
        st.integers(0, max_users - 1),
        st.integers(0, 9),
        st.integers(0, 12).map(lambda n: n * 400),
        st.sampled_from(["click", "view", "dislike"]),
    )
    return st.lists(one, max_size=120).map(
        lambda rows: [click(f"{n}-{u}-{i}-{t}-{kind}", f"user-{u}", f"item-{i}", t, kind) for n, u, i, t, kind in rows]
    )


@settings(max_examples=150, deadline=None)
@given(events=st.one_of(histories(2), histories(30)), batch=st.integers(1, 130))
def test_any_batching_equals_one_event_after_the_other(events: list[Interaction], batch: int) -> None:
    oracle, store = small_store(), small_store()
    one_by_one = [apply_one(oracle, event, DEFAULT_KINDS) for event in events]
    masks = [apply(store, events[a : a + batch], DEFAULT_KINDS) for a in range(0, len(events), batch)]
    assert np.concatenate([np.zeros(0, bool), *masks]).tolist() == one_by_one
    assert state(store) == state(oracle)


@settings(max_examples=150, deadline=None)
@given(events=st.one_of(histories(2), histories(30)), seed=st.integers(0, 1_000), batch=st.integers(1, 130))
def test_any_order_and_repetition_gives_the_promised_state(events: list[Interaction], seed: int, batch: int) -> None:
    store = small_store()
    rng = random.Random(seed)
    arrivals = rng.sample(events, len(events)) + rng.sample(events, len(events) // 2)
    for start in range(0, len(arrivals), batch):
        apply(store, arrivals[start : start + batch], DEFAULT_KINDS)
    assert state(store) == expected_state(events)


def test_many_users_over_many_growths_equal_the_oracle() -> None:
    rng = random.Random(7)
    events = [
        click(f"e{n}", f"user-{int(rng.paretovariate(0.4)) % 2_000}", f"item-{rng.randrange(300)}", 500 * n)
        for n in range(6_000)
    ]
    arrivals = sorted(events, key=lambda event: event.ts_ms + rng.choice([0, 0, 0, 90_000]))
    store, oracle = small_store(), small_store()
    for start in range(0, len(arrivals), 1_000):
        apply(store, arrivals[start : start + 1_000], DEFAULT_KINDS)
    for event in arrivals:
        apply_one(oracle, event, DEFAULT_KINDS)
    assert state(store) == state(oracle) == expected_state(events)
