"""One model, one seed: choose epochs and the blend's weights on validation, fit anew with them, ask everything.

choose    once a model, with the first seed: fit on `train`, watched on `validation`; kept, so that it is not done again
refit     a new model of each seed, on `refit`, with what was chosen
ask       every question of the test, once
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from freshet.evaluation.runs import Choice, Run, RunKey, Runs, plain_ranks
from freshet.progress import Say, bar
from models.content.table import ContentTable
from models.evaluation.ranking import Questions, rank_all
from models.evaluation.splits import Split
from models.memory.blend import BlendWeights
from models.rivals.blended import BlendedRecommender
from models.rivals.build import BLENDED, M2SE, NEXT_ITEM, settings_of
from models.rivals.recommender import Catalogue, FitReport, Recommender

CHOSEN_WITH = 0  # the seed whose validation chooses for all: what is chosen is a setting, and settings are shared
WITHOUT_CONTENT = frozenset({"popularity", "cooccurrence", "memory", "m2se-id-only", *NEXT_ITEM}) - {"unisrec"}


class Build(Protocol):
    """Makes a recommender by name, as `models.rivals.build.build` does."""

    def __call__(
        self,
        name: str,
        catalogue: Catalogue,
        *,
        seed: int,
        n_epochs: int | None = None,
        weights: BlendWeights | None = None,
    ) -> Recommender:
        """See `models.rivals.build.build`."""
        ...


@dataclass(frozen=True)
class Training:
    """How models are made from one data set, here and by `freshet fit`.

    Attributes:
        split: of the histories.
        n_items: of the catalogue.
        content: the items' content, asked for where a model reads it.
        build: makes the models.
    """

    split: Split
    n_items: int
    content: Callable[[], ContentTable]
    build: Build

    def choose(self, model: str, seed: int, *, say: Say) -> Choice:
        """What validation comes to; of a model without epochs nothing, and nothing is fitted."""
        if not most_epochs(model):
            return Choice.of(())
        fitted, epochs = self.fit(model, seed, choice=None, say=say)
        return Choice.of(epochs, fitted.weights if isinstance(fitted, BlendedRecommender) else None)

    def fit(
        self, model: str, seed: int, *, choice: Choice | None, say: Say
    ) -> tuple[Recommender, tuple[FitReport, ...]]:
        """A new model and its epochs.

        Args:
            model: its name.
            seed: of everything drawn.
            choice: what to fit on `refit` with; None fits on `train`, watched on `validation`.
            say: told of every epoch.
        """
        data, validation = (self.split.refit, None) if choice else (self.split.train, self.split.validation)
        has_id = np.bincount(data.rows, minlength=self.n_items) > 0  # items that training does not see are new to it
        catalogue = Catalogue(self.n_items, None if model in WITHOUT_CONTENT else self.content(), has_id)
        chosen = choice or Choice(epochs=(), n_epochs=None)
        recommender = self.build(model, catalogue, seed=seed, n_epochs=chosen.n_epochs, weights=chosen.weights)
        step = "fitting" if choice else "choosing"
        n_targets = (chosen.n_epochs or most_epochs(model)) * data.n_targets
        reports: list[FitReport] = []

        def on_epoch(report: FitReport) -> None:
            reports.append(report)
            score = "" if report.validation is None else f", validation NDCG@10 {report.validation:.4f}"
            say(f"{step}: epoch {report.epoch}, loss {report.loss:.4f}{score} ({report.seconds:.1f} s)")
            on_progress(sum(done.n_targets for done in reports), n_targets)

        with bar(step, "targets") as on_progress:
            if n_targets:
                on_progress(0, n_targets)
            recommender.fit(data, validation=validation, on_epoch=on_epoch)
        return recommender, tuple(reports)


@dataclass(frozen=True)
class Trial:
    """What all models of a comparison share.

    Attributes:
        training: of histories without the withheld items.
        questions: of the test.
        runs: where runs are kept.
        say: told of progress.
    """

    training: Training
    questions: Questions
    runs: Runs
    say: Say

    def run(self, key: RunKey) -> Run:
        """The run of this key: kept from before, or made now and kept.

        Raises:
            BadRun: a kept file is damaged.
            TrainingDiverged: the loss stopped being a number.
            ValueError: the model cannot be made or trained from this data.
        """
        kept = self.runs.run(key)
        if kept is not None:
            self.say(f"{key.model}, seed {key.seed}: kept from an earlier sitting")
            return kept

        started = time.perf_counter()
        choice = self._choice(msgspec.structs.replace(key, seed=CHOSEN_WITH))
        model, epochs = self.training.fit(key.model, key.seed, choice=choice, say=self._say_of(key))
        fitted = time.perf_counter()
        ranked = rank_all(model, self.questions)
        run = Run(
            choice=choice,
            epochs=epochs,
            ranks=plain_ranks(ranked),
            shown=ranked.shown.tolist(),
            fit_s=fitted - started,
            ask_s=time.perf_counter() - fitted,
        )
        self.runs.keep(key, run)
        self.say(f"{key.model}, seed {key.seed}: fitted in {run.fit_s:.0f} s, asked in {run.ask_s:.0f} s")
        return run

    def _choice(self, key: RunKey) -> Choice:
        choice = self.runs.choice(key)
        if choice is None:
            choice = self.training.choose(key.model, key.seed, say=self._say_of(key))
            self.runs.keep_choice(key, choice)
        return choice

    def _say_of(self, key: RunKey) -> Say:
        return lambda line: self.say(f"{key.model}, seed {key.seed}, {line}")


def most_epochs(model: str) -> int:
    """Epochs after which its training ends, if validation does not end it before; 0 for a model without epochs."""
    if model in NEXT_ITEM:
        return NEXT_ITEM[model].train_epochs
    config = M2SE.get(BLENDED.get(model, model))
    return config.pretrain_epochs + config.finetune_epochs if config else 0


def config_of(model: str) -> str:
    """Everything a model's training is set by, as text: a run made with other settings is another run."""
    return repr(settings_of(model))
