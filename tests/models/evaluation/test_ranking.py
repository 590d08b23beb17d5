import math

import numpy as np
import pytest

from models.encoder.batches import SequenceData
from models.evaluation.exposure import Popularity
from models.evaluation.ranking import NOTHING, Questions, rank_all
from models.evaluation.summary import ItemFacts, gains, slices, summarise
from tests.models.evaluation.fixed_scores import FixedScores

# Ten events of two users; items are 0..4 and are scored 5, 4, 3, 2, 1 for everybody.
USERS = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
ITEMS = [0, 1, 2, 2, 4, 3, 4, 0, 1, 2]
SECONDS = [1, 2, 3, 4, 5, 1, 1, 7, 7, 8]
ASKED = [0, 0, 1, 1, 1, 1, 0, 1, 1, 1]
SCORES = [5.0, 4.0, 3.0, 2.0, 1.0]
ALWAYS = np.iinfo(np.int64).min


def questions(*, withheld: list[int] | None = None, live_from_s: dict[int, int] | None = None) -> Questions:
    data = SequenceData.from_events(
        np.array(USERS), np.array(ITEMS), np.array(SECONDS) * 1_000, is_target=np.array(ASKED, np.bool_)
    )
    live_from_ms = np.full(5, ALWAYS)
    for item, second in (live_from_s or {}).items():
        live_from_ms[item] = second * 1_000
    is_withheld = np.zeros(5, np.bool_)
    is_withheld[withheld or []] = True
    return Questions(data, live_from_ms, is_withheld)


def facts(counts: list[int]) -> ItemFacts:
    has_text, has_image = np.ones(5, np.bool_), np.array([True, True, True, True, False])
    genres = [["drama"], ["drama", "crime"], ["crime"], [], ["war"]]
    return ItemFacts(Popularity(np.array(counts)), has_text, has_image, genres)


def test_every_event_is_asked_from_the_state_before_its_second() -> None:
    model = FixedScores(SCORES)
    asked = questions()

    ranked = rank_all(model, asked)

    assert model.asked == [[0, 1], [0, 1, 2], [0, 1, 2, 2], [3, 4], [3, 4, 0, 1]]  # 0 and 1 came in one second
    assert asked.targets.tolist() == [2, 2, 4, 0, 1, 2]
    assert asked.n_without_history == 1
    assert ranked.unfiltered.expected_ranks().tolist() == [3, 3, 5, 1, 2, 3]
    assert ranked.filtered.expected_ranks().tolist() == pytest.approx([1, math.nan, 2, 1, 2, 1], nan_ok=True)


def test_what_else_came_in_the_targets_second_is_no_candidate_unless_it_is_asked_too() -> None:
    users, items, seconds = [0, 0, 0, 0], [3, 0, 1, 2], [1, 2, 2, 2]
    ranks, lists = {}, {}
    for name, asked in {"cut out": [0, 0, 0, 1], "one by one": [0, 1, 1, 1]}.items():
        data = SequenceData.from_events(
            np.array(users), np.array(items), np.array(seconds) * 1_000, is_target=np.array(asked, np.bool_)
        )
        ranked = rank_all(FixedScores(SCORES), Questions(data, np.full(5, ALWAYS), np.zeros(5, np.bool_)))
        ranks[name], lists[name] = ranked.filtered.expected_ranks().tolist(), ranked.shown[-1, :4].tolist()

    assert ranks == {"cut out": [1], "one by one": [1, 2, 3]}
    assert lists == {"cut out": [2, 4, NOTHING, NOTHING], "one by one": [0, 1, 2, 4]}


def test_lists_hold_the_best_candidates_outside_the_history() -> None:
    ranked = rank_all(FixedScores(SCORES), questions())

    assert ranked.shown[0, :4].tolist() == [2, 3, 4, NOTHING]
    assert ranked.shown[3, :4].tolist() == [0, 1, 2, NOTHING]
    assert ranked.shown[5, :4].tolist() == [2, NOTHING, NOTHING, NOTHING]


def test_items_that_are_not_live_yet_are_no_candidates() -> None:
    ranked = rank_all(FixedScores(SCORES), questions(live_from_s={0: 8, 3: 4}))

    assert ranked.unfiltered.expected_ranks().tolist() == [2, 2, 4, 5, 1, 3]  # 0 is asked for before it is live: last
    assert ranked.shown[0, :3].tolist() == [2, 4, NOTHING]


def test_withheld_items_are_ranked_among_themselves_too() -> None:
    ranked = rank_all(FixedScores(SCORES), questions(withheld=[0, 2, 4]))

    assert ranked.withheld_unfiltered.expected_ranks().tolist() == pytest.approx([2, 2, 3, 1, math.nan, 2], nan_ok=True)
    assert ranked.withheld_filtered.expected_ranks().tolist() == pytest.approx(
        [1, math.nan, 1, 1, math.nan, 1], nan_ok=True
    )


def test_ties_are_shown_in_an_order_that_is_not_the_catalogues() -> None:
    data = SequenceData.from_events(np.array([0, 0]), np.array([0, 1]), np.array([1_000, 2_000]))
    always = np.full(50, ALWAYS)

    ranked = rank_all(FixedScores([0.0] * 50), Questions(data, always, np.zeros(50, np.bool_)))

    assert ranked.shown[0].tolist() != sorted(ranked.shown[0].tolist())
    assert ranked.filtered.expected_ranks().tolist() == [25.0]  # of 49


def test_a_model_that_scores_another_number_of_items_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fixed scored 4 items of 5"):
        rank_all(FixedScores(SCORES[:4]), questions())


def test_summary_of_ten_events_is_exactly_this() -> None:
    asked = questions()

    summary = summarise(asked, [rank_all(FixedScores(SCORES), asked)], facts([9, 3, 2, 1, 0]))

    assert summary["counts"] == {"n": 5, "n_users": 2, "n_dropped": 1, "n_without_history": 1}
    second = 1 / math.log2(3)
    assert summary["filtered"]["ndcg@10"]["mean"] == pytest.approx((1 + second + 1 + second + 1) / 5)
    assert summary["filtered"]["mrr@5"]["mean"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 2 + 1) / 5)
    assert summary["filtered"]["recall@20"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "by_seed": [1.0]}
    unfiltered = [1 / math.log2(1 + rank) for rank in (3, 3, 5, 1, 2, 3)]
    assert summary["unfiltered"]["ndcg@5"]["mean"] == pytest.approx(sum(unfiltered) / 6)
    assert {name: part["counts"]["n"] for name, part in summary["slices"].items()} == {
        "head": 1,
        "tail": 4,
        "cold_items": 1,
        "new_users": 5,
        "no_image": 1,
    }
    assert summary["slices"]["cold_items"]["filtered"]["mrr@10"]["mean"] == 0.5
    assert summary["lists"]["coverage@10"]["mean"] == 1.0


def test_intervals_are_of_users_and_five_events_make_no_new_user() -> None:
    n_events = 30
    users, items = np.repeat([0, 1], n_events), np.repeat([0, 4], n_events)  # ranked first and last, every time
    data = SequenceData.from_events(users, items, np.tile(np.arange(n_events), 2) * 1_000)
    asked = Questions(data, np.full(5, ALWAYS), np.zeros(5, np.bool_))

    summary = summarise(asked, [rank_all(FixedScores(SCORES), asked)], facts([1] * 5))

    figure = summary["unfiltered"]["mrr@5"]
    assert (figure["mean"], figure["low"], figure["high"]) == pytest.approx((0.6, 0.2, 1.0))
    is_new = slices(asked, facts([1] * 5))["new_users"]
    assert asked.n_before[is_new].tolist() == [1, 2, 3, 4] * 2


def test_several_seeds_are_averaged_question_by_question() -> None:
    asked = questions()
    good, bad = rank_all(FixedScores(SCORES), asked), rank_all(FixedScores(SCORES[::-1]), asked)

    figure = summarise(asked, [good, bad], facts([1] * 5))["unfiltered"]["mrr@20"]

    ranks = [3, 3, 5, 1, 2, 3], [3, 3, 1, 5, 4, 3]
    means = [sum(1 / rank for rank in of_seed) / 6 for of_seed in ranks]
    assert figure["by_seed"] == pytest.approx(means)
    assert figure["mean"] == pytest.approx(sum(means) / 2)


def test_gains_pair_the_two_answers_to_each_question() -> None:
    asked = questions()
    good, bad = rank_all(FixedScores(SCORES), asked), rank_all(FixedScores(SCORES[::-1]), asked)

    assert gains(asked, [good], [good])["ndcg@10"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert gains(asked, [good], [bad])["mrr@10"]["mean"] == pytest.approx(
        (1 - 1 / 3 + 1 / 2 - 1 + 1 - 1 / 3 + 1 / 2 - 1 / 2 + 1 - 1) / 5
    )
