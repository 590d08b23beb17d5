"""`freshet fit`: a rival learned from a data set and published, so that it can be served as any other version.

data set -> towers, content -> epochs chosen -> fitted anew -> bundle in the registry, card and curve beside it

The last event of every user with three or more stays out of training; epochs are chosen on the one
before it, as `freshet evaluate` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np

from freshet.evaluation.content import catalogue_towers, encode_catalogue, towers_here
from freshet.evaluation.data import EvaluationData, EvaluationError, read_data
from freshet.evaluation.runs import Choice
from freshet.evaluation.trial import Training, most_epochs
from freshet.fitting.asked import check_asked
from freshet.fitting.card import NO_FIGURE, CurvePoint, ModelCard, ndcg_at_10, published, write_card
from freshet.paths import Paths
from freshet.progress import say
from models.content.table import ContentTable
from models.evaluation.splits import Split, leave_one_out
from models.examples import examples, rank_examples
from models.ranker import Ranker
from models.registry.bundle import ENCODER_KIND, TOWERS, DataSpan, Manifest
from models.registry.registry import Registry, wall_ms
from models.rivals.build import NEXT_ITEM, build
from models.rivals.served import CONFIG, LOADERS, ServedRival, served
from models.towers.building import TowerConfig
from models.towers.pair import Towers, save_towers
from stream.kinds import EventKinds
from stream.replay.dataset import open_dataset

MAX_QUESTIONS = 2_000  # of the figure on the card


@dataclass(frozen=True)
class RivalOptions:
    """What was asked for.

    Attributes:
        model: its name.
        data: folder of the data set; None is the synthetic shop.
        data_dir: the service's folder; the registry lies there.
        n_epochs: the first so many of its schedule; None to choose them. Only a network has any.
        seed: of everything drawn.
        towers: what encodes the content.
    """

    model: str
    data: str | None
    data_dir: Path
    n_epochs: int | None = None
    seed: int = 0
    towers: TowerConfig = field(default_factory=TowerConfig)

    def __post_init__(self) -> None:
        if self.model not in LOADERS:
            raise EvaluationError(
                f"--model {self.model} is no rival to fit; there are {', '.join(LOADERS)}; {ENCODER_KIND} is fitted by "
                "`freshet pretrain` and `freshet finetune`"
            )
        if self.n_epochs is not None and self.model not in NEXT_ITEM:
            raise EvaluationError(f"--epochs {self.n_epochs}: {self.model} has none; leave it out")
        check_asked(self.n_epochs, self.seed)
        most = most_epochs(self.model)
        if self.n_epochs is not None and self.n_epochs > most:
            raise EvaluationError(f"--epochs {self.n_epochs} must be at most {most}, the schedule of {self.model}")


def fit_rival(options: RivalOptions, *, kinds: EventKinds) -> int:
    """Fit and publish; the version is not promoted.

    Raises:
        EvaluationError, SplitError, DatasetError: the data cannot be learned from.
        TrainingDiverged: the loss stopped being a number.
        TowerError: a folder named for a tower holds no readable model.
        RegistryError: the registry cannot be written.
    """
    registry = Registry(Paths(options.data_dir).folders.registry)
    data = read_data(open_dataset(options.data, kinds=kinds), kinds=kinds)
    fitting = _RivalFitting(options, data)
    version = fitting.publish(registry, *fitting.run())
    print(published(version, options.data_dir))
    return 0


class _RivalFitting:
    """One rival on one data set."""

    def __init__(self, options: RivalOptions, data: EvaluationData) -> None:
        self.options, self.data = options, data
        self.split: Split = leave_one_out(data.events)
        is_known = np.ones(len(data.items), np.bool_)
        config = towers_here(options.towers, say=say)
        self.towers: Towers = catalogue_towers(data, is_known=is_known, folder=options.data_dir, say=say, config=config)
        self.table: ContentTable = encode_catalogue(data, self.towers, folder=options.data_dir, say=say)

    def run(self) -> tuple[ServedRival, list[CurvePoint]]:
        """Choose the epochs, where there are any to choose; then fit anew."""
        model, seed, n_epochs = self.options.model, self.options.seed, self.options.n_epochs
        training = Training(self.split, len(self.data.items), lambda: self.table, build)
        choice = Choice(epochs=(), n_epochs=n_epochs)
        if n_epochs is None and model in NEXT_ITEM:
            choice = training.choose(model, seed, say=say)
        rival, epochs = training.fit(model, seed, choice=choice, say=say)
        curve = [CurvePoint(one.epoch, one.loss, one.n_targets, one.seconds, None) for one in epochs]
        return served(rival, self.table), curve

    def publish(self, registry: Registry, rival: ServedRival, curve: list[CurvePoint]) -> str:
        """Bundle, card and curve."""
        ndcg = self._ndcg_at_10(rival)
        if ndcg is None:
            say(NO_FIGURE)
        curve = [*curve[:-1], *(replace(last, ndcg_at_10=ndcg) for last in curve[-1:])]
        stage = registry.stage()
        rival.save(stage)
        save_towers(stage / TOWERS, self.towers)
        metrics = {} if ndcg is None else {"ndcg_at_10": ndcg}
        version = registry.publish(stage, replace(self._draft(rival), metrics=metrics))
        placed = "by content" if any(rival.content_dims) else "behind all others, and as newcomers"
        facts = {
            "model": self.options.model,
            "data": f"{self.data.name}, {len(self.split.refit.rows):,} events, {len(self.data.items):,} items",
            "towers": ", ".join(self.towers.revisions.values()),
            "items known by their ID": f"{len(rival.owners):,}",
            "new items stand": placed,
            "seed": str(self.options.seed),
            "code": f"freshet {installed_version('freshet')}",
        }
        write_card(registry.path(version), ModelCard(self.options.model, facts, rival.config(), curve, ndcg))
        return version

    def _ndcg_at_10(self, rival: ServedRival) -> float | None:
        test = self.split.test
        ranker = Ranker(rival, self._draft(rival))
        ranker.add_items(self.table)
        questions = examples(test, self.table.item_ids, asked=test.is_target, limit=MAX_QUESTIONS, seed=0, is_cut=True)
        return ndcg_at_10(rank_examples(ranker, questions))

    def _draft(self, rival: ServedRival) -> Manifest:
        return Manifest(
            created_ms=wall_ms(),
            config={CONFIG: rival.config(), "data": self.data.fingerprint},
            tower_revisions=self.towers.revisions,
            data=DataSpan(n_events=len(self.split.refit.rows)),
            seed=self.options.seed,
            code_version=installed_version("freshet"),
            reason=f"{self.options.model} on {self.data.name}",
            kind=self.options.model,
        )
