from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from consumers.learning import training_data
from consumers.learning.segments import Segment
from consumers.learning.training_data import Sources, TrainingData, build, cycle_share
from models.encoder.batches import SequenceData

KINDS = {"click": True, "view": False}
Event = tuple[str, str, int, str, int, int]  # user, item, ts_ms, kind, partition, offset


def sources(
    events: Sequence[Event],
    *,
    catalogue: Sequence[str] = ("a", "b", "c", "d"),
    parent_ids: Sequence[str] = (),
    parent_offsets: Mapping[int, int] | None = None,
    holdout_share: float = 0.0,
    feeds: Sequence[str | None] | None = None,
) -> Sources:
    columns = list(zip(*events, strict=True)) or [[]] * 6
    names = ("user_id", "item_id", "ts_ms", "kind", "partition", "offset")
    types = (pa.string(), pa.string(), pa.int64(), pa.string(), pa.int32(), pa.int64())
    table = pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, types, strict=True)})
    table = table.append_column("feed_id", pa.array(feeds or [None] * len(events), pa.string()))
    return Sources(table, catalogue, parent_ids, parent_offsets or {}, KINDS, holdout_share)


def clicks(user: str, items: str, *, first: int = 0, partition: int = 0) -> list[Event]:
    """One click a minute on each item of a string, offsets from `first` on."""
    return [(user, item, 60_000 * (first + n), "click", partition, first + n) for n, item in enumerate(items)]


def histories(data: SequenceData, item_ids: Sequence[str]) -> list[str]:
    return ["".join(item_ids[row] for row in user) for user in np.split(data.rows, data.starts[1:-1])]


def test_events_become_histories_in_event_time() -> None:
    data = build(sources([("ann", "b", 2_000, "click", 0, 0), ("bob", "c", 5_000, "click", 0, 1), *clicks("ann", "a")]))

    assert histories(data.sequences, data.item_ids) == ["ab", "c"]
    assert data.n_unknown == 0


def test_parent_ids_come_first_then_items_with_events_then_the_rest() -> None:
    data = build(sources(clicks("ann", "cab"), catalogue=("d", "a", "b", "c", "0"), parent_ids=("b", "gone")))

    assert data.item_ids == ("b", "gone", "c", "a", "0", "d")
    assert data.n_ids == 4


def test_item_that_left_the_catalogue_still_counts_where_the_parent_knows_it() -> None:
    data = build(sources(clicks("ann", "xa"), parent_ids=("x",)))

    assert histories(data.sequences, data.item_ids) == ["xa"]


def test_kinds_that_enter_no_sequence_are_left_out_and_others_are_context_only() -> None:
    events = [
        ("ann", "a", 1_000, "click", 0, 0),
        ("ann", "b", 2_000, "dislike", 0, 1),
        ("ann", "c", 3_000, "view", 0, 2),
    ]

    data = build(sources(events))

    assert histories(data.sequences, data.item_ids) == ["ac"]
    assert data.sequences.is_target.tolist() == [True, False]
    assert data.n_unknown == 0


def test_events_on_unknown_items_are_left_out_and_counted() -> None:
    data = build(sources(clicks("ann", "axbx")))

    assert histories(data.sequences, data.item_ids) == ["ab"]
    assert data.n_unknown == 2


def test_fresh_is_at_or_beyond_the_parents_next_offset_of_the_partition() -> None:
    events = [*clicks("ann", "abc", partition=0), *clicks("bob", "abc", partition=1), *clicks("cid", "ab", partition=2)]

    data = build(sources(events, parent_offsets={0: 2, 1: 0}))

    assert data.is_fresh.tolist() == [False, False, True, True, True, True, True, True]


def test_late_event_is_fresh_by_its_offset_wherever_its_time_puts_it() -> None:
    events = [
        ("ann", "a", 2_000, "click", 0, 0),
        ("ann", "b", 3_000, "click", 0, 1),
        ("ann", "c", 1_000, "click", 0, 2),
    ]

    data = build(sources(events, parent_offsets={0: 2}))

    assert histories(data.sequences, data.item_ids) == ["cab"]
    assert data.is_fresh.tolist() == [True, False, False]


def test_organic_is_what_followed_no_feed_wherever_its_time_puts_it() -> None:
    events = [("ann", "a", 3_000, "click", 0, 0), ("ann", "b", 1_000, "click", 0, 1), *clicks("bob", "c")]

    data = build(sources(events, feeds=["f-1", None, "f-2"]))

    assert histories(data.sequences, data.item_ids) == ["ba", "c"]
    assert data.is_organic.tolist() == [True, False, False]


def test_no_events_at_all_make_an_empty_training_set() -> None:
    data = build(sources([]))

    assert (len(data.sequences.rows), data.n_ids, data.item_ids) == (0, 0, ("a", "b", "c", "d"))
    assert data.is_held_out.tolist() == data.is_fresh.tolist() == data.is_organic.tolist() == []


def test_before_keeps_what_lies_below_the_offsets_and_nothing_of_other_partitions() -> None:
    table = sources([*clicks("ann", "abc"), *clicks("bob", "ab", partition=3)]).events

    assert training_data.before(table, {0: 2})["item_id"].to_pylist() == ["a", "b"]
    assert len(training_data.before(table, {})) == 0
    assert len(training_data.before(sources([]).events, {0: 5})) == 0


def segment(number: int, rows: int) -> Segment:
    return Segment(file=f"events-{number}.parquet", topic="events", rows=rows, from_={}, to={})


def test_segments_begun_before_the_offsets_are_those_that_can_hold_an_event_below_them() -> None:
    begins: list[dict[int, int]] = [{0: 0}, {0: 5, 1: 0}, {0: 9, 1: 4}, {0: 12}]
    segments = [msgspec.structs.replace(segment(n, 9), from_=first) for n, first in enumerate(begins)]

    assert training_data.begun_before(segments, {0: 5, 1: 4}) == segments[:2]
    assert training_data.begun_before(segments, {0: 13}) == segments
    assert training_data.begun_before(segments, {}) == []


def test_newest_segments_are_those_that_fit_but_at_least_one() -> None:
    segments = [segment(0, 50), segment(1, 30), segment(2, 20)]

    assert training_data.newest(segments, 100) == segments
    assert training_data.newest(segments, 99) == segments[1:]
    assert training_data.newest(segments, 49) == segments[2:]
    assert training_data.newest(segments, 1) == segments[2:]
    assert training_data.newest([], 10) == []


def test_newest_per_user_marks_the_last_of_the_marked_events() -> None:
    data = build(sources([*clicks("ann", "abcd"), *clicks("bob", "ab")]))
    marked = np.array([True, True, True, False, True, True])

    assert training_data.newest_per_user(data, marked, 2).tolist() == [False, True, True, False, True, True]
    assert training_data.newest_per_user(data, marked, 1).tolist() == [False, False, True, False, False, True]


def test_held_out_users_are_a_fixed_sample() -> None:
    users = [f"user-{n}" for n in range(300)]
    data = build(sources([event for user in users for event in clicks(user, "a")], holdout_share=0.1))

    assert data.is_held_out.tolist() == [training_data.is_held_out(user, 0.1) for user in users]
    assert 15 <= data.is_held_out.sum() <= 45
    assert not any(training_data.is_held_out(user, 0.0) for user in users)


def share_of(data: TrainingData, *, window: int = 2, replay_ratio: float = 0.0, seed: int = 0) -> SequenceData:
    return cycle_share(data, window=window, replay_ratio=replay_ratio, rng=np.random.default_rng(seed))


def test_fresh_events_come_with_a_window_of_context_and_are_the_only_targets() -> None:
    data = build(sources(clicks("ann", "abcdab"), parent_offsets={0: 4}))

    share = share_of(data)

    assert histories(share, data.item_ids) == ["cdab"]
    assert share.is_target.tolist() == [False, False, True, True]


def test_fresh_events_of_a_kind_that_is_no_target_are_context() -> None:
    events = [*clicks("ann", "ab"), ("ann", "c", 999_000, "view", 0, 9)]

    share = share_of(build(sources(events, parent_offsets={0: 2})))

    assert share.is_target.tolist() == [False, False, False]


def test_users_without_fresh_events_are_no_part_of_the_fresh_share() -> None:
    data = build(sources([*clicks("ann", "abc"), *clicks("bob", "abc", partition=1)], parent_offsets={0: 3, 1: 2}))

    assert histories(share_of(data), data.item_ids) == ["abc"]


def held_out_and_not() -> TrainingData:
    """Forty users, a fifth of them kept out; the events of the first twenty are fresh, of the others old."""
    events = [event for n in range(40) for event in clicks(f"user-{n}", "abcd", partition=n // 20)]
    return build(sources(events, parent_offsets={1: 4}, holdout_share=0.2))


def test_held_out_users_are_neither_learned_from_nor_replayed() -> None:
    data = held_out_and_not()
    users = data.sequences.users()
    n_kept = len(set(users[~data.is_held_out].tolist()))

    share = share_of(data, replay_ratio=1_000.0)

    assert 0 < data.is_held_out.sum() < len(users)
    assert len(share.starts) - 1 == n_kept


def test_replay_stays_within_a_stretch_of_its_budget() -> None:
    data = held_out_and_not()
    n_fresh = int((data.is_fresh & ~data.is_held_out).sum())

    n_replayed = len(share_of(data, replay_ratio=0.5).rows) - n_fresh

    assert 0.5 * n_fresh <= n_replayed < 0.5 * n_fresh + 3  # a stretch is a window of 2 and its target


def test_replayed_stretches_are_at_most_a_window_and_their_events_are_targets() -> None:
    events = [*clicks("old", "abcdabcd"), *clicks("new", "ab", partition=1)]
    data = build(sources(events, parent_offsets={0: 8}))

    share = share_of(data, window=3, replay_ratio=2.0)

    old, new = histories(share, data.item_ids)
    assert new == "ab"
    assert len(old) == 4
    assert old in "abcdabcd"
    assert share.is_target.tolist() == [True] * 6


def test_replay_is_drawn_by_its_generator() -> None:
    data = held_out_and_not()

    drawn = [share_of(data, replay_ratio=0.5, seed=seed).rows.tolist() for seed in (1, 1, 2, 3)]

    assert drawn[0] == drawn[1]
    assert drawn[2:] != [drawn[0], drawn[0]]


@pytest.mark.parametrize("replay_ratio", [0.0, 1.0])
def test_nothing_fresh_means_nothing_to_learn(replay_ratio: float) -> None:
    data = build(sources(clicks("ann", "abc"), parent_offsets={0: 3}))

    assert share_of(data, replay_ratio=replay_ratio).rows.tolist() == []
