"""The encoder, the memory and the blend as one recommender; a model that knows nothing stands in for the encoder."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from models.encoder.batches import SequenceData
from models.evaluation.ranks import IntArray
from models.memory.blend import PARTS, BlendWeights
from models.rivals.blended import BlendedRecommender
from models.rivals.recommender import FitReport

N_ITEMS = 20
MEMORY = PARTS.index("memory")
TRENDING, SEEN = PARTS.index("trending"), PARTS.index("seen")


class Indifferent:
    """Scores every item the same."""

    name = "indifferent"

    def __init__(self) -> None:
        self.n_trained: list[int] = []

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Note how much there was."""
        self.n_trained.append(len(train.rows))

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> np.ndarray:
        """(B, N) zeros."""
        return np.zeros((len(histories), N_ITEMS), dtype=np.float32)


def cycles(n_users: int, length: int, *, is_validation: bool = False) -> SequenceData:
    """Every user goes round the items one by one, from a start of their own; the last event may be the question."""
    users = np.repeat(np.arange(n_users), length)
    steps = np.tile(np.arange(length), n_users)
    rows = (users * 3 + steps) % N_ITEMS
    times_ms = (steps * n_users + users) * 1_000
    return SequenceData.from_events(users, rows, times_ms, is_target=steps == length - 1 if is_validation else None)


def fitted(weights: BlendWeights | None = None, *, validation: SequenceData | None = None) -> BlendedRecommender:
    model = BlendedRecommender("freshet", Indifferent(), weights=weights)
    model.fit(cycles(200, 8), validation=validation, on_epoch=lambda _: None)
    return model


def test_what_follows_in_everybodys_histories_is_ranked_first() -> None:
    histories = [np.array([4, 5, 6]), np.array([18, 19, 0])]

    scores = fitted().scores(histories, histories)

    unseen = [np.setdiff1d(np.arange(N_ITEMS), history) for history in histories]
    assert [int(rows[row[rows].argmax()]) for row, rows in zip(scores, unseen, strict=True)] == [7, 1]


def test_validation_events_teach_the_blend_that_the_memory_is_right() -> None:
    before = fitted().weights.steady[MEMORY]

    taught = fitted(validation=cycles(200, 9, is_validation=True)).weights

    assert taught.steady[MEMORY] > before + 0.1


def test_a_refit_keeps_the_weights_it_was_given() -> None:
    weights = BlendWeights(3, (0.9, 1.7, 0.1, -3.0), (0.0, 0.1, 0.0, 0.0))

    assert fitted(weights).weights == weights


def test_events_of_items_that_training_never_saw_teach_nothing() -> None:
    """Each user's last step leads to an item that no history has."""
    n_users = 9
    train = cycles(n_users, 3)
    rows = np.c_[train.rows.reshape(n_users, 3) % 10, 10 + np.arange(n_users)].ravel()
    users, steps = np.repeat(np.arange(n_users), 4), np.tile(np.arange(4), n_users)
    validation = SequenceData.from_events(users, rows, (steps * n_users + users) * 1_000, is_target=steps == 3)
    model = BlendedRecommender("freshet", Indifferent())
    before = model.weights

    model.fit(validation.subset(steps < 3, validation.is_target), validation=validation, on_epoch=lambda _: None)

    assert model.weights == before


def test_validation_events_teach_the_blend_alone() -> None:
    taught = fitted(validation=cycles(200, 9, is_validation=True))
    histories = [np.array([4, 5, 6]), np.array([18, 19, 0])]

    assert fitted(taught.weights).scores(histories, histories).tolist() == taught.scores(histories, histories).tolist()


def test_items_that_training_never_saw_are_not_learned_against() -> None:
    """Half of the items, all of them as frequent, are in training: trending then tells nothing but who is."""
    users, steps = np.repeat(np.arange(100), 11), np.tile(np.arange(11), 100)
    rows = (users + steps) % 10
    times_ms = (steps * 100 + users) * 1_000
    validation = SequenceData.from_events(users, rows, times_ms, is_target=steps == 10)
    model = BlendedRecommender("freshet", Indifferent())

    model.fit(validation.subset(steps < 10, validation.is_target), validation=validation, on_epoch=lambda _: None)

    assert model.weights.steady[TRENDING] == pytest.approx(0.0, abs=0.05)
    assert model.weights.steady[SEEN] != fitted().weights.steady[SEEN]


def test_a_second_fit_forgets_the_first() -> None:
    once, twice = (fitted(validation=cycles(200, 9, is_validation=True)) for _ in range(2))

    twice.fit(cycles(200, 8), validation=cycles(200, 9, is_validation=True), on_epoch=lambda _: None)

    assert twice.weights == once.weights


def test_no_questions_are_no_scores() -> None:
    assert fitted().scores([], []).shape == (0, N_ITEMS)
