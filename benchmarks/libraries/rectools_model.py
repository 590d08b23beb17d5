"""RecTools' SASRec as a recommender like ours, so that the same code chooses its epochs and ranks its scores.

Runs in the environment of RecTools. The model, its batches, its loss and its training are the library's, by its
interface; ours are the clock, the stop and the scoring of validation events, in a callback after each epoch.

RecTools learns from the newest window of every user only. `pieces` gives it the rest as well: a longer history is cut
from its end into pieces of one window that share an event, each of a user of its own.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped,unused-ignore]
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, Trainer, seed_everything  # type: ignore[import-not-found,unused-ignore]
from rectools import Columns  # type: ignore[import-not-found,unused-ignore]
from rectools.dataset import Dataset  # type: ignore[import-not-found,unused-ignore]
from rectools.models import SASRecModel  # type: ignore[import-not-found,unused-ignore]

from benchmarks.libraries.pieces import Pieces
from benchmarks.libraries.settings import RecToolsSettings
from models.encoder.batches import SequenceData
from models.encoder.config import Shape
from models.evaluation.ranking import N_SHOWN
from models.evaluation.ranks import IntArray
from models.evaluation.validation import ValidationSet
from models.rivals.recommender import Catalogue, FitReport

Scores = NDArray[np.float32]

PATIENCE = 10  # epochs without a better one; twice ours, since its learning rate does not fall
N_CHECKED = 20  # users whose recommendations are compared after each training


class RecToolsSASRec:
    """RecTools' SASRec of the shape of ours but for its narrower feed-forward, under evaluation.

    Args:
        catalogue: what it scores.
        settings: what is tuned.
        seed: of all it draws.
        n_epochs: stop after so many; None leaves it to the validation events.
    """

    name = "rectools-sasrec"

    def __init__(
        self, catalogue: Catalogue, settings: RecToolsSettings, *, seed: int, n_epochs: int | None = None
    ) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._seed = seed
        self._n_epochs = n_epochs or settings.max_epochs
        self._window = Shape().window
        self._model: Any = None

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Train from scratch with Lightning's trainer; the best epoch's weights stay."""
        _be_quiet()
        seed_everything(self._seed)
        pieces = Pieces.of(train, self._window, newest_only=self._settings.history == "newest")
        model = self._new_model()
        questions = None
        if validation is not None:
            questions = ValidationSet(validation, candidates=self._catalogue.has_id, seed=self._seed)
        watch = _Watch(model, pieces.n_targets, lambda: self._validate(model, questions), on_epoch)
        model._trainer = self._new_trainer(watch)  # as its documentation has it
        model.fit(Dataset.construct(_frame(pieces)))
        if watch.best is not None:
            model.torch_model.load_state_dict(watch.best.weights)
        self._model = model
        self._check(train)

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> Scores:
        """(B, N); an item it never learned stands behind all others, and without a known history all items tie."""
        return self._scores(self._model, histories)

    def _check(self, data: SequenceData) -> None:
        """That its own `recommend` shows the items we would, in that order.

        Raises:
            AssertionError: it does not; the figures would not be the library's.
        """
        users = [user for user, n in enumerate(np.diff(data.starts)[:N_CHECKED].tolist()) if n]
        histories = [data.rows[data.starts[user] : data.starts[user + 1]] for user in users]
        shown = self._model.recommend(
            users, dataset=Dataset.construct(_frame(Pieces.whole(data, users))), k=N_SHOWN, filter_viewed=False
        )
        for user, scores in zip(users, self.scores(histories, histories), strict=True):
            theirs = shown[shown[Columns.User] == user][Columns.Item].to_numpy()
            if not np.allclose(scores[theirs], np.sort(scores)[::-1][: len(theirs)], atol=1e-4):
                raise AssertionError(f"user {user} is recommended {theirs.tolist()}, whose scores are {scores[theirs]}")

    def _new_model(self) -> Any:  # noqa: ANN401 - another library's
        shape = Shape()
        return SASRecModel(
            n_factors=shape.dim,
            n_blocks=shape.n_layers,
            n_heads=shape.n_heads,
            session_max_len=shape.window,
            dropout_rate=self._settings.dropout,
            lr=self._settings.lr,
            batch_size=self._settings.batch_size,
            loss="softmax",
            epochs=self._n_epochs,
        )

    def _new_trainer(self, watch: _Watch) -> Any:  # noqa: ANN401
        return Trainer(
            accelerator="cpu",
            devices=1,
            min_epochs=1,
            max_epochs=self._n_epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[watch],
        )

    def _validate(self, model: Any, questions: ValidationSet | None) -> float | None:  # noqa: ANN401
        if questions is None:
            return None
        return questions.ndcg_at_10(lambda histories, _: self._scores(model, histories))

    def _scores(self, model: Any, histories: Sequence[IntArray]) -> Scores:  # noqa: ANN401
        preparator = model.data_preparator
        rows = np.asarray(preparator.get_known_item_ids(), dtype=np.int64)
        numbers = np.asarray(preparator.get_known_items_sorted_internal_ids(), dtype=np.int64)
        number_of = np.zeros(self._catalogue.n_items, dtype=np.int64)  # 0 is its padding
        number_of[rows] = numbers
        known = [number_of[history][number_of[history] > 0][-self._window :] for history in histories]
        placed = _placed(model.torch_model, _padded_left(known, self._window))[:, numbers]
        scores = np.empty((len(known), self._catalogue.n_items), dtype=np.float32)
        scores[:] = placed.min(axis=1, keepdims=True) - 1
        scores[:, rows] = placed
        scores[[not len(history) for history in known]] = 0
        return scores


@dataclass(frozen=True)
class _Best:
    """The best epoch so far and its weights."""

    epoch: int
    validation: float
    weights: dict[str, torch.Tensor]


class _Watch(Callback):  # type: ignore[misc,unused-ignore]
    """Times each epoch, has it validated outside that time, keeps the best and stops after `PATIENCE` others."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        n_targets: int,
        validate: Callable[[], float | None],
        on_epoch: Callable[[FitReport], None],
    ) -> None:
        self.best: _Best | None = None
        self._model, self._n_targets, self._validate, self._on_epoch = model, n_targets, validate, on_epoch
        self._started_s = 0.0

    def __deepcopy__(self, memo: object) -> _Watch:
        """RecTools copies its trainer before use; what is watched stays this one."""
        return self

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        self._started_s = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        seconds = time.perf_counter() - self._started_s
        epoch = trainer.current_epoch + 1
        value = self._validate()
        loss = float(trainer.callback_metrics["train_loss"])
        self._on_epoch(FitReport(epoch, loss, self._n_targets, seconds, value))
        if value is not None and (self.best is None or value > self.best.validation):
            weights = {name: tensor.clone() for name, tensor in self._model.torch_model.state_dict().items()}
            self.best = _Best(epoch, value, weights)
        trainer.should_stop = self.best is not None and epoch - self.best.epoch >= PATIENCE


def _placed(net: Any, sessions: torch.Tensor) -> Scores:  # noqa: ANN401
    """(B, n_known + 1) dot products of the last state with every item, as its `recommend` ranks by."""
    was_training = net.training
    net.eval()
    with torch.inference_mode():
        items = net.item_model.get_all_embeddings()
        scores: Scores = (net.encode_sessions({"x": sessions}, items)[:, -1, :] @ items.T).numpy()
    net.train(was_training)
    return scores


def _padded_left(histories: Sequence[IntArray], window: int) -> torch.Tensor:
    """(B, window) int64."""
    padded = np.zeros((len(histories), window), dtype=np.int64)
    for row, history in zip(padded, histories, strict=True):
        row[window - len(history) :] = history
    return torch.from_numpy(padded)


def _frame(pieces: Pieces) -> pd.DataFrame:
    """Interactions as RecTools takes them; an event that is no target weighs nothing in its loss."""
    return pd.DataFrame(
        {
            Columns.User: pieces.users,
            Columns.Item: pieces.rows,
            Columns.Weight: pieces.is_target.astype(np.float64),
            Columns.Datetime: pd.to_datetime(pieces.ts_ms, unit="ms"),
        }
    )


def _be_quiet() -> None:
    """What the libraries warn and hint of says nothing about the figures."""
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
