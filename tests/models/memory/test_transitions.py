from collections import defaultdict
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.memory.rows import Moment, Row
from models.memory.transitions import MemoryConfig, Transitions
from models.rivals.cooccurrence import CooccurrenceConfig, LiveCooccurrence

DAY_MS = 86_400_000
UNFADING = MemoryConfig(shrinkage=1.0, half_life_ms=float("inf"), half_life_events=float("inf"))
MUCH = 1e6  # shrinkage beside which counts are nothing: a score is a pair's weight over it


def random_walks(memory: Transitions, *, n_events: int, n_items: int, seed: int = 0) -> list[list[int]]:
    """Feed events of a few users; their histories."""
    rng = np.random.default_rng(seed)
    histories: list[list[int]] = [[] for _ in range(5)]
    for nth in range(n_events):
        history = histories[int(rng.integers(5))]
        item = int(n_items * rng.random() ** 2)  # some come often
        memory.update(history, item, 60_000 * nth)
        history.append(item)
    return histories


def test_pairs_fade_with_distance_and_are_normalised_by_the_roots_of_both_counts_and_shrinkage() -> None:
    memory = Transitions(replace(UNFADING, pair_decay=0.5, history_decay=0.5))
    memory.update([], 0, 1)
    memory.update([0], 1, 2)
    memory.update([0, 1], 2, 3)  # pairs: 0-1 1.0, 1-2 1.0, 0-2 0.5
    memory.update([], 1, 4)  # counts: 1, 2, 1

    assert memory.scores([0], 4) == pytest.approx([0.0, 1 / 6**0.5, 0.5 / 2, 0.0])
    assert memory.scores([0, 2], 3) == pytest.approx([0.5 / 2, (1 + 0.5) / 6**0.5, 0.25 / 2])


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.integers(0, 11), max_size=60),
    n_last=st.integers(1, 6),
    pair_decay=st.sampled_from([1.0, 0.7]),
    history_decay=st.sampled_from([1.0, 0.6]),
)
def test_without_fading_and_with_room_for_all_scores_are_those_of_cooccurrence(
    items: list[int], n_last: int, pair_decay: float, history_decay: float
) -> None:
    memory = Transitions(
        replace(UNFADING, n_last=n_last, pair_decay=pair_decay, history_decay=history_decay, row_size=12)
    )
    rival = LiveCooccurrence(CooccurrenceConfig(n_last, pair_decay, history_decay, shrinkage=1.0))
    for at, item in enumerate(items):
        history = items[at // 20 * 20 : at]  # three users
        memory.update(history, item, at)
        rival.update(history, item)

    for history in ([3], [1, 2, 3], [11, 0, 0, 5, 7, 9, 0], [40], []):
        known = [number for number in history if number < 12]
        assert memory.scores(history, 12) == pytest.approx(rival.scores(history, 12), rel=1e-5)
        assert memory.scores(known, 12).dtype == np.float32


def test_scores_agree_with_slow_sums_over_every_event() -> None:
    """Each pair and count is a sum over events of what each is worth now."""
    config = MemoryConfig(4, 0.8, 0.7, 5.0, row_size=12, half_life_ms=300_000, half_life_events=150)
    memory = Transitions(config)
    rng = np.random.default_rng(1)
    seen: list[tuple[list[int], int, int]] = []
    histories: list[list[int]] = [[], [], []]
    for nth, user in enumerate(rng.integers(0, 3, size=300).tolist()):
        item, ts_ms = int(rng.integers(12)), 2_000 * nth + int(rng.integers(-20_000, 20_000))  # some are late
        memory.update(histories[user], item, ts_ms)
        seen.append((list(histories[user]), item, ts_ms))
        histories[user].append(item)
    pairs: dict[tuple[int, int], float] = defaultdict(float)
    counts: dict[int, float] = defaultdict(float)
    now_ms = max(ts_ms for _, _, ts_ms in seen)
    for nth, (history, item, ts_ms) in enumerate(seen, start=1):
        worth = 0.5 ** ((now_ms - ts_ms) / 300_000 + (300 - nth) / 150)
        counts[item] += worth
        for distance, other in enumerate(reversed(history[-4:])):
            pairs[other, item] += worth * 0.8**distance
            pairs[item, other] += worth * 0.8**distance

    for history in histories:
        expected = [
            sum(
                0.7**age * pairs[other, item] / ((counts[other] + 5) * (counts[item] + 5)) ** 0.5
                for age, other in enumerate(reversed(history[-4:]))
            )
            for item in range(12)
        ]
        assert memory.scores(history, 12) == pytest.approx(expected, rel=1e-3)


def test_a_row_that_is_touched_all_the_time_fades_by_time_alone() -> None:
    memory = Transitions(replace(UNFADING, half_life_ms=25_000_000))
    memory.update([0], 1, 0)

    for ts_ms in range(5_001):
        memory.update([], 1, ts_ms)  # its factor would round to 1 in float32

    assert 1 - memory.row(1).weights == pytest.approx([1 - 2**-2e-4], rel=0.1)


def test_weights_halve_in_a_half_life_of_time_and_again_in_one_of_events() -> None:
    memory = Transitions(MemoryConfig(shrinkage=MUCH, half_life_ms=DAY_MS, half_life_events=10))
    memory.update([], 0, 0)
    memory.update([0], 1, 0)
    for _ in range(10):
        memory.update([], 2, DAY_MS)

    assert memory.scores([0], 2) * MUCH == pytest.approx([0.0, 0.25], rel=1e-5)


def test_a_late_event_counts_as_if_it_had_faded_already() -> None:
    memory = Transitions(replace(UNFADING, shrinkage=MUCH, half_life_ms=DAY_MS))
    memory.update([], 5, DAY_MS)
    memory.update([0], 1, 0)

    assert memory.now == Moment(DAY_MS, 2)
    assert memory.scores([0], 2) * MUCH == pytest.approx([0.0, 0.5], rel=1e-5)


def test_in_a_full_row_the_weakest_partner_makes_room() -> None:
    memory = Transitions(replace(UNFADING, n_last=1, row_size=2))
    for partner in (1, 1, 2, 2, 2, 3):
        memory.update([partner], 0, 0)

    assert sorted(zip(memory.row(0).partners.tolist(), memory.row(0).weights.tolist(), strict=True)) == [
        (2, 3.0),
        (3, 1.0),
    ]
    for partner in (4, 4, 5):  # they come after 0 now, into the other side's rows
        memory.update([0], partner, 0)
    assert memory.row(0).partners.tolist() == [5, 2]


def test_scores_are_as_long_as_there_are_items_and_unknown_ones_score_nothing() -> None:
    memory = Transitions(UNFADING)
    memory.update([0], 2_999, 0)

    assert memory.scores([2_999], 5_000)[0] == pytest.approx(1 / 2**0.5)
    assert memory.scores([2_999], 5_000).shape == (5_000,)
    assert memory.scores([0], 2).tolist() == [0.0, 0.0]
    assert memory.scores([7_000], 2).tolist() == [0.0, 0.0]
    assert memory.scores([], 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n_events", [200, 800, 3_200])
def test_an_event_touches_the_rows_of_its_own_items_however_much_is_known(n_events: int) -> None:
    memory = Transitions(MemoryConfig(row_size=16, half_life_events=1_000))
    histories = random_walks(memory, n_events=n_events, n_items=n_events)
    before = [memory.row(item) for item in range(memory.n_items)]

    memory.update(histories[0], 3, 60_000 * n_events)

    after = [memory.row(item) for item in range(memory.n_items)]
    touched = [item for item, (old, new) in enumerate(zip(before, after, strict=True)) if old.moment != new.moment]
    assert sorted(touched) == sorted({3, *histories[0][-10:]})
    assert sum(len(after[item].partners) for item in touched) <= 11 * 16
    for item in set(range(memory.n_items)) - set(touched):
        assert before[item].weights.tobytes() == after[item].weights.tobytes()


def test_changed_rows_are_told_until_they_are_published_longest_ago_first() -> None:
    memory = Transitions()
    memory.update([], 4, 0)
    memory.update([4, 2], 7, 0)

    assert memory.changed_rows() == [4, 7, 2]
    assert memory.changed_rows(2) == [4, 7]
    memory.forget_changes([4, 7])
    memory.update([], 4, 0)
    assert memory.changed_rows() == [2, 4]


def test_one_who_follows_the_rows_scores_as_the_one_who_learned_them() -> None:
    config = MemoryConfig(row_size=20, half_life_ms=3_600_000, half_life_events=400)
    learner, follower = Transitions(config), Transitions(config)
    for seed in range(3):
        histories = random_walks(learner, n_events=150, n_items=40, seed=seed)
        for item in learner.changed_rows():
            follower.put_row(item, learner.row(item))
        learner.forget_changes(learner.changed_rows())

        assert follower.now == learner.now
        for history in histories:
            assert follower.scores(history, 40).tolist() == learner.scores(history, 40).tolist()
    assert follower.changed_rows() == []


def test_of_a_row_longer_than_the_configured_size_the_strongest_partners_stay() -> None:
    memory = Transitions(MemoryConfig(n_last=2, row_size=2))

    memory.put_row(0, Row(np.array([5, 6, 7]), np.array([1.0, 3.0, 2.0], np.float32), 4.0, Moment(9, 8)))

    row = memory.row(0)
    assert (row.partners.tolist(), row.weights.tolist(), row.count, row.moment) == ([6, 7], [3.0, 2.0], 4.0, (9, 8))


def test_restored_memory_goes_on_as_if_it_had_never_stopped() -> None:
    config = MemoryConfig(row_size=12, half_life_ms=3_600_000, half_life_events=400)
    memory = Transitions(config)
    random_walks(memory, n_events=400, n_items=60)
    memory.forget_changes(range(0, 60, 2))

    other = Transitions.restored(memory.state(), config)

    assert (other.n_items, other.now) == (memory.n_items, memory.now)
    assert other.changed_rows() == memory.changed_rows()
    for one in (memory, other):
        random_walks(one, n_events=200, n_items=80, seed=1)
    for name, array in memory.state().items():
        assert array.tobytes() == other.state()[name].tobytes(), name


def test_an_empty_memory_is_restored_empty() -> None:
    memory = Transitions.restored(Transitions().state())

    assert (memory.n_items, memory.now, memory.changed_rows()) == (0, Moment(0, 0), [])
    assert memory.scores([0], 1).tolist() == [0.0]


def test_rows_keep_their_bound_and_hold_no_partner_twice() -> None:
    memory = Transitions(MemoryConfig(row_size=10))
    random_walks(memory, n_events=2_000, n_items=100)

    rows = [memory.row(item) for item in range(memory.n_items)]
    assert max(len(row.partners) for row in rows) == 10
    assert all(len(set(row.partners.tolist())) == len(row.partners) for row in rows)


def test_pairs_of_rows_with_room_are_the_same_from_both_sides() -> None:
    memory = Transitions(replace(UNFADING, row_size=40))
    random_walks(memory, n_events=500, n_items=40)
    weights = [
        dict(zip(memory.row(n).partners.tolist(), memory.row(n).weights.tolist(), strict=True)) for n in range(40)
    ]

    for one, other in combinations(range(40), 2):
        assert weights[one].get(other) == weights[other].get(one)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("pair_decay", 0.0, "pair_decay=0.0 must be above 0 and at most 1"),
        ("history_decay", 1.1, "history_decay=1.1 must be above 0 and at most 1"),
        ("n_last", 0, "n_last=0 must be at least 1"),
        ("row_size", 9, "row_size=9 must be from n_last=10 to 1024"),
        ("row_size", 1_025, "row_size=1025 must be from n_last=10 to 1024"),
        ("shrinkage", 0.0, "shrinkage=0.0 must be a number above 0"),
        ("half_life_ms", 0.0, "half_life_ms=0.0 must be above 0"),
        ("half_life_events", float("nan"), "half_life_events=nan must be above 0"),
    ],
)
def test_impossible_settings_are_refused(name: str, value: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MemoryConfig(**{name: value})  # type: ignore[arg-type]
