"""One training cycle: read, train, judge, publish or refuse.

    plan      which offsets, which parent, which seed; written down first, so that a killed cycle resumes
    read      segments -> arrays, catalogue -> content vectors (nothing is encoded twice)
    train     contrastive objectives, then the next item; a checkpoint after every epoch; a first training is stopped by
              events held out of it (`models/held_out.py`)
    judge     on events that arrived after the plan, on items without an ID, on users kept out; where feeds are blended,
              the weights are learned there beside the new model
    publish   an immutable bundle, promoted; or a refusal with the reason

The first cycle has no parent: it builds the towers, trains on all the rest and passes the gate unopposed. While a rival
is current, every cycle is refused: there is nothing in it to go on from.
"""

import shutil
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version as installed_version

import msgspec
import numpy as np
import torch

from consumers.catalog.catalog import CatalogItem
from consumers.learning import training_data
from consumers.learning.cycle_events import CycleEvent, State
from consumers.learning.cycle_settings import CycleSettings
from consumers.learning.judging import calibrated, slices, wait_for_later
from consumers.learning.segments import load_events, load_items, read_manifest
from consumers.learning.training_data import Sources, TrainingData
from models.content.encode import encode_items
from models.content.features import FeatureStore
from models.content.table import ContentTable, ItemContent
from models.encoder.batches import SequenceData
from models.encoder.checkpoint import BadCheckpoint, load_checkpoint, save_checkpoint
from models.encoder.m2se import M2SE
from models.encoder.phases import EpochReport
from models.encoder.succession import first_model, next_model
from models.encoder.training import Trainer
from models.encoder_scorer import EncoderScorer
from models.gate import Verdict, judge
from models.held_out import hold_out, stopped_trainer
from models.loading import load_ranker
from models.ranker import Ranker
from models.registry.bundle import ENCODER_KIND, TOWERS, Bundle, DataSpan, Manifest, PromotionPaused
from models.registry.kept_blend import KeptBlend
from models.registry.registry import Registry, wall_ms
from models.towers.building import build_towers
from models.towers.pair import Towers, load_towers, save_towers
from models.towers.tower import TowerError
from stream.images import ImageStore
from stream.topics import EVENTS

CHECKPOINT = "cycle-"

Contents = dict[str, ItemContent]
Judged = tuple[Verdict, KeptBlend | None]


class NothingToLearn(ValueError):
    """There are events, but none that a first model could learn from."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a cycle was started with; the same plan gives the same model.

    Attributes:
        number: Of the cycle, from 1.
        parent: Version it goes on from; None for the first.
        offsets: Next offset by partition of `events` that it trains up to.
        n_fresh: Events the parent has not seen.
    """

    number: int
    parent: str | None
    offsets: dict[int, int]
    n_fresh: int


class Cycle:
    """Runs one plan to its end; safe to run again after a kill at any moment."""

    def __init__(self, settings: CycleSettings, plan: Plan, report: Callable[[CycleEvent], None]) -> None:
        self.settings = settings
        self.plan = plan
        self._report = report
        self._registry = Registry(settings.folders.registry)
        self._store = FeatureStore(settings.folders.features)
        self._images = ImageStore(settings.folders.images)
        digest = zlib.crc32(msgspec.json.encode(plan))  # what another plan left behind is never resumed from
        self._checkpoint = settings.folders.work / f"{CHECKPOINT}{plan.number:06d}-{digest:08x}.safetensors"
        self._kept_towers = settings.folders.work / "towers"
        self._seed = settings.seed + plan.number

    def run(self, stopping: threading.Event) -> CycleEvent:
        """Train, judge, publish.

        Args:
            stopping: Cuts the wait for events to judge by short.

        Returns:
            The last report: published or refused, with the reason.

        Raises:
            NothingToLearn: no event of a first training can be predicted.
            TrainingDiverged: the loss stopped being a number; nothing was published.
            RegistryError, TowerError: the parent cannot be read.
        """
        started = time.monotonic()
        torch.set_num_threads(self.settings.threads if self.plan.parent else self.settings.first_threads)
        parent = self._registry.open(self.plan.parent) if self.plan.parent else None
        if parent is not None and parent.manifest.kind != ENCODER_KIND:
            return self._settle(_cannot_go_on_from(parent.manifest), None, time.monotonic() - started)
        contents = self._contents()
        towers = self._towers(list(contents.values()), parent)
        data = self._read(contents, parent)
        share = self._share(data, parent)
        if parent is not None and not share.n_targets:
            verdict = Verdict(False, f"nothing to learn: none of {self.plan.n_fresh:,} fresh events can be used", {})
            return self._settle(verdict, None, time.monotonic() - started)
        model = self._train(data, share, self._encode(data.item_ids, contents, towers), parent=parent)
        draft = self._draft(model, towers, len(data.sequences.rows))
        new = Ranker(EncoderScorer(model, data.item_ids[: data.n_ids]), draft)
        verdict, blend = self._judge(new, towers, parent, stopping)
        version = self._publish(new, towers, verdict, blend) if verdict.is_passed else None
        return self._settle(verdict, version, time.monotonic() - started)

    # Read ---------------------------------------------------------------------------------------------------

    def _contents(self) -> Contents:
        items = load_items(self.settings.folders.buffer)
        return {item_id: CatalogItem.of(item).content for item_id, item in items.items()}

    def _read(self, contents: Contents, parent: Bundle | None) -> TrainingData:
        """Events up to the plan; fresh are those the parent was not trained on."""
        parent_ids = parent.item_ids() if parent else ()
        sources = self._sources(contents, parent_ids, parent.manifest.data.offsets if parent else {})
        data = training_data.build(replace(sources, events=training_data.before(sources.events, self.plan.offsets)))
        if data.n_unknown:
            self._say("progress", f"{data.n_unknown:,} events left out: the catalogue does not know their item")
        return data

    def _sources(self, contents: Contents, known_ids: Sequence[str], trained_to: dict[int, int]) -> Sources:
        buffer = self.settings.folders.buffer
        return Sources(
            events=load_events(
                buffer, training_data.newest(read_manifest(buffer).of(EVENTS), self.settings.max_events)
            ),
            catalogue=contents,
            parent_ids=known_ids,
            parent_offsets=trained_to,
            sequence_kinds=self.settings.sequence_kinds,
            holdout_share=self.settings.holdout_share,
        )

    def _towers(self, contents: Sequence[ItemContent], parent: Bundle | None) -> Towers:
        """The parent's, or new ones; what a killed first cycle had built already is taken from the work folder."""
        if parent is not None:
            return load_towers(parent.towers)
        if self._kept_towers.exists():
            try:
                return load_towers(self._kept_towers)
            except TowerError as exc:
                self._say("progress", f"building the towers anew: {exc}")
                shutil.rmtree(self._kept_towers)
        self._say("progress", f"preparing the content towers for {len(contents):,} items")
        towers, notes = build_towers(contents, self.settings.towers, read_image=self._read_image, store=self._store)
        for note in notes:
            self._say("progress", note)
        half_written = self._kept_towers.with_suffix(".tmp")
        shutil.rmtree(half_written, ignore_errors=True)
        save_towers(half_written, towers)
        half_written.rename(self._kept_towers)
        return towers

    def _encode(self, item_ids: Sequence[str], contents: Contents, towers: Towers) -> ContentTable:
        """Content of the given items; one that left the catalogue keeps its row, with nothing in it."""
        ordered = [towers.fitting(contents.get(item_id, ItemContent(item_id))) for item_id in item_ids]
        return encode_items(ordered, towers, store=self._store, read_image=self._read_image)

    def _read_image(self, reference: str) -> bytes | None:
        try:
            return self._images.get(reference)
        except (OSError, ValueError):
            return None

    # Train --------------------------------------------------------------------------------------------------

    def _share(self, data: TrainingData, parent: Bundle | None) -> SequenceData:
        """What is learned from: everything the first time, then what is fresh and a sample of the old."""
        if parent is not None:
            rng = np.random.default_rng(self._seed)
            window, ratio = self.settings.shape.window, self.settings.replay_ratio
            return training_data.cycle_share(data, window=window, replay_ratio=ratio, rng=rng)
        if not data.sequences.n_targets:
            raise NothingToLearn(
                f"none of {self.plan.n_fresh:,} events can be predicted, {data.n_unknown:,} of them because the "
                f"catalogue does not know their item; send the items, PUT /v1/items/{{id}}"
            )
        return data.sequences

    def _train(self, data: TrainingData, share: SequenceData, table: ContentTable, *, parent: Bundle | None) -> M2SE:
        trainer = self._next(data, share, table, parent) if parent else self._first(data, share, table)
        self._resume(trainer)
        n_epochs = {phase.name: phase.n_epochs for phase in trainer.phases}

        def after_epoch(done: EpochReport) -> None:
            save_checkpoint(self._checkpoint, trainer)
            what = f"{done.phase} epoch {done.epoch + 1}/{n_epochs[done.phase]}"
            score = "" if done.validation is None else f", validation NDCG@10 {done.validation:.4f}"
            self._say("progress", f"{what}: {done.n_targets:,} targets, loss {done.loss:.3f}{score}")

        trainer.run(after_epoch)
        if trainer.stopping is not None and trainer.stopping.best is not None:
            best = trainer.stopping.best
            self._say("progress", f"kept finetune epoch {best.epoch}, validation NDCG@10 {best.score:.4f}")
        return trainer.model

    def _first(self, data: TrainingData, share: SequenceData, table: ContentTable) -> Trainer:
        """From nothing; stopped by events held out of it, where there are enough."""
        config, stopping = replace(self.settings.first, seed=self._seed), self.settings.stopping
        model = first_model(self.settings.shape, table, data.n_ids, self._seed)
        held_out = None
        if config.finetune_epochs:
            held_out = hold_out(share, may_lose=~data.is_held_out, config=stopping, seed=self._seed)
        if held_out is None:
            return Trainer(model, table, share, config)
        return stopped_trainer(model, table, held_out, config, stopping=stopping)

    def _next(self, data: TrainingData, share: SequenceData, table: ContentTable, parent: Bundle) -> Trainer:
        """From its parent, which also teaches."""
        model, teacher = next_model(parent, table, data.n_ids)
        return Trainer(model, table, share, replace(self.settings.cycle, seed=self._seed), teacher=teacher)

    def _resume(self, trainer: Trainer) -> None:
        for path in self.settings.folders.work.glob(f"{CHECKPOINT}*"):
            if path != self._checkpoint:
                path.unlink(missing_ok=True)  # of a plan that failed and was made anew
        if not self._checkpoint.exists():
            return
        try:
            load_checkpoint(self._checkpoint, trainer)
            self._say("resumed", f"after {trainer.progress.phase} epoch {trainer.progress.epoch}")
        except BadCheckpoint as exc:
            self._checkpoint.unlink()
            self._say("progress", f"starting this cycle over: {exc}")

    # Judge --------------------------------------------------------------------------------------------------

    def _judge(self, new: Ranker, towers: Towers, parent: Bundle | None, stopping: threading.Event) -> Judged:
        """Both models over the same items, on events neither was trained on; there the blend is learned too."""
        gate = self.settings.gate
        if parent is None:
            return judge(new, None, {}, gate), None
        wait_for_later(self.settings, self.plan.offsets, stopping)
        contents = self._contents()
        data = training_data.build(self._sources(contents, new.owners, self.plan.offsets))
        table = self._encode(data.item_ids, contents, towers)
        new.add_items(table)
        questions = slices(data, n_owners=len(new.owners), config=gate, seed=self._seed)
        verdict = judge(new, load_ranker(parent, table), questions, gate)
        if not (self.settings.blend and verdict.is_passed):
            return verdict, None
        return verdict, calibrated(new, data, parent=parent.manifest.blend, config=gate, seed=self._seed)

    # Publish ------------------------------------------------------------------------------------------------

    def _draft(self, model: M2SE, towers: Towers, n_events: int) -> Manifest:
        return Manifest(
            created_ms=wall_ms(),
            config={"encoder": model.config.to_dict(), "cycle": self.plan.number, "log_id": self.settings.log_id},
            tower_revisions=towers.revisions,
            data=DataSpan(offsets=self.plan.offsets, n_events=n_events),
            seed=self._seed,
            code_version=installed_version("freshet"),
            parent=self.plan.parent,
        )

    def _publish(self, new: Ranker, towers: Towers, verdict: Verdict, blend: KeptBlend | None) -> str:
        stage = self._registry.stage()
        new.scorer.save(stage)
        save_towers(stage / TOWERS, towers)
        manifest = replace(new.manifest, metrics=verdict.metrics, reason=verdict.reason, blend=blend)
        return self._registry.publish(stage, manifest)

    def _settle(self, verdict: Verdict, version: str | None, seconds: float) -> CycleEvent:
        """Promote what was published, write down what was refused."""
        state: State = "published"
        detail = verdict.reason
        if version is None:
            state = "refused"
            self._registry.refuse(reason=detail, metrics=verdict.metrics, parent=self.plan.parent)
        else:
            try:
                self._registry.promote(version, by="gate", reason=detail)
            except PromotionPaused as exc:
                state, detail = "refused", str(exc)
            self._registry.prune(keep=self.settings.keep_bundles)
        self._forget()
        return CycleEvent(
            state=state,
            cycle=self.plan.number,
            detail=detail,
            version=version,
            seconds=seconds,
            n_events=self.plan.n_fresh,
            metrics=verdict.metrics,
        )

    def _forget(self) -> None:
        """Remove what only an open cycle needs."""
        for path in self.settings.folders.work.glob(f"{CHECKPOINT}*"):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._kept_towers, ignore_errors=True)

    def _say(self, state: State, detail: str) -> None:
        self._report(CycleEvent(state=state, cycle=self.plan.number, detail=detail))


def _cannot_go_on_from(parent: Manifest) -> Verdict:
    reason = (
        f"{parent.version} is a {parent.kind}, and training goes on from {ENCODER_KIND} alone; promote such a version "
        "to go on learning (`freshet models promote VERSION`)"
    )
    return Verdict(False, reason, {})
