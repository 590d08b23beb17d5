"""A learner of the blend, beside a model that is played."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consumers.memory.blending import BlendingSettings, BlendLearner
from consumers.memory.links import LinkReader
from consumers.memory.quality import FeedQuality
from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import SharedBlend
from models.registry.bundle import DataSpan, Manifest
from models.registry.kept_blend import KeptBlend
from stream.events import BlendState, Interaction
from stream.kinds import DEFAULT_KINDS
from tests.consumers.store_support import click, new_metrics, value

ALL = BlendingSettings(share=1.0)
START = (1.0, 0.5, 0.0, -2.0)
KEPT = KeptBlend((0.4, 3.0, 0.2, -5.0), (0.0, 0.1, 0.0, 0.0), gain_ndcg_at_10=0.01, standard_error=0.002, n_events=300)
ITEMS = [f"item-{number}" for number in range(60)]


class Model:
    """Thinks the same of all items, and nothing of a user without a known one."""

    def __init__(
        self,
        *,
        trained_to: int = 0,
        item_ids: Sequence[str] = ITEMS,
        version: str = "v1",
        kept: KeptBlend | None = None,
    ) -> None:
        data = DataSpan(offsets={0: trained_to})
        self.manifest = Manifest(0, {}, {}, data, seed=0, code_version="", version=version, blend=kept)
        self.item_ids = list(item_ids)
        self.n_asked: list[int] = []
        self.asked_ms: list[list[int]] = []

    def scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], list[str]]:
        self.n_asked.append(len(sequences))
        self.asked_ms = [list(times) for times in times_ms]
        scores = np.zeros((len(sequences), len(self.item_ids)), np.float32)
        for row, sequence in enumerate(sequences):
            if set(sequence).isdisjoint(self.item_ids):
                scores[row] = -np.inf
        return scores, self.item_ids


class Slot:
    previous = None

    def __init__(self, model: Model | None) -> None:
        self.model = model

    def current(self) -> Model | None:
        return self.model


class Bench:
    """A learner, what it reads from and what it tells."""

    def __init__(self, model: Model | None = None, *, settings: BlendingSettings = ALL) -> None:
        self.now_s, self.wall_s = 100.0, 1.0
        self.metrics, self.memory, self.shared = new_metrics(), SharedMemory(), SharedBlend()
        self.slot, self.quality = Slot(model or Model()), FeedQuality()
        self.learner = BlendLearner(
            self.slot,
            self.memory,
            self.shared,
            log_id="log",
            metrics=self.metrics,
            settings=settings,
            quality=self.quality,
            clock=lambda: self.now_s,
            now_s=lambda: self.wall_s,
        )
        self.reader = LinkReader(DEFAULT_KINDS, length=50, max_seen=50, n_last=10)
        self.reader.hold(0)
        self.offset = 0

    def link(self, *events: Interaction) -> None:
        links = self.reader.links(0, events, is_asked=self.learner.is_asked)
        self.learner.link(links, {0: self.offset})
        self.offset += len(events)

    def due(self) -> BlendState:
        state = self.learner.due()
        assert state is not None
        self.learner.mark_published()
        return state

    @property
    def n_learned(self) -> float | None:
        return value(self.metrics, "blend_events_total")


def pairs(n_users: int, seed: int = 0) -> list[Interaction]:
    """Each user has an item of even number and then the one after it."""
    firsts = np.random.default_rng(seed).integers(0, 30, n_users) * 2
    return [
        click(2 * user + nth, user=f"user-{user}", item=ITEMS[first + nth])
        for user, first in enumerate(firsts.tolist())
        for nth in range(2)
    ]
