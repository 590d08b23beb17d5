from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from models.rivals.cooccurrence import CooccurrenceConfig, LiveCooccurrence


def test_pairs_fade_with_distance_and_are_normalised_by_the_roots_of_both_counts_and_shrinkage() -> None:
    rival = LiveCooccurrence(CooccurrenceConfig(pair_decay=0.5, history_decay=0.5, shrinkage=1.0))
    rival.update([], 0)
    rival.update([0], 1)
    rival.update([0, 1], 2)  # pairs: 0-1 1.0, 1-2 1.0, 0-2 0.5
    rival.update([], 1)  # counts: 1, 2, 1

    assert rival.scores([0], 4) == pytest.approx([0.0, 1 / 6**0.5, 0.5 / 2, 0.0])
    assert rival.scores([0, 2], 3) == pytest.approx([0.5 / 2, (1 + 0.5) / 6**0.5, 0.25 / 2])


def test_scores_agree_with_a_plain_dictionary_of_pairs() -> None:
    config = CooccurrenceConfig(n_last=4, pair_decay=0.8, history_decay=0.7, shrinkage=5.0)
    rival = LiveCooccurrence(config)
    rng = np.random.default_rng(0)
    pairs: dict[tuple[int, int], float] = defaultdict(float)
    counts: dict[int, int] = defaultdict(int)
    history: list[int] = []
    for item in rng.integers(0, 12, size=300).tolist():
        rival.update(history, item)
        for distance, other in enumerate(reversed(history[-4:])):
            pairs[other, item] += 0.8**distance
            pairs[item, other] += 0.8**distance
        counts[item] += 1
        history.append(item)

    expected = [
        sum(
            0.7**age * pairs[other, item] / ((counts[other] + 5) * (counts[item] + 5)) ** 0.5
            for age, other in enumerate(reversed(history[-4:]))
        )
        for item in range(12)
    ]
    assert rival.scores(history, 12) == pytest.approx(expected, rel=1e-4)


def test_a_user_without_history_scores_nothing() -> None:
    rival = LiveCooccurrence()
    rival.update([1], 0)

    assert rival.scores([], 2).tolist() == [0.0, 0.0]


def test_the_matrix_grows_and_keeps_what_it_learned() -> None:
    rival = LiveCooccurrence(CooccurrenceConfig(shrinkage=1.0, max_items=3_000))
    rival.update([0], 1)
    rival.update([1], 2_999)

    scores = rival.scores([1], 4_000)
    assert scores[0] == pytest.approx(1 / 2**0.5)
    assert scores[2_999] == pytest.approx(1 / 2)
    assert scores.shape == (4_000,)


def test_an_item_past_the_limit_keeps_the_distance_between_its_neighbours() -> None:
    rival = LiveCooccurrence(CooccurrenceConfig(pair_decay=0.5, shrinkage=1.0, max_items=2))
    rival.update([0, 2], 1)
    rival.update([], 0)

    assert rival.scores([0], 2) == pytest.approx([0.0, 0.5 / 2])


def test_items_past_the_limit_are_not_learned() -> None:
    rival = LiveCooccurrence(CooccurrenceConfig(shrinkage=1.0, max_items=2))
    rival.update([0], 2)
    rival.update([2, 0], 1)

    assert rival.scores([2, 0], 3) == pytest.approx([0.0, 1 / 2**0.5, 0.0])


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("pair_decay", 0.0, "pair_decay=0.0 must be above 0 and at most 1"),
        ("history_decay", 1.1, "history_decay=1.1 must be above 0 and at most 1"),
        ("shrinkage", 0.0, "shrinkage=0.0 must be above 0"),
        ("n_last", 0, "n_last=0 must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(name: str, value: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        CooccurrenceConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("max_items", [8, 100])
def test_whole_histories_at_once_teach_the_same_as_event_by_event(max_items: int) -> None:
    config = CooccurrenceConfig(n_last=4, pair_decay=0.8, max_items=max_items)
    one_by_one, at_once = LiveCooccurrence(config), LiveCooccurrence(config)
    rows = np.random.default_rng(0).integers(0, 12, size=60)
    starts = np.array([0, 1, 1, 20, 60])
    for start, end in pairwise(starts):
        for at in range(start, end):
            one_by_one.update(rows[start:at].tolist(), int(rows[at]))

    at_once.learn(rows, starts)

    for history in ([3], [1, 2, 3], [11, 0, 0, 5, 7]):
        assert at_once.scores(history, 12) == pytest.approx(one_by_one.scores(history, 12), rel=1e-5)


def test_no_history_at_all_teaches_nothing() -> None:
    rival = LiveCooccurrence()

    rival.learn(np.array([], np.int64), np.array([0]))

    assert rival.scores([0], 2).tolist() == [0.0, 0.0]
