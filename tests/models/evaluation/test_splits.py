import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoder.batches import SequenceData
from models.evaluation.splits import SplitError, by_time, drawn_items, leave_one_out

Event = tuple[int, int, int, bool]


def histories(events: list[Event]) -> SequenceData:
    """Events as (user, item, second, is target)."""
    users, items, seconds, targets = (np.array(column) for column in zip(*events, strict=True))
    return SequenceData.from_events(users, items, seconds * 1_000, is_target=targets.astype(np.bool_))


def asked(data: SequenceData) -> list[int]:
    return data.rows[data.is_target].tolist()


TEN_ROWS: list[Event] = [
    (0, 10, 1, True),
    (0, 11, 2, True),
    (0, 12, 3, True),
    (0, 13, 4, True),
    (0, 14, 5, False),  # context after the last target: left out
    (1, 20, 1, True),
    (1, 21, 9, True),  # two targets: only learned from
    (2, 30, 2, True),
    (2, 31, 3, True),
    (2, 32, 8, True),
]


def test_leave_one_out_asks_the_last_target_and_chooses_by_the_one_before() -> None:
    split = leave_one_out(histories(TEN_ROWS))

    assert split.train.rows.tolist() == [10, 11, 20, 21, 30]
    assert split.validation.rows.tolist() == [10, 11, 12, 30, 31]
    assert asked(split.validation) == [12, 31]
    assert split.refit.rows.tolist() == [10, 11, 12, 20, 21, 30, 31]
    assert split.test.rows.tolist() == [10, 11, 12, 13, 30, 31, 32]
    assert asked(split.test) == [13, 32]
    assert split.test_start_ms is None


def test_split_by_time_asks_what_comes_after_the_cut_off_whoevers_it_is() -> None:
    seconds = [0, 10, 20, 30, 40, 50, 60, 75, 80, 90]
    events = [(user, 10 * user + n, second, True) for user in (0, 1) for n, second in enumerate(seconds)]

    split = by_time(histories(events), test_share=0.2)

    assert split.test_start_ms == 80_000
    assert split.train.rows.tolist() == [*range(7), *range(10, 17)]
    assert asked(split.validation) == [7, 17]
    assert split.refit.rows.tolist() == [*range(8), *range(10, 18)]
    assert asked(split.test) == [8, 9, 18, 19]
    assert len(split.test.rows) == 20


def test_the_last_tenth_of_the_time_before_the_cut_off_is_chosen_by() -> None:
    events = [(0, n, n, True) for n in range(100)]

    split = by_time(histories(events))

    assert split.test_start_ms == 90_000
    assert split.train.rows.tolist() == list(range(81))
    assert asked(split.validation) == list(range(81, 90))
    assert split.refit.rows.tolist() == list(range(90))
    assert asked(split.test) == list(range(90, 100))


def test_cuts_never_tear_a_second() -> None:
    events = [(n % 3, n, n // 8, True) for n in range(160)]

    split = by_time(histories(events), test_share=0.13)

    asked_seconds = set((split.test.ts_ms[split.test.is_target] // 1_000).tolist())
    learned_seconds = set((split.refit.ts_ms // 1_000).tolist())
    assert asked_seconds.isdisjoint(learned_seconds)


def test_withheld_items_are_in_nothing_but_the_test() -> None:
    is_withheld = np.zeros(40, np.bool_)
    is_withheld[[11, 13, 31]] = True

    split = leave_one_out(histories(TEN_ROWS)).without(is_withheld)

    assert split.train.rows.tolist() == [10, 20, 21, 30]
    assert split.validation.rows.tolist() == [10, 12, 30]
    assert split.refit.rows.tolist() == [10, 12, 20, 21, 30]
    assert split.test.rows.tolist() == [10, 11, 12, 13, 30, 31, 32]


def test_the_same_items_are_withheld_for_the_same_seed() -> None:
    first, again, other = (drawn_items(50, share=0.1, seed=seed) for seed in (0, 0, 1))

    assert first.sum() == 5
    assert first.tolist() == again.tolist() != other.tolist()
    assert drawn_items(3, share=0.1, seed=0).sum() == 1


def test_a_share_that_cannot_be_withheld_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share of items to withhold is 0.6, must be above 0 and at most 0.5"):
        drawn_items(50, share=0.6, seed=0)


def test_too_short_histories_cannot_be_split() -> None:
    with pytest.raises(SplitError, match=r"no user of 1 has 3 events to predict.*--split time"):
        leave_one_out(histories([(0, 1, 1, True), (0, 2, 2, True)]))
    with pytest.raises(SplitError, match=r"3 events within 0 s cannot be cut by time.*use --split leave-one-out"):
        by_time(histories([(0, 1, 5, True), (0, 2, 5, True), (1, 3, 5, True)]))
    with pytest.raises(ValueError, match=r"test_share=1 must be above 0 and below 1"):
        by_time(histories(TEN_ROWS), test_share=1)


event_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.booleans()), min_size=1, max_size=60).map(
    lambda rows: [(user, number, second, kind) for number, (user, second, kind) in enumerate(rows)]
)


@given(event_lists)
@settings(max_examples=60, deadline=None)
def test_leave_one_out_never_learns_what_it_asks_nor_what_a_user_did_later(events: list[Event]) -> None:
    try:
        split = leave_one_out(histories(events))
    except SplitError:
        return

    user_of, second_of = {n: user for user, n, _, _ in events}, {n: second for _, n, second, _ in events}
    for learned, questions in ((split.train, split.validation), (split.refit, split.test)):
        of_user = {user_of[item]: item for item in asked(questions)}
        assert len(of_user) == len(asked(questions))
        for item in learned.rows.tolist():
            question = of_user.get(user_of[item])
            assert question != item
            assert question is None or second_of[item] <= second_of[question]


@given(event_lists)
@settings(max_examples=60, deadline=None)
def test_split_by_time_never_learns_from_the_time_it_asks_about(events: list[Event]) -> None:
    try:
        split = by_time(histories(events))
    except SplitError:
        return

    for learned, questions in ((split.train, split.validation), (split.refit, split.test)):
        assert learned.ts_ms.max() < questions.ts_ms[questions.is_target].min()
    every_target = {n for _, n, second, kind in events if kind and second * 1_000 >= (split.test_start_ms or 0)}
    assert set(asked(split.test)) == every_target
