"""One model, one seed: choose the number of epochs on validation, fit anew with it, ask everything.

choose    fit on `train`, watched on `validation`; kept, so that a run killed later does not choose again
refit     a new model with the same seed, on `refit`, for the chosen number of epochs
ask       every question of the test, once
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from freshet.evaluation.runs import Choice, Run, RunKey, Runs, plain_ranks
from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.encoder.config import Shape
from models.evaluation.ranking import Questions, rank_all
from models.evaluation.splits import Split
from models.memory.blend import BlendWeights
from models.rivals.blended import BlendedRecommender
from models.rivals.build import BLEND, BLENDED, COOCCURRENCE, M2SE, MEMORY, NEXT_ITEM
from models.rivals.recommender import Catalogue, FitReport, Recommender

WITHOUT_CONTENT = frozenset({"popularity", "cooccurrence", "memory", "gru4rec", "sasrec", "m2se-id-only"})

Say = Callable[[str], None]


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
class Trial:
    """What all models of a comparison share.

    Attributes:
        split: of the histories, withheld items taken out.
        questions: of the test.
        content: the items' content, encoded when first asked for.
        runs: where runs are kept.
        build: makes the models.
        say: told of progress.
    """

    split: Split
    questions: Questions
    content: Callable[[], ContentTable]
    runs: Runs
    build: Build
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
        choice = self.runs.choice(key) or self._choose(key)
        model, epochs = self._refit(key, choice)
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

    def _choose(self, key: RunKey) -> Choice:
        train = self.split.train
        reports: list[FitReport] = []
        model = self.build(key.model, self._catalogue(key.model, train), seed=key.seed)
        model.fit(train, validation=self.split.validation, on_epoch=self._told(key, "choosing", reports))
        choice = Choice.of(tuple(reports), model.weights if isinstance(model, BlendedRecommender) else None)
        self.runs.keep_choice(key, choice)
        return choice

    def _refit(self, key: RunKey, choice: Choice) -> tuple[Recommender, tuple[FitReport, ...]]:
        data = self.split.refit
        reports: list[FitReport] = []
        catalogue = self._catalogue(key.model, data)
        model = self.build(key.model, catalogue, seed=key.seed, n_epochs=choice.n_epochs, weights=choice.weights)
        model.fit(data, validation=None, on_epoch=self._told(key, "fitting", reports))
        return model, tuple(reports)

    def _catalogue(self, model: str, data: SequenceData) -> Catalogue:
        """Items that training sees own an ID; the others are new to it."""
        n_items = len(self.questions.is_withheld)
        has_id = np.bincount(data.rows, minlength=n_items) > 0
        return Catalogue(n_items, None if model in WITHOUT_CONTENT else self.content(), has_id)

    def _told(self, key: RunKey, what: str, reports: list[FitReport]) -> Callable[[FitReport], None]:
        def on_epoch(report: FitReport) -> None:
            reports.append(report)
            score = "" if report.validation is None else f", validation NDCG@10 {report.validation:.4f}"
            self.say(
                f"{key.model}, seed {key.seed}, {what}: epoch {report.epoch}, loss {report.loss:.3f}{score} "
                f"({report.seconds:.1f} s)"
            )

        return on_epoch


def config_of(model: str) -> str:
    """Everything a model's training is set by, as text: a run made with other settings is another run."""
    own = {"memory": MEMORY, **NEXT_ITEM, **M2SE, BLENDED: (M2SE["m2se"], MEMORY, BLEND)}
    return repr((own.get(model), Shape(), COOCCURRENCE))
