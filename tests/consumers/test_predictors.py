"""A model never predicts what it was trained on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consumers.predictors import past_its_data
from models.registry.bundle import DataSpan, Manifest


class Model:
    def __init__(self, trained_to: int) -> None:
        data = DataSpan(offsets={0: trained_to}, log_id="log")
        self.manifest = Manifest(0, {}, {}, data, seed=0, code_version="")

    def scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], list[str]]:
        return np.zeros((len(sequences), 0), np.float32), []


class Slot:
    def __init__(self, current: Model | None, previous: Model | None) -> None:
        self.model, self.previous = current, previous

    def current(self) -> Model | None:
        return self.model


def test_the_newest_model_whose_data_is_behind_predicts() -> None:
    new, old = Model(9), Model(5)
    assert past_its_data(Slot(new, old), {0: 9}, log_id="log") is new
    assert past_its_data(Slot(new, old), {0: 8}, log_id="log") is old
    assert past_its_data(Slot(new, old), {0: 4}, log_id="log") is None
    assert past_its_data(Slot(None, None), {0: 4}, log_id="log") is None


def test_of_a_log_that_replaced_its_own_a_model_was_trained_on_nothing() -> None:
    new = Model(9)
    assert past_its_data(Slot(new, None), {0: 4}, log_id="another") is new
