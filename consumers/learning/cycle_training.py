"""The training of a cycle: a first model from nothing, or the next one from its parent.

A checkpoint after every epoch, named by the plan, so that a killed cycle resumes and what another plan left behind is
never resumed from. A first training is stopped by events held out of it (`models/held_out.py`).
"""

import zlib
from dataclasses import replace

import msgspec
import torch

from consumers.learning.cycle_reports import CycleReports
from consumers.learning.cycle_settings import CycleSettings
from consumers.learning.plan import Plan
from consumers.learning.training_data import TrainingData
from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.encoder.checkpoint import BadCheckpoint, load_checkpoint, save_checkpoint
from models.encoder.epoch_count import EpochCount
from models.encoder.m2se import M2SE
from models.encoder.phases import EpochReport
from models.encoder.succession import first_model, next_model
from models.encoder.training import Trainer
from models.held_out import hold_out, stopped_trainer
from models.registry.bundle import Bundle

CHECKPOINT = "cycle-"


class CycleTraining:
    """Trains the model of one plan.

    Args:
        settings: How, and the folder of the checkpoint.
        plan: What the cycle was started with.
        reports: Told of every epoch, and how far a long one is.
    """

    def __init__(self, settings: CycleSettings, plan: Plan, reports: CycleReports) -> None:
        self._settings = settings
        self._reports = reports
        self._seed = settings.seed + plan.number
        digest = zlib.crc32(msgspec.json.encode(plan))
        self._checkpoint = settings.folders.work / f"{CHECKPOINT}{plan.number:06d}-{digest:08x}.safetensors"

    def run(self, data: TrainingData, share: SequenceData, table: ContentTable, *, parent: Bundle | None) -> M2SE:
        """Train what is left.

        Args:
            data: All events up to the plan.
            share: Those of them that are learned from.
            table: Content of the items of `data`, in their order.
            parent: What is gone on from; None for the first model.

        Raises:
            TrainingDiverged: the loss stopped being a number; the last checkpoint stays.
            DamagedBundle: the parent's weights cannot be read.
        """
        learned = table.select(torch.arange(data.n_ids))  # the others would be pushed away from everybody
        trainer = self._next(data, share, learned, parent) if parent else self._first(data, share, learned)
        self._resume(trainer)
        n_epochs = {phase.name: phase.n_epochs for phase in trainer.phases}
        count = EpochCount(trainer, share.n_targets, self._reports.counting("targets of this epoch"))

        def after_epoch(done: EpochReport) -> None:
            save_checkpoint(self._checkpoint, trainer)
            what = f"{done.phase} epoch {done.epoch + 1}/{n_epochs[done.phase]}"
            score = "" if done.validation is None else f", validation NDCG@10 {done.validation:.4f}"
            self._reports.say(f"{what}: {done.n_targets:,} targets, loss {done.loss:.3f}{score}")
            count.restart()

        trainer.run(after_epoch)
        if trainer.stopping is not None and trainer.stopping.best is not None:
            best = trainer.stopping.best
            self._reports.say(f"kept finetune epoch {best.epoch}, validation NDCG@10 {best.score:.4f}")
        return trainer.model

    def forget(self) -> None:
        """Remove every checkpoint, which only an open cycle needs."""
        for path in self._checkpoint.parent.glob(f"{CHECKPOINT}*"):
            path.unlink(missing_ok=True)

    def _first(self, data: TrainingData, share: SequenceData, table: ContentTable) -> Trainer:
        """From nothing; stopped by events held out of it, where there are enough."""
        config, stopping = replace(self._settings.first, seed=self._seed), self._settings.stopping
        model = first_model(self._settings.shape, table, data.n_ids, self._seed)
        held_out = None
        if config.finetune_epochs:
            held_out = hold_out(share, may_lose=~data.is_held_out, config=stopping, seed=self._seed)
        if held_out is None:
            return Trainer(model, table, share, config)
        return stopped_trainer(model, table, held_out, config, stopping=stopping)

    def _next(self, data: TrainingData, share: SequenceData, table: ContentTable, parent: Bundle) -> Trainer:
        """From its parent, which also teaches."""
        model, teacher = next_model(parent, table, data.n_ids)
        return Trainer(model, table, share, replace(self._settings.cycle, seed=self._seed), teacher=teacher)

    def _resume(self, trainer: Trainer) -> None:
        for path in self._checkpoint.parent.glob(f"{CHECKPOINT}*"):
            if path != self._checkpoint:
                path.unlink(missing_ok=True)  # of a plan that failed and was made anew
        if not self._checkpoint.exists():
            return
        try:
            load_checkpoint(self._checkpoint, trainer)
            self._reports.say(f"after {trainer.progress.phase} epoch {trainer.progress.epoch}", "resumed")
        except BadCheckpoint as exc:
            self._checkpoint.unlink()
            self._reports.say(f"starting this cycle over: {exc}")
