"""One Freshet process on the embedded log: every part is built here, started in order, and stopped in reverse.

HTTP -> log -> sequences, catalog, training buffer, watcher (threads)
               training buffer -> trainer (a process) -> registry -> model follower -> slot -> HTTP
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
from consumers.catalog.model_follower import ModelFollower
from consumers.catalog.placement import Placement
from consumers.catalog.role import CatalogRole
from consumers.learning.buffer_roles import events_role, items_role
from consumers.learning.cycle_events import CycleEvent
from consumers.learning.cycle_settings import write_settings
from consumers.learning.trainer_process import TrainerProcess
from consumers.learning.training_buffer import BufferSettings, TrainingBuffer
from consumers.roles import Role
from consumers.runner import Runner, RunnerSettings
from consumers.sequences.role import SequencesRole, Snapshots
from consumers.sequences.user_sequences import UserSequences
from consumers.watching.watcher import WatcherRole, WatcherSettings
from freshet.paths import Paths
from freshet.settings import Settings
from freshet.training import cycle_settings
from models.content.features import FeatureStore
from models.registry.registry import Registry, wall_ms
from models.slot import ModelSlot
from monitoring.metrics import Metrics
from serving.app import create_app
from serving.parts import ServingParts
from stream.embedded.log import EmbeddedLog
from stream.images import ImageStore
from stream.log import LogError, LogUnavailable
from stream.topics import DAY_MS, EVENTS, ITEMS, topics

MAINTENANCE_S = 60.0
STOP_TIMEOUT_S = 30.0
READY_LAG_RECORDS = 10_000
RESTS_S = {"watcher": 0.1, "training-buffer-events": 0.2, "training-buffer-items": 0.2}
SWITCH_S = 0.0005  # Python's 5 ms between threads would be waited several times in one request

OnCycle = Callable[[CycleEvent], None]


class Service:
    """All parts of one process.

    Args:
        settings: In force.
        on_cycle: Told of every step of every training cycle, from a thread of its own.
        has_rivals: Judge popularity and co-occurrence on the same events; for demos and benchmarks.

    Raises:
        LogBusy: another process has the data folder.
        LogUnavailable: the folder cannot be written.
    """

    def __init__(self, settings: Settings, *, on_cycle: OnCycle = lambda _: None, has_rivals: bool = False) -> None:
        self.settings = settings
        self.paths = paths = Paths(settings.data_dir)
        _make_folder(paths.root)
        self.kinds = settings.event_kinds()
        self.metrics = Metrics(CollectorRegistry())
        self._on_cycle = on_cycle
        retention_ms = int(settings.retention_days * DAY_MS)
        max_bytes = settings.log_max_mb * 1_000_000 if settings.log_max_mb else None
        self.log = EmbeddedLog(paths.log, topics(settings.partitions, retention_ms=retention_ms), max_bytes=max_bytes)
        self.images = ImageStore(paths.folders.images)
        self.images.clean()
        self.registry = Registry(paths.folders.registry)
        self.slot = ModelSlot()
        self.catalog = Catalog()
        self.sequences = UserSequences(settings.partitions, length=settings.sequence_length, max_seen=settings.max_seen)
        self.buffer = self._buffer()
        store = FeatureStore(paths.folders.features)
        self.placement = Placement(self.catalog, self.slot, store=store, images=self.images)
        self.catalog_role = CatalogRole(self.catalog, self.placement, self.log, metrics=self.metrics)
        self.watcher = WatcherRole(
            self.slot,
            metrics=self.metrics,
            kinds=self.kinds,
            settings=WatcherSettings(
                share=settings.watch_share,
                has_rivals=has_rivals,
                length=settings.sequence_length,
                max_seen=settings.max_seen,
            ),
        )
        self._runner = self._build_runner()
        self._follower = ModelFollower(self.registry, self.placement, self.slot, self.metrics)
        self._trainer: TrainerProcess | None = None
        self._stopping = threading.Event()
        self._maintenance = threading.Thread(target=self._maintain, name="maintenance", daemon=True)

    def start(self) -> None:
        """Start consuming and following the registry; the trainer is started by `start_trainer`."""
        torch.set_num_threads(self.settings.serving_threads)
        sys.setswitchinterval(SWITCH_S)
        gc.collect()
        gc.freeze()  # libraries and parts stay to the end; looking through them takes the collector a tenth of a second
        self._runner.start()
        self._follower.start()
        self._maintenance.start()

    def start_trainer(self) -> None:
        """Start the trainer's process."""
        path = self.paths.work / "settings.json"
        write_settings(path, cycle_settings(self.settings, log_id=self.log.log_id))
        self._trainer = TrainerProcess(path, self._note_cycle)
        self._trainer.start()

    def app(self) -> FastAPI:
        """The HTTP side, ready to be served."""
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
            )
        )

    def close(self) -> None:
        """Stop everything; what was accepted is on the disk afterwards."""
        self._stopping.set()
        if self._trainer is not None:
            self._trainer.stop()
        self._follower.stop()
        busy = self._runner.stop(STOP_TIMEOUT_S)
        if busy:
            structlog.get_logger().error("roles_still_busy", roles=busy, after_s=STOP_TIMEOUT_S)
        self.log.close()

    def not_ready(self) -> Mapping[str, str]:
        """What keeps this process from answering well, as name -> reason; empty when all is well."""
        reasons: dict[str, str] = {}
        for name, health in self._runner.health().items():
            if not health.is_healthy:
                reasons[name] = f"{health.state}, restarted {health.n_restarts} times: {health.last_error}"
            elif name in ("sequences", "catalog") and health.state == "starting":
                reasons[name] = "starting"
            elif name in ("sequences", "catalog") and health.lag_records > READY_LAG_RECORDS:
                reasons[name] = f"catching up, {health.lag_records:,} records to go"
        if self._follower.problem:
            reasons["model"] = self._follower.problem
        elif not self._follower.has_looked:
            reasons["model"] = "the current version is being loaded"
        if self._trainer is not None and not self._trainer.is_healthy:
            reasons["trainer"] = "given up after too many restarts; see the log"
        return reasons

    def behind(self) -> dict[str, int]:
        """Records published that a role has still to read, by role; empty when all have everything."""
        events, items = self.log.ends(EVENTS), self.log.ends(ITEMS)
        lags = {
            "sequences": _lag(events, self.sequences.applied.next_offsets()),
            "catalog": _lag(items, self.catalog_role.positions()),
            "training-buffer-events": _lag(events, self.buffer.manifest.next.get(EVENTS, {})),
            "training-buffer-items": _lag(items, self.buffer.manifest.next.get(ITEMS, {})),
        }
        return {name: lag for name, lag in lags.items() if lag}

    def watcher_lag(self) -> int:
        """Events that are still to be predicted."""
        return _lag(self.log.ends(EVENTS), self.watcher.positions())

    def _buffer(self) -> TrainingBuffer:
        return TrainingBuffer(
            self.paths.folders.buffer,
            self.log.log_id,
            settings=BufferSettings(flush_rows=self.settings.segment_rows, flush_s=self.settings.segment_s),
        )

    def _build_runner(self) -> Runner:
        snapshots = Snapshots(self.paths.snapshots, self.log.log_id)
        roles: list[Role] = [
            SequencesRole(
                self.sequences,
                snapshots,
                self.log,
                kinds=self.kinds,
                metrics=self.metrics,
                snapshot_s=self.settings.snapshot_s,
            ),
            self.catalog_role,
            events_role(self.buffer, kinds=self.kinds, metrics=self.metrics),
            items_role(self.buffer, metrics=self.metrics),
            self.watcher,
        ]
        return Runner(self.log, roles, metrics=self.metrics, settings=RunnerSettings(rests_s=RESTS_S))

    def _note_cycle(self, event: CycleEvent) -> None:
        if event.state in ("published", "refused", "failed"):
            self.metrics.cycles_total.labels(result=event.state).inc()
            self.metrics.cycle_seconds.observe(event.seconds)
            structlog.get_logger().info(
                "cycle_ended", result=event.state, cycle=event.cycle, reason=event.detail, version=event.version
            )
        self._on_cycle(event)

    def _maintain(self) -> None:
        """Retention and compaction, now and then."""
        while not self._stopping.wait(MAINTENANCE_S):
            try:
                self.log.maintain(wall_ms())
            except LogError as exc:
                structlog.get_logger().warning("log_maintenance_failed", reason=str(exc))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise LogUnavailable(
            f"cannot make the data folder {path}: {exc.strerror}; make its place writable, or name another folder"
        ) from exc


def _lag(ends: Mapping[int, int], positions: Mapping[int, int]) -> int:
    return sum(end - positions.get(partition, 0) for partition, end in ends.items())
