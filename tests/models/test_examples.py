from typing import cast

import numpy as np
import pytest

from models.encoder.batches import SequenceData
from models.examples import Example, examples, rank_examples
from models.ranker import Ranker
from tests.models.ranker_fixtures import ScoredByHand

ITEMS = ("a", "b", "c", "d", "e", "f")


def data_of(*events: tuple[int, str, int], targets: list[bool] | None = None) -> SequenceData:
    """Events as (user, item, ts_ms)."""
    users, items, ts_ms = zip(*events, strict=True)
    return SequenceData.from_events(
        np.array(users),
        np.array([ITEMS.index(item) for item in items]),
        np.array(ts_ms),
        is_target=None if targets is None else np.array(targets),
    )


def ask(data: SequenceData, asked: list[bool] | None = None, *, limit: int = 100, seed: int = 0) -> list[Example]:
    marked = np.ones(len(data.rows), np.bool_) if asked is None else np.array(asked)
    return examples(data, ITEMS, asked=marked, limit=limit, seed=seed)


def question(user: int, history: str, target: str) -> Example:
    """After items of one letter each, a second apart."""
    return Example(user, tuple(history), tuple(range(0, 1_000 * len(history), 1_000)), target)


def ranker_of(**scores: float) -> Ranker:
    return cast(Ranker, ScoredByHand(**scores))


def test_every_event_with_a_history_is_a_question() -> None:
    data = data_of((0, "a", 1_000), (0, "b", 2_000), (0, "c", 3_000), (1, "d", 1_000))

    assert ask(data) == [Example(0, ("a",), (1_000,), "b"), Example(0, ("a", "b"), (1_000, 2_000), "c")]


def test_events_of_the_same_second_are_asked_from_the_state_before_it() -> None:
    data = data_of((0, "a", 1_000), (0, "b", 2_000), (0, "c", 2_999), (0, "d", 3_000))

    assert ask(data) == [
        Example(0, ("a",), (1_000,), "b"),
        Example(0, ("a",), (1_000,), "c"),
        Example(0, ("a", "b", "c"), (1_000, 2_000, 2_999), "d"),
    ]


def test_what_was_learned_of_the_targets_second_is_no_candidate_where_histories_were_cut() -> None:
    data = data_of((0, "a", 1_000), (0, "b", 2_000), (0, "c", 2_500), targets=[False, False, True])
    (cut,) = examples(data, ITEMS, asked=data.is_target, limit=9, seed=0, is_cut=True)
    (whole,) = ask(data)
    ranker = ranker_of(a=9.0, b=8.0, c=7.0, d=1.0)

    assert (cut.history, cut.beside, cut.target) == (("a",), ("b",), "c")
    assert whole == Example(0, ("a",), (1_000,), "c")
    assert rank_examples(ranker, [cut]).means()["mrr"] == 1.0
    assert rank_examples(ranker, [whole]).means()["mrr"] == 0.5


def test_the_first_second_of_a_user_is_never_a_question() -> None:
    data = data_of((0, "a", 1_000), (0, "b", 1_500), (1, "c", 1_600), (1, "d", 1_700))

    assert ask(data) == []


def test_same_second_of_two_users_is_two_blocks() -> None:
    data = data_of((0, "a", 1_000), (0, "b", 2_000), (1, "c", 2_000), (1, "d", 3_000))

    assert ask(data) == [Example(0, ("a",), (1_000,), "b"), Example(1, ("c",), (2_000,), "d")]


def test_only_marked_events_that_are_targets_are_asked() -> None:
    data = data_of(
        (0, "a", 1_000), (0, "b", 2_000), (0, "c", 3_000), (0, "d", 4_000), targets=[True, True, False, True]
    )

    assert ask(data, [True, False, True, True]) == [Example(0, ("a", "b", "c"), (1_000, 2_000, 3_000), "d")]


def test_no_more_than_the_limit_are_asked_in_order_and_drawn_by_seed() -> None:
    data = data_of(*[(0, "abcdef"[n % 6], 1_000 * n) for n in range(60)])

    drawn, again, other = ask(data, limit=7, seed=1), ask(data, limit=7, seed=1), ask(data, limit=7, seed=2)

    lengths = [len(one.history) for one in drawn]
    assert len(drawn) == 7
    assert lengths == sorted(set(lengths))
    assert again == drawn
    assert other != drawn


def test_nobody_did_anything_so_nothing_is_asked() -> None:
    nobody = SequenceData.from_events(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))

    assert ask(nobody) == []


def test_ranks_are_those_counted_by_hand() -> None:
    ranker = ranker_of(a=5.0, b=4.0, c=3.0, d=2.0)
    questions = [question(0, "a", "b"), question(0, "c", "d"), question(1, "b", "a")]

    tally = rank_examples(ranker, questions)

    # without what was seen: b stands first; d third behind a and b; a first
    assert tally.n == 3
    assert tally.means()["mrr"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert tally.means()["ndcg_at_10"] == pytest.approx((1 + 1 / 2 + 1) / 3)


def test_tied_target_is_worth_the_mean_over_its_places() -> None:
    ranker = ranker_of(a=9.0, b=4.0, c=4.0, d=1.0)

    tally = rank_examples(ranker, [question(0, "a", "b")])

    assert tally.means()["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    assert tally.means()["ndcg_at_10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_target_the_user_has_seen_is_dropped_and_counted() -> None:
    tally = rank_examples(ranker_of(a=2.0, b=1.0), [question(0, "ab", "a"), question(0, "a", "b")])

    assert (tally.n, tally.n_dropped) == (1, 1)


def test_target_that_is_unknown_or_no_longer_live_is_a_miss_behind_all_others() -> None:
    ranker = ranker_of(a=3.0, b=2.0, c=1.0, gone=-np.inf)

    tally = rank_examples(ranker, [question(0, "a", "nobody"), question(1, "a", "gone")])

    assert tally.n == 2
    assert tally.means()["mrr"] == pytest.approx(1 / 3)  # behind b and c


def test_where_the_ranker_knows_nothing_of_a_history_all_items_tie() -> None:
    ranker = ranker_of(a=-np.inf, b=-np.inf)

    tally = rank_examples(ranker, [question(0, "x", "b")])

    assert tally.means()["mrr"] == pytest.approx((1 + 1 / 2) / 2)


def test_questions_in_many_batches_give_what_one_batch_gives() -> None:
    ranker = ranker_of(a=5.0, b=4.0, c=3.0, d=2.0)
    questions = [question(n, "a", "bcd"[n % 3]) for n in range(20)]

    assert rank_examples(ranker, questions, batch_size=3).means() == rank_examples(ranker, questions).means()
