"""Feeds, the model and the memory are ranked on the same events."""

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.memory.quality import FEED, MEMORY, MODEL, FeedQuality
from tests.consumers.memory.blend_bench import Bench, pairs

N_ITEMS = 20


def scores(first: int, *, n_items: int = N_ITEMS) -> NDArray[np.float32]:
    """One item before all others, which come in the order of their columns."""
    values = -np.arange(n_items, dtype=np.float32)
    values[first] = 1.0
    return values


def test_each_is_ranked_by_its_own_scores_among_what_was_not_seen() -> None:
    quality = FeedQuality()
    ranked = {FEED: scores(7), MODEL: scores(0), MEMORY: scores(19)}

    quality.add("ada", ranked, 7, seen=np.array([0, 1]))

    report = quality.report()
    assert report[FEED]["filtered"]["ndcg_at_10"] == 1.0
    assert report[MODEL]["filtered"]["ndcg_at_10"] == pytest.approx(1 / np.log2(6 + 1))  # behind 2 to 6
    assert report[MODEL]["unfiltered"]["ndcg_at_10"] == pytest.approx(1 / np.log2(8 + 1))
    assert report[MEMORY]["filtered"]["ndcg_at_10"] == pytest.approx(1 / np.log2(7 + 1))  # behind 19, too
    assert report[MODEL]["feed_gains"]["ndcg_at_10"]["mean"] == pytest.approx(1 - 1 / np.log2(7))


def test_before_the_first_event_nothing_is_compared() -> None:
    report = FeedQuality().report()

    assert report[FEED]["filtered"] == {"n": 0, "n_users": 0, "n_dropped": 0}
    assert "feed_gains" not in report[MODEL]


def test_feeds_are_the_models_until_the_blend_pays_and_better_than_it_from_then_on() -> None:
    bench, events = Bench(), pairs(400)

    for at in range(0, 200, 20):
        bench.link(*events[at : at + 20])
    before = bench.quality.report()
    for at in range(200, 800, 20):
        bench.link(*events[at : at + 20])
    after = bench.quality.report()

    assert before[FEED]["filtered"] == before[MODEL]["filtered"]
    assert before[FEED]["filtered"]["n"] == 100
    assert after[FEED]["filtered"]["n_users"] == 400
    assert after[MODEL]["feed_gains"]["ndcg_at_10"]["low"] > 0.1
