"""One Freshet process: the parts of its roles are built here, started in order, and stopped in reverse.

    feeds      HTTP -> log -> sequences, catalog, windows -> feeds
    learning   log -> training buffer -> trainer (a process) -> registry
    watching   log -> watcher: every event is predicted before it is applied
               log -> fast memory and weights of the blend, for feeds here and in other processes
               registry -> model follower -> slot, for feeds and watching

On the embedded log one process has all three roles. On Kafka they may be processes of their own, and joins and windows
run in Faust workers.
"""

import gc
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
import torch
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from consumers.catalog.catalog import Catalog
from consumers.catalog.letters import ItemLetters
from consumers.catalog.model_follower import ModelFollower
from consumers.catalog.placement import Placement
from consumers.catalog.role import CatalogRole
from consumers.learning.cycle_events import CycleEvent
from consumers.memory.quality import FeedQuality
from consumers.role_health import RoleHealth
from consumers.roles import Role
from consumers.runner import Runner, RunnerSettings
from consumers.sequences.role import SequencesRole, Snapshots
from consumers.sequences.user_sequences import UserSequences
from consumers.snapshot_files import UNFINISHED_S
from consumers.watching.watcher import WatcherRole, WatcherSettings
from consumers.windows.counts_role import CountsRole
from consumers.windows.role import windows_role
from consumers.windows.windows import Windows
from freshet.blending import Blending
from freshet.learning import Learning
from freshet.opening import open_log
from freshet.paths import Paths
from freshet.replicas import Replicas
from freshet.settings import Settings
from models.content.features import FeatureStore
from models.registry.registry import Registry, wall_ms
from models.slot import ModelSlot
from monitoring.metrics import Metrics
from serving.app import create_app, create_monitor
from serving.parts import ServingParts
from stream.embedded.log import EmbeddedLog
from stream.images import ImageStore
from stream.log import LogError, LogUnavailable
from stream.topics import EVENTS, EXPOSURES, ITEMS

MAINTENANCE_S = 60.0
STOP_TIMEOUT_S = 30.0
READY_LAG_RECORDS = 10_000
ANSWERED_FROM = ("sequences", "catalog")  # roles without which a feed is not what it should be
RESTS_S = {"sequences": 0.005, "memory": 0.1, "watcher": 0.2, "windows-events": 0.2, "windows-exposures": 0.2}
SWITCH_S = 0.0001  # Python's 5 ms between threads would be waited several times in one request

OnCycle = Callable[[CycleEvent], None]


class Service:
    """All parts of one process.

    Args:
        settings: In force; `roles` says which parts.
        on_cycle: Told of every step of every training cycle, from a thread of its own.
        has_rivals: Judge popularity and co-occurrence on the same events, and feeds beside what they are blended of;
            for demos and benchmarks.

    Raises:
        LogBusy: another process has the data folder.
        LogUnavailable: the folder cannot be written, or no broker answers.
        TopicDiffers: a topic exists with other partitions or settings.
        BadManifest: the training segments are of another log, or damaged.
        KindsDiffer: snapshots are of other event kinds.
    """

    def __init__(self, settings: Settings, *, on_cycle: OnCycle = lambda _: None, has_rivals: bool = False) -> None:
        self.settings = settings
        self.paths = paths = Paths(settings.data_dir)
        _make_folder(paths.root)
        self.kinds = settings.event_kinds()
        self.metrics = Metrics(CollectorRegistry())
        self._on_cycle = on_cycle
        self.log = open_log(settings, paths.log)
        self.images = ImageStore(paths.folders.images)
        if settings.is_embedded:
            self.images.clean()  # nobody else stores images now
        self.registry = Registry(paths.folders.registry)
        self.slot = ModelSlot()
        self.catalog = Catalog()
        self.sequences = UserSequences(settings.partitions, length=settings.sequence_length, max_seen=settings.max_seen)
        self.counts = CountsRole()
        self.windows = Windows(
            paths.windows,
            self.log,
            settings=settings.attribution(),
            metrics=self.metrics,
            snapshot_s=settings.snapshot_s,
        )
        store = FeatureStore(paths.folders.features)
        self.placement = Placement(self.catalog, self.slot, store=store, images=self.images)
        self.catalog_role = CatalogRole(self.catalog, self.placement, metrics=self.metrics)
        self.watcher = WatcherRole(
            self.slot,
            log_id=self.log.log_id,
            metrics=self.metrics,
            kinds=self.kinds,
            settings=_watcher_settings(settings, has_rivals),
        )
        quality = FeedQuality() if has_rivals else None
        self.blending = Blending(settings, self.log, self.metrics, slot=self.slot, quality=quality)
        self.learning = Learning(settings, self.log, self.metrics, on_cycle=self._note_cycle)
        if self._has("learning"):
            self.learning.open()
        self.replicas = Replicas(self.log, self.sequences.held)
        self._runner = Runner(self.log, self._roles(), metrics=self.metrics, settings=RunnerSettings(rests_s=RESTS_S))
        self._follower = ModelFollower(self.registry, self.placement, self.slot, self.metrics)
        self._stopping = threading.Event()
        self._maintenance = threading.Thread(target=self._maintain, name="maintenance", daemon=True)

    def start(self) -> None:
        """Start consuming and following the registry; the trainer is started by `start_trainer`."""
        torch.set_num_threads(self.settings.serving_threads)
        sys.setswitchinterval(SWITCH_S)
        gc.collect()
        gc.freeze()  # libraries and parts stay to the end; looking through them takes the collector a tenth of a second
        self._runner.start()
        if self._has("feeds", "watching"):
            self._follower.start()
        if self._has("learning"):
            self.learning.start()
        self._maintenance.start()

    def start_trainer(self) -> None:
        """Start the trainer's process, if this process is to learn."""
        self.learning.start_trainer()

    def announce(self, url: str) -> None:
        """Tell the other replicas, if there may be any, where this one answers."""
        if self._has("feeds") and not self.settings.is_embedded:
            self.replicas.announce(self.settings.public_url or url)

    def withdraw(self) -> None:
        """Tell the other replicas to send nobody here any more; before HTTP is stopped."""
        self.replicas.stop()

    def app(self) -> FastAPI:
        """The HTTP side, ready to be served: all of it where feeds are made, health and metrics elsewhere."""
        if not self._has("feeds"):
            return create_monitor(self.metrics, self.not_ready)
        return create_app(
            ServingParts(
                log=self.log,
                images=self.images,
                sequences=self.sequences,
                catalog=self.catalog,
                slot=self.slot,
                registry=self.registry,
                metrics=self.metrics,
                not_ready=self.not_ready,
                kinds=self.kinds,
                blend=self.blending.live(),
                counts=None if self.settings.is_embedded else self.counts,
                arms=self.windows.arms if self.settings.is_embedded else self.counts.arms,
                replicas=None if self.settings.is_embedded else self.replicas.directory,
                keys=self.settings.api_keys,
            )
        )

    def close(self) -> None:
        """Stop everything; what was accepted is on the disk afterwards."""
        self._stopping.set()
        self.withdraw()
        busy = self.learning.stop()
        self._follower.stop()
        busy += self._runner.stop(STOP_TIMEOUT_S)
        if busy:
            structlog.get_logger().error("roles_still_busy", roles=busy, after_s=STOP_TIMEOUT_S)
        self.log.close()

    def not_ready(self) -> Mapping[str, str]:
        """What keeps this process from answering well, as name -> reason; empty when all is well."""
        reasons: dict[str, str] = {}
        for name, health in (self._runner.health() | self.learning.health()).items():
            reason = _reason(health, is_answered_from=name in ANSWERED_FROM)
            if reason is not None:
                reasons[name] = reason
        if self._has("feeds", "watching"):
            if self._follower.problem:
                reasons["model"] = self._follower.problem
            elif not self._follower.has_looked:
                reasons["model"] = "the current version is being loaded"
        return reasons | self.learning.not_ready()

    def behind(self) -> dict[str, int]:
        """Records published that a role has still to read, by role; empty when all have everything."""
        events, items = self.log.ends(EVENTS), self.log.ends(ITEMS)
        buffered = {} if self.learning.buffer is None else self.learning.buffer.manifest.next
        lags = {
            "sequences": _lag(events, self.sequences.applied.next_offsets()),
            "catalog": _lag(items, self.catalog_role.positions()),
            "training-buffer-events": _lag(events, buffered.get(EVENTS, {})),
            "training-buffer-items": _lag(items, buffered.get(ITEMS, {})),
        }
        return {name: lag for name, lag in lags.items() if lag}

    def watcher_lag(self) -> int:
        """Events that are still to be predicted."""
        return _lag(self.log.ends(EVENTS), self.watcher.positions())

    def _has(self, *names: str) -> bool:
        return not set(names).isdisjoint(self.settings.roles)

    def _roles(self) -> list[Role]:
        roles: list[Role] = []
        if self._has("feeds"):
            roles += [self._sequences_role(), *self._window_roles()]
        if self._has("feeds", "watching"):
            roles += [self.catalog_role, ItemLetters(self.placement, self.log, metrics=self.metrics)]
        if self._has("watching"):
            roles.append(self.watcher)
        return roles + self.blending.roles()

    def _sequences_role(self) -> SequencesRole:
        unfinished_s = 0.0 if self.settings.is_embedded else UNFINISHED_S
        return SequencesRole(
            self.sequences,
            Snapshots(self.paths.snapshots, self.log.log_id, kinds=self.kinds, unfinished_s=unfinished_s),
            self.log,
            kinds=self.kinds,
            metrics=self.metrics,
            snapshot_s=self.settings.snapshot_s,
        )

    def _window_roles(self) -> list[Role]:
        """Joins and counts: made here on the embedded log; on Kafka workers make them, and are listened to."""
        if not self.settings.is_embedded:
            return [self.counts, self.replicas.directory]
        return [windows_role(self.windows, topic, kinds=self.kinds) for topic in (EVENTS, EXPOSURES)]

    def _note_cycle(self, event: CycleEvent) -> None:
        if event.state in ("published", "refused", "failed"):
            self.metrics.count_cycle(event.state, event.seconds)
            structlog.get_logger().info(
                "cycle_ended", result=event.state, cycle=event.cycle, reason=event.detail, version=event.version
            )
        self._on_cycle(event)

    def _maintain(self) -> None:
        """Retention and compaction of the embedded log, now and then; brokers do their own."""
        while isinstance(self.log, EmbeddedLog) and not self._stopping.wait(MAINTENANCE_S):
            try:
                self.log.maintain(wall_ms())
            except LogError as exc:
                structlog.get_logger().warning("log_maintenance_failed", reason=str(exc))


def _watcher_settings(settings: Settings, has_rivals: bool) -> WatcherSettings:
    return WatcherSettings(
        share=settings.watch_share,
        has_rivals=has_rivals,
        length=settings.sequence_length,
        max_seen=settings.max_seen,
    )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise LogUnavailable(
            f"cannot make the data folder {path}: {exc.strerror}; make its place writable, or name another folder"
        ) from exc


def _reason(health: RoleHealth, *, is_answered_from: bool) -> str | None:
    """Why a role keeps the process from being ready; None when it does not."""
    if not health.is_healthy:
        return f"{health.state}, restarted {health.n_restarts} times: {health.last_error}"
    if health.state == "waiting":
        return f"the log cannot be reached: {health.last_error}"
    if is_answered_from and health.state == "starting":
        return "starting"
    if is_answered_from and health.lag_records > READY_LAG_RECORDS:
        return f"catching up, {health.lag_records:,} records to go"
    return None


def _lag(ends: Mapping[int, int], positions: Mapping[int, int]) -> int:
    return sum(end - positions.get(partition, 0) for partition, end in ends.items())
