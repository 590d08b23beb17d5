import numpy as np
import pytest

from models.encoder.batches import SequenceData
from models.memory.transitions import MemoryConfig
from models.rivals.cooccurrence import CooccurrenceConfig
from models.rivals.counting import Cooccurrence
from models.rivals.memory import MemoryRival

USERS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
ROWS = np.array([0, 1, 2, 0, 1, 3, 1, 2, 3, 3])
TRAIN = SequenceData.from_events(USERS, ROWS, 1_000 * np.arange(10))
HISTORIES = [np.array([0]), np.array([2, 0]), np.array([3, 3, 1]), np.array([], np.int64)]
TIMES = [np.zeros(len(history), np.int64) for history in HISTORIES]


def fitted(config: MemoryConfig, train: SequenceData = TRAIN) -> MemoryRival:
    model = MemoryRival(5, config)
    model.fit(train, validation=None, on_epoch=lambda _: None)
    return model


def test_memory_that_does_not_fade_scores_as_cooccurrence() -> None:
    rival = Cooccurrence(5, CooccurrenceConfig(pair_decay=0.5, history_decay=0.5))
    rival.fit(TRAIN, validation=None, on_epoch=lambda _: None)

    model = fitted(MemoryConfig(pair_decay=0.5, history_decay=0.5, half_life_ms=np.inf, half_life_events=np.inf))

    assert model.scores(HISTORIES, TIMES) == pytest.approx(rival.scores(HISTORIES, TIMES), rel=1e-6)


def test_events_are_learned_in_the_order_of_time_whoever_s_they_are() -> None:
    """A user whose events all come an hour before the others' has faded by then, however early the user stands."""
    pairs = SequenceData.from_events(
        np.array([0, 0, 1, 1]), np.array([0, 1, 0, 2]), np.array([3_600_000, 3_600_000, 0, 0])
    )

    model = fitted(MemoryConfig(shrinkage=1.0, half_life_ms=3_600_000, half_life_events=np.inf), pairs)

    # of item 0 half an event is left of the hour before, and one is new
    expected = [0, 1 / (2.5 * 2) ** 0.5, 0.5 / (2.5 * 1.5) ** 0.5, 0, 0]
    assert model.scores([np.array([0])], [np.array([0])])[0] == pytest.approx(expected)


def test_fitted_again_it_forgets_what_it_learned() -> None:
    model = fitted(MemoryConfig())
    once = model.scores(HISTORIES, TIMES)

    model.fit(TRAIN, validation=None, on_epoch=lambda _: None)

    assert model.scores(HISTORIES, TIMES).tolist() == once.tolist()
