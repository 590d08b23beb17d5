import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from models.evaluation.bootstrap import mean_interval
from models.evaluation.ranks import NOT_A_CANDIDATE, Excluded, rank_counts, without
from models.evaluation.report import RankingReport, Tally, compare


def by_permutation(scores: list[float], target: int, out: set[int], k: int) -> dict[str, float]:
    """Mean of each metric over all orders that sort the candidates by falling score: the definition."""
    candidates = [i for i in range(len(scores)) if i not in out]
    ranks = []
    for order in itertools.permutations(candidates):
        ordered = [scores[i] for i in order]
        if ordered == sorted(ordered, reverse=True):
            ranks.append(order.index(target) + 1)
    n = len(ranks)
    return {
        "rank": sum(ranks) / n,
        "recall": sum(rank <= k for rank in ranks) / n,
        "ndcg": sum(1 / math.log2(1 + rank) for rank in ranks if rank <= k) / n,
        "mrr": sum(1 / rank for rank in ranks) / n,
    }


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.integers(0, 5),
    st.sets(st.integers(0, 5), max_size=4),
    st.integers(1, 7),
)
def test_every_metric_is_the_mean_over_all_orders_of_tied_items(
    values: list[int], target: int, out: set[int], k: int
) -> None:
    target %= len(values)
    out = {i for i in out if i < len(values)} - {target}
    scores = np.array([values], dtype=np.float32)

    targets = np.array([target])
    counts = without(rank_counts(scores, targets), scores, targets, excluded=Excluded.of([sorted(out)]))

    expected = by_permutation([float(v) for v in values], target, out, k)
    assert counts.expected_ranks()[0] == pytest.approx(expected["rank"])
    assert counts.recall_at(k)[0] == pytest.approx(expected["recall"])
    assert counts.ndcg_at(k)[0] == pytest.approx(expected["ndcg"])
    assert counts.reciprocal_ranks()[0] == pytest.approx(expected["mrr"])


def test_a_tie_across_the_cut_counts_by_its_chance() -> None:
    scores = np.array([[9.0, 5.0, 5.0, 5.0, 1.0]], dtype=np.float32)

    counts = rank_counts(scores, np.array([2]))  # stands at rank 2, 3 or 4 alike

    assert counts.expected_ranks().tolist() == [3.0]
    assert counts.recall_at(3)[0] == pytest.approx(2 / 3)
    assert counts.ndcg_at(3)[0] == pytest.approx((1 / math.log2(3) + 1 / 2) / 3)
    assert counts.reciprocal_ranks()[0] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)


@pytest.mark.parametrize("n_levels", [5, 1_000_000])
def test_ndcg_agrees_with_scikit_learn_with_ties_and_without(n_levels: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, n_levels, size=(200, 60)).astype(np.float64)
    targets = rng.integers(0, 60, size=200)
    truth = np.zeros_like(scores)
    truth[np.arange(200), targets] = 1

    ours = rank_counts(scores.astype(np.float32), targets).ndcg_at(10)

    theirs = [ndcg_score(truth[i : i + 1], scores[i : i + 1], k=10) for i in range(200)]
    assert ours == pytest.approx(np.array(theirs))


def test_a_large_batch_agrees_with_a_plain_float64_reference() -> None:
    rng = np.random.default_rng(1)
    scores = np.round(rng.normal(size=(64, 500)), 1).astype(np.float32)
    targets = rng.integers(0, 500, size=64)
    seen = [rng.integers(0, 500, size=40).tolist() for _ in range(64)]

    ranks = without(rank_counts(scores, targets), scores, targets, excluded=Excluded.of(seen)).expected_ranks()

    for row in range(64):
        candidates = [i for i in range(500) if i not in set(seen[row])]
        if targets[row] in seen[row]:
            assert math.isnan(ranks[row])
            continue
        own = float(scores[row, targets[row]])
        higher = sum(float(scores[row, i]) > own for i in candidates)
        same = sum(float(scores[row, i]) == own for i in candidates)
        assert ranks[row] == higher + 1 + (same - 1) / 2


def test_a_target_that_was_seen_is_dropped_and_counted_only_when_filtered() -> None:
    report = RankingReport(k=1)
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]], dtype=np.float32)

    filtered, unfiltered = report.add(["ada", "bo"], scores, np.array([0, 1]), seen=Excluded.of([[0, 0, 2], [0]]))

    assert filtered.tolist() == [[1.0, 1.0, 1.0]]
    assert unfiltered.tolist() == [[1.0, 1.0, 1.0], [0.0, 0.0, 0.5]]
    assert report.to_dict() == {
        "filtered": {"n": 1, "n_users": 1, "n_dropped": 1, "recall_at_1": 1.0, "ndcg_at_1": 1.0, "mrr": 1.0},
        "unfiltered": {
            "n": 2,
            "n_users": 2,
            "n_dropped": 0,
            "recall_at_1": 0.5,
            "ndcg_at_1": 0.5,
            "mrr": 0.75,
        },
    }


def test_a_target_that_is_no_candidate_stands_behind_all_candidates() -> None:
    scores = np.array([[3.0, -np.inf, 1.0]], dtype=np.float32)
    targets = np.array([NOT_A_CANDIDATE])

    counts = rank_counts(scores, targets)

    assert counts.expected_ranks().tolist() == [3.0]
    assert without(counts, scores, targets, excluded=Excluded.of([[0]])).expected_ranks().tolist() == [2.0]
    assert counts.recall_at(2).tolist() == [0.0]


def test_items_scored_minus_infinity_are_no_candidates() -> None:
    scores = np.array([[-np.inf, 1.0, 2.0]], dtype=np.float32)

    assert rank_counts(scores, np.array([1])).expected_ranks().tolist() == [2.0]
    with pytest.raises(ValueError, match=r"a target scores -inf, so it is no candidate; pass it as -1"):
        rank_counts(scores, np.array([0]))


@pytest.mark.parametrize(
    ("scores", "targets", "why"),
    [
        ([[1.0, float("nan")]], [0], "scores hold NaN"),
        ([[1.0, 2.0]], [2], r"targets 2..2 must lie in 0..1, or be -1"),
        ([[1.0, 2.0]], [0, 1], r"scores \(1, 2\) must be \(B, N\) and targets \(2,\) \(B,\)"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores: list[list[float]], targets: list[int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rank_counts(np.array(scores), np.array(targets))


def test_excluded_items_out_of_range_are_refused() -> None:
    scores = np.array([[1.0, 2.0]])
    counts = rank_counts(scores, np.array([0]))

    with pytest.raises(ValueError, match="an item out of range"):
        without(counts, scores, np.array([0]), excluded=Excluded.of([[2]]))
    with pytest.raises(ValueError, match="2 rows for scores"):
        without(counts, scores, np.array([0]), excluded=Excluded.of([[], []]))


def test_an_empty_batch_adds_nothing() -> None:
    report = RankingReport()

    report.add([], np.zeros((0, 4), np.float32), np.zeros(0, np.int64), seen=Excluded.of([]))

    assert report.filtered.n == 0
    assert math.isnan(report.filtered.means()["recall_at_10"])
    assert math.isnan(report.filtered.intervals()["mrr"].low)


def test_scores_are_not_modified() -> None:
    scores = np.array([[3.0, 2.0, 1.0]], dtype=np.float32)

    RankingReport().add(["ada"], scores, np.array([1]), seen=Excluded.of([[0]]))

    assert scores.tolist() == [[3.0, 2.0, 1.0]]


def tally(recalls: list[tuple[str, bool]]) -> Tally:
    """One event a pair, ranked first or second of two items."""
    scores = np.array([[1.0, 0.0]] * len(recalls), dtype=np.float32)
    targets = np.array([0 if hit else 1 for _, hit in recalls])
    result = Tally(k=1)
    result.add([user for user, _ in recalls], rank_counts(scores, targets))
    return result


def test_a_paired_comparison_is_over_the_same_users_in_any_order() -> None:
    new = tally([("ada", True), ("ada", True), ("bo", False), ("cy", True)])
    old = tally([("cy", True), ("bo", False), ("ada", True), ("ada", False)])

    difference = compare(new, old)["recall_at_1"]

    assert difference.mean == pytest.approx(0.25)
    assert difference.low == 0.0
    assert difference.high == pytest.approx(0.5)


def test_models_ranked_on_other_events_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"ranked on the same events.* 1 events of 1 users against 2 of 2"):
        compare(tally([("ada", True)]), tally([("ada", True), ("bo", True)]))


def test_an_interval_is_wider_when_events_hang_together_by_user() -> None:
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 2, size=50)
    together = mean_interval(taste * 20.0, np.full(50, 20))
    alone = mean_interval(np.repeat(taste, 20).astype(float), np.ones(1_000, dtype=np.int64))

    assert together.mean == alone.mean
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        sums = rng.normal(loc=0.3, size=80)
        interval = mean_interval(sums, np.ones(80, dtype=np.int64), n_resamples=200, seed=seed)
        hits += interval.low <= 0.3 <= interval.high

    assert 0.88 <= hits / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    sums, counts = np.arange(9.0), np.full(9, 2)

    assert mean_interval(sums, counts, seed=4) == mean_interval(sums, counts, seed=4)
    assert mean_interval(sums, counts, seed=4) != mean_interval(sums, counts, seed=5)
