"""Weights learned at the gate: a model that knows nothing, beside a memory that does or does not."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from models.encoder.batches import SequenceData
from models.examples import question_spans
from models.memory.blend import PARTS, BlendConfig, BlendWeights
from models.memory.calibration import CalibrationConfig, Lessons, calibrate, newest_blocks
from models.memory.rows import Ints
from models.registry.kept_blend import KeptBlend

N_ITEMS = 20
CONFIG = CalibrationConfig()
MEMORY, TRENDING, SEEN = (PARTS.index(part) for part in ("memory", "trending", "seen"))


def indifferent(histories: Sequence[Ints], times_ms: Sequence[Ints]) -> np.ndarray:
    """(B, N) zeros."""
    return np.zeros((len(histories), N_ITEMS), np.float32)


def walks(n_users: int, length: int, *, n_items: int = N_ITEMS) -> SequenceData:
    """Every user goes round the items one by one, from a start of their own."""
    users, steps = np.repeat(np.arange(n_users), length), np.tile(np.arange(length), n_users)
    return SequenceData.from_events(users, (users * 3 + steps) % n_items, (steps * n_users + users) * 1_000)


def lessons(events: SequenceData, *, n_past: int, n_trained: int = N_ITEMS) -> Lessons:
    """The first so many events of each user are past, and the others are asked."""
    step = np.arange(len(events.rows)) - events.starts[events.users()]
    asked = question_spans(events, asked=step >= n_past, limit=10_000, seed=0)
    return Lessons(events.subset(step < n_past, events.is_target), events, asked, n_trained)


def kept(found: KeptBlend | None) -> KeptBlend:
    assert found is not None
    return found


def calibrated(
    given: Lessons, *, start: BlendWeights | None = None, config: CalibrationConfig = CONFIG, seed: int = 0
) -> KeptBlend:
    return kept(calibrate(indifferent, given, start=start, config=config, seed=seed))


def test_where_the_memory_tells_what_comes_its_weight_grows_and_the_blend_gains() -> None:
    found = calibrated(lessons(walks(300, 8), n_past=7))

    assert found.steady[MEMORY] > CONFIG.blend.start[MEMORY] + 0.2
    assert found.gain_ndcg_at_10 == pytest.approx(0.6505, abs=1e-4)  # 1 less a draw from 13 items
    assert (found.standard_error, found.n_events) == (0.0, 300)


def test_where_the_memory_is_always_wrong_its_weight_falls_and_the_blend_loses() -> None:
    events = walks(300, 8)
    rows = events.rows.reshape(300, 8).copy()
    rows[:, 7] = (rows[:, 6] + 10) % N_ITEMS

    found = calibrated(lessons(replace(events, rows=rows.ravel()), n_past=7))

    assert found.steady[MEMORY] < CONFIG.blend.start[MEMORY]
    assert found.gain_ndcg_at_10 < 0


def test_what_is_asked_never_teaches_the_memory() -> None:
    """What comes is told by the other questions alone."""
    found = calibrated(lessons(walks(300, 8), n_past=1))

    assert found.gain_ndcg_at_10 == 0


def test_every_event_is_predicted_by_the_weights_before_it() -> None:
    """The start weighs nothing but the model, so that the first gain is 0; the second is of what the first taught."""
    events = SequenceData.from_events(np.repeat([0, 1], 3), np.tile([3, 4, 5], 2), np.tile([0, 1_000, 2_000], 2))
    given = Lessons(walks(200, 8), events, np.array([[0, 2, 2], [3, 5, 5]]), N_ITEMS)
    config = CalibrationConfig(least_events=2, blend=BlendConfig(start=(1.0, 0.0, 0.0, 0.0), learning_rate=0.5))

    found = calibrated(given, config=config)

    assert found.gain_ndcg_at_10 == pytest.approx((0 + 0.7476) / 2, abs=1e-4)  # 1 less a draw from 18 items


@pytest.mark.parametrize("learning_rate", [0.003, 0.5, 50.0])
def test_weights_stay_inside_their_bounds_however_fast_they_learn(learning_rate: float) -> None:
    config = CalibrationConfig(blend=BlendConfig(learning_rate=learning_rate))

    found = calibrated(lessons(walks(300, 8), n_past=7), config=config)

    for part, weight in enumerate(found.steady):
        assert config.blend.least[part] <= weight <= config.blend.most[part]


def test_weights_that_were_kept_are_gone_on_from_and_those_for_an_older_model_stay() -> None:
    start = BlendWeights(7, (0.9, 2.5, 0.1, -3.0), (0.0, 0.1, 0.0, 0.0))
    slow = CalibrationConfig(blend=BlendConfig(learning_rate=1e-9))

    found = calibrated(lessons(walks(300, 8), n_past=7), start=start, config=slow)

    assert found.steady == pytest.approx(start.steady)
    assert found.ageing == pytest.approx(start.ageing)


def test_the_same_seed_gives_the_same_weights_and_another_one_another_order() -> None:
    given = lessons(walks(300, 8), n_past=7)

    assert calibrated(given, seed=3) == calibrated(given, seed=3)
    assert calibrated(given, seed=3).steady != calibrated(given, seed=4).steady


def test_items_that_training_never_saw_are_not_learned_against() -> None:
    """Half of the items, all of them as frequent, are in training: trending then tells nothing but who is."""
    given = lessons(walks(300, 8, n_items=10), n_past=7)

    assert calibrated(replace(given, n_trained=10)).steady[TRENDING] < 0
    assert calibrated(given).steady[TRENDING] > 0.1


def test_an_item_that_training_never_saw_is_judged_and_not_learned() -> None:
    given = lessons(walks(300, 8), n_past=7, n_trained=0)

    found = calibrated(given)

    assert found.steady == CONFIG.blend.start
    assert found.n_events == 300


def test_what_the_user_had_is_learned_and_not_judged() -> None:
    given = lessons(walks(300, 8, n_items=7), n_past=7)  # the last item is the first again

    assert calibrate(indifferent, given, start=None, config=CONFIG, seed=0) is None
    assert calibrated(lessons(walks(600, 8, n_items=8), n_past=7)).steady[SEEN] < CONFIG.blend.start[SEEN]


def test_what_is_no_candidate_is_passed_over() -> None:
    def without_item_7(histories: Sequence[Ints], times_ms: Sequence[Ints]) -> np.ndarray:
        scores = indifferent(histories, times_ms)
        scores[:, 7] = -np.inf
        return scores

    found = kept(calibrate(without_item_7, lessons(walks(300, 8), n_past=7), start=None, config=CONFIG, seed=0))

    assert found.n_events == 285  # of 300 users, every twentieth comes to it


def test_too_few_events_keep_no_weights() -> None:
    given = lessons(walks(199, 8), n_past=7)

    assert calibrate(indifferent, given, start=None, config=CONFIG, seed=0) is None
    assert calibrated(given, config=CalibrationConfig(least_events=199)).n_events == 199


def test_nothing_past_and_nothing_asked_keep_no_weights() -> None:
    nothing = SequenceData.from_events(*np.zeros((3, 0), np.int64))
    given = Lessons(nothing, nothing, np.zeros((0, 3), np.int64), 0)

    assert calibrate(indifferent, given, start=None, config=CONFIG, seed=0) is None


def test_the_memory_lives_through_so_many_of_the_newest_events_and_no_more() -> None:
    given = lessons(walks(300, 8), n_past=7)

    assert calibrated(given, config=CalibrationConfig(max_past=1)).gain_ndcg_at_10 < 0.05
    assert calibrated(given, config=CalibrationConfig(max_past=2_100)).gain_ndcg_at_10 > 0.5


def test_newest_blocks_are_whole_in_order_and_within_the_bound() -> None:
    users, times = np.array([0, 0, 0, 1, 1, 1]), np.array([1_000, 4_000, 4_001, 2_000, 3_000, 5_000])
    data = SequenceData.from_events(users, np.arange(6), times)

    rows = {n: [data.rows[begin:end].tolist() for _, begin, end in newest_blocks(data, n)] for n in (1, 2, 3, 6, 9)}

    assert rows[1] == rows[2] == [[5]]
    assert rows[3] == [[1, 2], [5]]
    assert rows[6] == rows[9] == [[0], [3], [4], [1, 2], [5]]


def test_the_bound_holds_where_everything_happened_at_once() -> None:
    data = SequenceData.from_events(np.array([0, 0, 1, 2]), np.arange(4), np.zeros(4, np.int64))

    assert [data.rows[begin:end].tolist() for _, begin, end in newest_blocks(data, 2)] == [[2], [3]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_past": 0}, "max_past=0 must be at least 1; 200,000 is usual"),
        ({"least_events": 1}, "least_events=1 must be at least 2; 200 is usual"),
    ],
)
def test_bad_settings_are_refused_with_the_value(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CalibrationConfig(**changes)  # type: ignore[arg-type]
