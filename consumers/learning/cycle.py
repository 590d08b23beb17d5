"""One training cycle: read, train, judge, publish or refuse.

    plan      which offsets, which parent, which seed; written down first, so that a killed cycle resumes
    read      segments -> arrays, catalogue -> content vectors (`cycle_content.py`; nothing is encoded twice)
    train     contrastive objectives, then the next item; a checkpoint after every epoch (`cycle_training.py`)
    judge     on events that arrived after the plan, on items without an ID, on users kept out; where feeds are blended,
              the weights are learned there beside the new model
    publish   an immutable bundle, promoted; or a refusal with the reason

The first cycle has no parent: it builds the towers, trains on all but what it is stopped by and passes the gate
unopposed. While a rival is current, every cycle is refused: there is nothing in it to go on from.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version as installed_version

import numpy as np
import torch

from consumers.learning import training_data
from consumers.learning.cycle_content import Contents, CycleContent
from consumers.learning.cycle_events import CycleEvent, State
from consumers.learning.cycle_reports import CycleReports
from consumers.learning.cycle_settings import CycleSettings
from consumers.learning.cycle_training import CycleTraining
from consumers.learning.judging import calibrated, slices, wait_for_later
from consumers.learning.plan import Plan
from consumers.learning.segments import Segment, load_events, read_manifest
from consumers.learning.training_data import Sources, TrainingData
from models.encoder.batches import SequenceData
from models.encoder.m2se import M2SE
from models.encoder_scorer import EncoderScorer
from models.gate import Verdict, judge
from models.loading import load_ranker
from models.ranker import Ranker
from models.registry.bundle import (
    ENCODER_KIND,
    TOWERS,
    Bundle,
    DataSpan,
    Manifest,
    NotCurrent,
    PromotionPaused,
    RegistryError,
)
from models.registry.kept_blend import KeptBlend
from models.registry.registry import Registry, wall_ms
from models.towers.pair import Towers, save_towers
from stream.topics import EVENTS

Judged = tuple[Verdict, KeptBlend | None]


class NothingToLearn(ValueError):
    """There are events, but none that a first model could learn from."""


class Cycle:
    """Runs one plan to its end; safe to run again after a kill at any moment."""

    def __init__(self, settings: CycleSettings, plan: Plan, report: Callable[[CycleEvent], None]) -> None:
        self.settings = settings
        self.plan = plan
        self._reports = CycleReports(plan.number, report)
        self._registry = Registry(settings.folders.registry)
        self._content = CycleContent(settings, self._reports)
        self._training = CycleTraining(settings, plan, self._reports)
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
        known = self._published()
        if known is not None:
            self._reports.say(f"{known.version} was published already", "resumed")
            return self._settle(Verdict(True, known.reason, known.metrics), known.version, time.monotonic() - started)
        parent = self._registry.open(self.plan.parent) if self.plan.parent else None
        if parent is not None and parent.manifest.kind != ENCODER_KIND:
            return self._settle(_cannot_go_on_from(parent.manifest), None, time.monotonic() - started)
        contents = self._content.catalogue()
        towers = self._content.towers(list(contents.values()), parent)
        data = self._read(contents, parent)
        share = self._share(data, parent)
        if parent is not None and not share.n_targets:
            verdict = Verdict(False, f"nothing to learn: none of {self.plan.n_fresh:,} fresh events can be used", {})
            return self._settle(verdict, None, time.monotonic() - started)
        table = self._content.table(data.item_ids, contents, towers)
        model = self._training.run(data, share, table, parent=parent)
        draft = self._draft(model, towers, len(data.sequences.rows))
        new = Ranker(EncoderScorer(model, data.item_ids[: data.n_ids]), draft)
        verdict, blend = self._judge(new, towers, parent, stopping)
        version = self._publish(new, towers, verdict, blend) if verdict.is_passed else None
        return self._settle(verdict, version, time.monotonic() - started)

    def forget(self) -> None:
        """Remove what only an open cycle needs; once it is written down that this one is done."""
        self._training.forget()
        self._content.forget()

    # Read ---------------------------------------------------------------------------------------------------

    def _read(self, contents: Contents, parent: Bundle | None) -> TrainingData:
        """Events up to the plan; fresh are those the parent was not trained on."""
        parent_ids = parent.item_ids() if parent else ()
        segments = training_data.begun_before(self._segments(), self.plan.offsets)
        sources = self._sources(
            segments, contents, parent_ids, parent.manifest.data.on(self.settings.log_id).offsets if parent else {}
        )
        data = training_data.build(replace(sources, events=training_data.before(sources.events, self.plan.offsets)))
        if data.n_unknown:
            self._reports.say(f"{data.n_unknown:,} events left out: the catalogue does not know their item")
        return data

    def _segments(self) -> list[Segment]:
        return read_manifest(self.settings.folders.buffer).of(EVENTS)

    def _sources(
        self, segments: Sequence[Segment], contents: Contents, known_ids: Sequence[str], trained_to: dict[int, int]
    ) -> Sources:
        newest = training_data.newest(segments, self.settings.max_events)
        return Sources(
            events=load_events(self.settings.folders.buffer, newest),
            catalogue=contents,
            parent_ids=known_ids,
            parent_offsets=trained_to,
            sequence_kinds=self.settings.sequence_kinds,
            holdout_share=self.settings.holdout_share,
        )

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

    # Judge --------------------------------------------------------------------------------------------------

    def _judge(self, new: Ranker, towers: Towers, parent: Bundle | None, stopping: threading.Event) -> Judged:
        """Both models over the same items, on events neither was trained on; there the blend is learned too."""
        gate = self.settings.gate
        if parent is None:
            return judge(new, None, {}, gate), None
        wait_for_later(self.settings, self.plan.offsets, stopping)
        contents = self._content.catalogue()
        data = training_data.build(self._sources(self._segments(), contents, new.owners, self.plan.offsets))
        table = self._content.table(data.item_ids, contents, towers)
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
            config={"encoder": model.config.to_dict(), "cycle": self.plan.number},
            tower_revisions=towers.revisions,
            data=DataSpan(offsets=self.plan.offsets, n_events=n_events, log_id=self.settings.log_id),
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

    def _published(self) -> Manifest | None:
        """What this plan came to before it was killed, if it came so far."""
        wanted = (self.plan.number, self.plan.parent, self.plan.offsets, self.settings.log_id)
        for version in reversed(self._registry.versions()):
            with contextlib.suppress(RegistryError):  # damaged, or pruned by now
                manifest = self._registry.manifest(version)
                made = (manifest.config.get("cycle"), manifest.parent, manifest.data.offsets, manifest.data.log_id)
                if made == wanted:
                    return self._registry.open(version).manifest
        return None

    def _is_current(self, version: str) -> bool:
        pointer = self._registry.current()
        return pointer is not None and pointer.version == version

    def _settle(self, verdict: Verdict, version: str | None, seconds: float) -> CycleEvent:
        """Promote what was published, write down what was refused."""
        state: State = "refused"
        detail = verdict.reason
        if version is not None:
            try:
                if not self._is_current(version):
                    self._registry.promote(version, by="gate", reason=detail)
                state = "published"
            except (PromotionPaused, NotCurrent) as exc:
                detail = str(exc)
            self._registry.prune(keep=self.settings.keep_bundles)
        if state == "refused":
            self._registry.refuse(reason=detail, metrics=verdict.metrics, parent=self.plan.parent)
        return CycleEvent(
            state=state,
            cycle=self.plan.number,
            detail=detail,
            version=version,
            seconds=seconds,
            n_events=self.plan.n_fresh,
            metrics=verdict.metrics,
        )


def _cannot_go_on_from(parent: Manifest) -> Verdict:
    reason = (
        f"{parent.version} is a {parent.kind}, and training goes on from {ENCODER_KIND} alone; promote such a version "
        "to go on learning (`freshet models promote VERSION`)"
    )
    return Verdict(False, reason, {})
