"""The fast memory and the blend in one process: learned here or followed, and asked by the feeds made here.

Who watches learns; who only makes feeds follows what is published; a process that does both shares one memory. On the
embedded log one process does all, so nothing is published there.
"""

from typing import Any

from consumers.memory.blending import BlendingSettings, BlendLearner
from consumers.memory.follower import BlendFollower, TransitionsFollower
from consumers.memory.quality import FeedQuality
from consumers.memory.role import MemoryRole, MemorySettings
from consumers.memory.shared import PUBLISHED_SIZE, SharedMemory
from consumers.memory.shared_blend import SharedBlend
from consumers.memory.snapshots import MemorySnapshots
from consumers.roles import Role
from consumers.snapshot_files import UNFINISHED_S
from freshet.paths import Paths
from freshet.settings import Settings
from models.memory.transitions import MemoryConfig
from models.slot import ModelSlot
from monitoring.metrics import Metrics
from serving.blended import LiveBlend
from stream.log import Log

PUBLISH_S = 1.0  # between rows, where other processes may follow


class Blending:
    """What of it this process does; nothing at all where the setting `blend` is off.

    Args:
        settings: in force.
        log: that carries events, rows and weights.
        metrics: of this process.
        slot: the model that the weights are learned beside.
        quality: told of every event that weights are learned from, if anybody is to be.
    """

    def __init__(
        self, settings: Settings, log: Log, metrics: Metrics, *, slot: ModelSlot, quality: FeedQuality | None = None
    ) -> None:
        self._settings, self._log, self._metrics, self._slot = settings, log, metrics, slot
        self._paths = Paths(settings.data_dir)
        config = MemoryConfig() if self._learns else MemoryConfig(row_size=PUBLISHED_SIZE)  # no more comes
        self._memory, self._weights = SharedMemory(config), SharedBlend()
        self._quality = quality

    @property
    def _learns(self) -> bool:
        return "watching" in self._settings.roles

    def live(self) -> LiveBlend | None:
        """What feeds ask; None where they are to be the model's alone."""
        return LiveBlend(self._weights, self._memory) if self._settings.blend else None

    def report(self) -> dict[str, Any] | None:
        """How good feeds are beside their parts, on the events that weights are learned from; None if nobody asked."""
        return None if self._quality is None else self._quality.report()

    def roles(self) -> list[Role]:
        """What learns or follows."""
        if not self._settings.blend:
            return []
        if self._learns:
            return self._learning()
        if "feeds" in self._settings.roles:
            return [TransitionsFollower(self._memory, metrics=self._metrics), BlendFollower(self._weights)]
        return []

    def _learning(self) -> list[Role]:
        """Both memory and weights; where weights are published, who learns them reads which numbers were used."""
        embedded = self._settings.is_embedded
        metrics, length = self._metrics, self._settings.sequence_length
        learned_from = BlendingSettings(share=self._settings.blend_share)
        learner = BlendLearner(
            self._slot,
            self._memory,
            self._weights,
            log_id=self._log.log_id,
            metrics=metrics,
            settings=learned_from,
            quality=self._quality,
        )
        role = MemoryRole(
            self._memory,
            MemorySnapshots(
                self._paths.memory,
                self._log.log_id,
                length=length,
                max_seen=self._settings.max_seen,
                unfinished_s=0.0 if embedded else UNFINISHED_S,
            ),
            self._log,
            kinds=self._settings.event_kinds(),
            metrics=metrics,
            settings=MemorySettings(self._settings.snapshot_s, publish_s=None if embedded else PUBLISH_S),
            learner=learner,
        )
        return [role] if embedded else [role, BlendFollower(self._weights)]
