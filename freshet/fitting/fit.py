"""A model fitted to a data set: pretraining from nothing, or fine-tuning what was pretrained; resumable by epoch.

data set -> towers, content -> epochs, a checkpoint after each -> bundle in the registry, card and curve beside it

The last event of every user with three or more stays out of training; the curve says how well it is predicted.
Fine-tuning is stopped by earlier ones held out of it (`models/held_out.py`), where there are enough and no number of
epochs is asked for. Started by torchrun, several processes train; the first alone judges, prints and writes:

    torchrun --nproc-per-node 2 -m freshet pretrain --data DIR
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from freshet.evaluation.content import catalogue_towers, encode_catalogue, towers_here
from freshet.evaluation.data import EvaluationData, EvaluationError, read_data
from freshet.fitting.asked import check_asked
from freshet.fitting.card import NO_FIGURE, CurvePoint, ModelCard, ndcg_at_10, published, write_card
from freshet.fitting.kept_training import KeptTraining
from freshet.paths import Paths
from freshet.progress import Say, bar, nothing, say
from models.content.features import content_hash
from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.encoder.config import StoppingConfig, TimedShape, TrainingConfig
from models.encoder.epoch_count import EpochCount
from models.encoder.m2se import M2SE
from models.encoder.parallel import Processes, joined
from models.encoder.phases import EpochReport
from models.encoder.succession import first_model
from models.encoder.training import Trainer
from models.encoder_scorer import EncoderScorer, load_model, write_model
from models.evaluation.splits import leave_one_out
from models.examples import Example, examples, rank_examples
from models.held_out import hold_out, stopped_trainer
from models.ranker import Ranker
from models.registry.bundle import ENCODER_KIND, TOWERS, Bundle, DataSpan, Manifest
from models.registry.registry import Registry, wall_ms
from models.rivals.numbering import Numbering
from models.towers.building import TowerConfig
from models.towers.pair import Towers, load_towers, save_towers
from stream.kinds import EventKinds
from stream.replay.dataset import open_dataset

MAX_QUESTIONS = 2_000  # of the curve
PhaseName = Literal["pretrain", "finetune"]


@dataclass(frozen=True)
class FitOptions:
    """What was asked for.

    Attributes:
        phase: `pretrain`, or `finetune`, which adds an ID to every item with events.
        data: folder of the data set; None is the synthetic shop.
        data_dir: the service's folder; the registry lies there.
        n_epochs: None for the usual number, and for fine-tuning until held-out events are predicted no better.
        seed: of everything drawn.
        parent: the pretrained version to fine-tune; None for the newest one.
        towers: what encodes the content in pretraining; a fine-tuned model keeps its parent's.
        shape: of the encoder in pretraining; a fine-tuned model keeps its parent's.
    """

    phase: PhaseName
    data: str | None
    data_dir: Path
    n_epochs: int | None = None
    seed: int = 0
    parent: str | None = None
    towers: TowerConfig = field(default_factory=TowerConfig)
    shape: TimedShape = field(default_factory=TimedShape)

    def __post_init__(self) -> None:
        check_asked(self.n_epochs, self.seed)

    @property
    def config(self) -> TrainingConfig:
        """Of the one phase that runs."""
        usual = TrainingConfig(seed=self.seed)
        if self.phase == "pretrain":
            return replace(usual, pretrain_epochs=self.n_epochs or usual.pretrain_epochs, finetune_epochs=0)
        return replace(usual, pretrain_epochs=0, finetune_epochs=self.n_epochs or usual.finetune_epochs)

    @property
    def stopping(self) -> StoppingConfig | None:
        """When fine-tuning stops; None where the number of epochs is fixed."""
        return StoppingConfig() if self.phase == "finetune" and self.n_epochs is None else None


def fit(options: FitOptions, *, kinds: EventKinds) -> int:
    """Fit and publish; the version is not promoted.

    Raises:
        EvaluationError, SplitError, DatasetError: the data cannot be learned from.
        RegistryError: the parent is unknown, damaged, or no pretrained one.
        TowerError: a folder named for a tower holds no readable model.
        BadCheckpoint: what a killed run left cannot be read.
        TrainingDiverged: the loss stopped being a number; the last checkpoint stays.
        ParallelError: another process of the training was lost; the last checkpoint stays.
    """
    registry = Registry(Paths(options.data_dir).folders.registry)
    parent = _parent(registry, options)
    with joined() as processes:
        tell = say if processes.is_first else _be_silent
        data = read_data(open_dataset(options.data, kinds=kinds), kinds=kinds, say=tell)
        with processes.first():  # builds towers and encodes; the others find both done
            fitting = _Fitting(options, data, parent, say=tell)
        curve = fitting.run(processes)
    if not processes.is_first:
        return 0
    version = fitting.publish(registry, curve)
    print(published(version, options.data_dir))
    return 0


class _Fitting:
    """One training on one data set; items are numbered with those that have events first."""

    def __init__(self, options: FitOptions, data: EvaluationData, parent: Bundle | None, *, say: Say) -> None:
        self._say = say
        split = leave_one_out(data.events)
        numbering = Numbering(np.bincount(split.refit.rows, minlength=len(data.items)) > 0)
        self.options, self.data, self.parent = options, data, parent
        self.train = numbering.renumbered(split.refit)
        self.towers = load_towers(parent.towers) if parent else self._new_towers()
        table = encode_catalogue(data, self.towers, folder=options.data_dir, say=say)
        self.table: ContentTable = table.select(torch.from_numpy(numbering.row_of))
        self.n_ids = 0 if options.phase == "pretrain" else numbering.n_owners
        self.model = self._model()
        self.trainer = self._trainer(self.table.select(torch.arange(numbering.n_owners)))
        test = split.test
        asked = SequenceData(numbering.numbers(test.rows), test.ts_ms, test.starts, test.is_target)
        self.questions: list[Example] = examples(
            asked, self.table.item_ids, asked=asked.is_target, limit=MAX_QUESTIONS, seed=0, is_cut=True
        )
        trained = (options.phase, repr(options.config), repr(options.stopping))
        begun_from = parent.manifest.version if parent else repr(options.shape)
        towers = (*self._other_towers(), *self.towers.revisions.values())
        made_from = (*trained, data.fingerprint, begun_from, *towers)
        self._kept = KeptTraining(options.data_dir / "fitting", f"{options.phase}-{content_hash(*made_from)}")

    def run(self, processes: Processes) -> list[CurvePoint]:
        """Train what is left; gives the first process the curve of all epochs."""
        curve = self._kept.resume(self.trainer)
        if curve:
            self._say(f"resumed after epoch {len(curve)}")
        self.trainer.join(processes)

        def after_epoch(done: EpochReport) -> None:
            ndcg = self._ndcg_at_10()
            point = CurvePoint(done.epoch + 1, done.loss, done.n_targets, done.seconds, ndcg, done.validation)
            curve.append(point)
            self._kept.put(self.trainer, curve)
            score = "" if done.validation is None else f", validation NDCG@10 {done.validation:.4f}"
            shown = "" if ndcg is None else f", NDCG@10 {ndcg:.4f}"
            self._say(f"epoch {point.epoch}: loss {done.loss:.4f}{score}{shown} ({done.seconds:.1f} s)")
            count.restart()

        with bar("epoch", "targets") as on_progress:
            count = EpochCount(self.trainer, self.train.n_targets, on_progress if processes.is_first else nothing)
            self.trainer.run(after_epoch)
        return curve

    def publish(self, registry: Registry, curve: list[CurvePoint]) -> str:
        """Bundle, card and curve; then what a killed run would have needed is removed."""
        ndcg = self._ndcg_at_10()
        if ndcg is None:
            self._say(NO_FIGURE)
        stage = registry.stage()
        write_model(stage, self.model, self.table.item_ids[: self.n_ids])
        save_towers(stage / TOWERS, self.towers)
        metrics = {} if ndcg is None else {"ndcg_at_10": ndcg}
        version = registry.publish(stage, replace(self._draft(), metrics=metrics))
        facts = {
            "phase": self.options.phase,
            "data": f"{self.data.name}, {len(self.train.rows):,} events, {len(self.data.items):,} items",
            "parent": self.parent.manifest.version if self.parent else "none",
            "towers": ", ".join(self.towers.revisions.values()),
            "items with an ID": f"{self.n_ids:,}",
            "seed": str(self.options.seed),
            "code": f"freshet {installed_version('freshet')}",
        }
        write_card(registry.path(version), ModelCard(ENCODER_KIND, facts, self._config(), curve, ndcg))
        self._kept.clear()
        return version

    def _new_towers(self) -> Towers:
        is_known, options = np.ones(len(self.data.items), np.bool_), self.options
        config = towers_here(options.towers, say=self._say)
        return catalogue_towers(self.data, is_known=is_known, folder=options.data_dir, say=self._say, config=config)

    def _other_towers(self) -> list[str]:
        """What tells checkpoints apart that were made with other towers than the product's."""
        if self.options.towers == TowerConfig():
            return []
        if self.parent:
            self._say(f"content towers: those of {self.parent.manifest.version}, whatever the settings name")
            return []
        return [repr(self.options.towers)]

    def _model(self) -> M2SE:
        if self.parent is None:
            return first_model(self.options.shape, self.table, 0, self.options.seed)
        model, _ = load_model(self.parent)
        model.grow_ids(self.n_ids)
        return model

    def _trainer(self, content: ContentTable) -> Trainer:
        stopping, held_out = self.options.stopping, None
        if stopping is not None:
            everyone = np.ones(len(self.train.rows), np.bool_)
            held_out = hold_out(self.train, may_lose=everyone, config=stopping, seed=self.options.seed)
        if stopping is None or held_out is None:
            return Trainer(self.model, content, self.train, self.options.config)
        self.train = held_out.train
        return stopped_trainer(self.model, content, held_out, self.options.config, stopping=stopping)

    def _ndcg_at_10(self) -> float | None:
        ranker = Ranker(EncoderScorer(self.model, self.table.item_ids[: self.n_ids]), self._draft())
        ranker.add_items(self.table)
        return ndcg_at_10(rank_examples(ranker, self.questions))

    def _config(self) -> dict[str, Any]:
        stopping = self.options.stopping if self.trainer.stopping else None
        return self.model.config.to_dict() | asdict(self.trainer.config) | (asdict(stopping) if stopping else {})

    def _draft(self) -> Manifest:
        return Manifest(
            created_ms=wall_ms(),
            config={"encoder": self.model.config.to_dict(), "phase": self.options.phase, "data": self.data.fingerprint},
            tower_revisions=self.towers.revisions,
            data=DataSpan(n_events=len(self.train.rows)),
            seed=self.options.seed,
            code_version=installed_version("freshet"),
            reason=f"{self.options.phase} on {self.data.name}",
            parent=self.parent.manifest.version if self.parent else None,
        )


def _parent(registry: Registry, options: FitOptions) -> Bundle | None:
    """The pretrained version to go on from."""
    if options.phase == "pretrain":
        return None
    pretrained = [one.version for one in registry.manifests() if one.config.get("phase") == "pretrain"]
    version = options.parent or (pretrained[-1] if pretrained else None)
    if version is None:
        raise EvaluationError(f"{registry.root} has no pretrained version; make one with `freshet pretrain`")
    if registry.manifest(version).config.get("phase") != "pretrain":
        raise EvaluationError(
            f"--parent {version} is no pretrained version; there are {', '.join(pretrained) or 'none yet'}"
        )
    return registry.open(version)


def _be_silent(_: str) -> None:
    pass
