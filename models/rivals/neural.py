"""Every neural model as a recommender: one way to stop training, one way to score.

Training stops once the validation events have been predicted no better for `patience` epochs, and the best epoch's
weights stay. Refitted with the validation events and that number of epochs, the learning rate follows the same course.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.encoder.batches import SequenceData, padded
from models.encoder.stopping import Stopping
from models.evaluation.ranks import IntArray
from models.evaluation.validation import ValidationSet
from models.rivals.learners import Learner, ScoreBatch
from models.rivals.numbering import Numbering
from models.rivals.recommender import Catalogue, FitReport

Scores = NDArray[np.float32]

PATIENCE = 5  # epochs without a better validation score


class NeuralRecommender:
    """One neural model under evaluation.

    Args:
        name: as on the command line.
        catalogue: what it scores.
        new_learner: from histories in numbers to a model with drawn weights.
        n_epochs: stop after so many in all; None leaves it to the model's settings, or to the validation events.
        patience: epochs without a better validation score after which it stops.
        seed: of the draw of validation events.
    """

    def __init__(
        self,
        name: str,
        catalogue: Catalogue,
        new_learner: Callable[[SequenceData, Numbering], Learner],
        *,
        n_epochs: int | None = None,
        patience: int = PATIENCE,
        seed: int = 0,
    ) -> None:
        if n_epochs is not None and n_epochs < 1:
            raise ValueError(f"n_epochs={n_epochs} must be at least 1; leave it out to stop by validation")
        self.name = name
        self._catalogue = catalogue
        self._new_learner = new_learner
        self._n_epochs, self._patience = n_epochs, patience
        self._seed = seed
        self._numbering = Numbering(catalogue.has_id)
        self._learner: Learner | None = None
        self._scorer: ScoreBatch | None = None

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Train; a model fitted before stays as it is until this one is done.

        Raises:
            ValueError: an event of an item without an ID.
            NoQuestions: no validation event can be asked and ranked.
            TrainingDiverged: the loss stopped being a number.
        """
        learner = self._new_learner(self._numbering.renumbered(train), self._numbering)
        if validation is not None:
            questions = ValidationSet(validation, candidates=self._catalogue.has_id, seed=self._seed)
            learner.loop.stopping = Stopping(lambda: self._validate(learner, questions), patience=self._patience)
        for epoch, done in enumerate(learner.loop.epochs(), start=1):
            on_epoch(FitReport(epoch, done.loss, done.n_targets, done.seconds, done.validation))
            if epoch == self._n_epochs:
                break
        learner.loop.keep_best()
        self._learner, self._scorer = learner, learner.scorer()

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> Scores:
        """(B, N); an item the model cannot place stands behind all others, and without a history all items tie.

        Raises:
            ValueError: not fitted yet.
        """
        learner, scorer = self._fitted()
        return self._scores(histories, times_ms, learner=learner, scorer=scorer)

    @property
    def model(self) -> nn.Module:
        """The network as it was fitted.

        Raises:
            ValueError: not fitted yet.
        """
        return self._fitted()[0].loop.model

    @property
    def owners(self) -> IntArray:
        """Catalogue rows of the items that own an ID, in the network's order."""
        return self._numbering.row_of[: self._numbering.n_owners]

    def _fitted(self) -> tuple[Learner, ScoreBatch]:
        if self._learner is None or self._scorer is None:
            raise ValueError(f"{self.name} has not been fitted; call fit before scores")
        return self._learner, self._scorer

    def _validate(self, learner: Learner, questions: ValidationSet) -> float:
        scorer = learner.scorer()
        return questions.ndcg_at_10(
            lambda histories, times_ms: self._scores(histories, times_ms, learner=learner, scorer=scorer)
        )

    def _scores(
        self, histories: Sequence[IntArray], times_ms: Sequence[IntArray], *, learner: Learner, scorer: ScoreBatch
    ) -> Scores:
        pairs = zip(histories, times_ms, strict=True)
        known = [self._known(history, times, learner) for history, times in pairs]
        scores = np.empty((len(known), self._catalogue.n_items), dtype=np.float32)
        if not known:
            return scores
        numbers, known_ms = (padded(column) for column in zip(*known, strict=True))
        lengths = torch.tensor([max(len(history), 1) for history, _ in known])
        placed = scorer(numbers, known_ms, lengths).numpy()
        scores[:, self._numbering.row_of[: learner.n_scored]] = placed
        scores[:, self._numbering.row_of[learner.n_scored :]] = placed.min(axis=1, keepdims=True) - 1
        scores[[not len(history) for history, _ in known]] = 0
        return scores

    def _known(self, history: IntArray, times_ms: IntArray, learner: Learner) -> tuple[IntArray, IntArray]:
        """The newest items of a history that the model can read, in numbers, and their times."""
        numbers = self._numbering.numbers(history)
        newest = np.flatnonzero(numbers < learner.n_scored)[-learner.window :]
        return numbers[newest], times_ms[newest]
