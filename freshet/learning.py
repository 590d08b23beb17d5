"""The learning role: training buffer and trainer. Of all processes that have it one is active, the others stand by.

Who holds the lock file is active: the operating system lets go of it when its process ends, however that ends, and the
next one takes over within a second. The segments' manifest and the open cycle's plan say where to go on.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog

from consumers.learning.buffer_roles import events_role, items_role
from consumers.learning.cycle_events import CycleEvent
from consumers.learning.cycle_settings import write_settings
from consumers.learning.trainer_process import TrainerProcess
from consumers.learning.training_buffer import BufferSettings, TrainingBuffer
from consumers.role_health import RoleHealth
from consumers.runner import Runner, RunnerSettings
from freshet.paths import Paths
from freshet.settings import Settings
from freshet.training import cycle_settings
from models.durable import LockTimeoutError, file_lock
from monitoring.metrics import Metrics
from stream.log import Log

LOCK_FILE = "learning.lock"
TRAINER = "trainer"  # by this name its restarts are counted, among those of roles
TRY_S = 1.0
STOP_TIMEOUT_S = 30.0
RESTS_S = {"training-buffer-events": 0.2, "training-buffer-items": 0.2}


class Learning:
    """Fills the buffer and runs the trainer, once it is this process's turn.

    Args:
        settings: In force.
        log: What is learned from.
        metrics: Of this process.
        on_cycle: Told of every step of every cycle, from a thread of its own.
    """

    def __init__(
        self, settings: Settings, log: Log, metrics: Metrics, *, on_cycle: Callable[[CycleEvent], None]
    ) -> None:
        self._settings, self._log, self._metrics, self._on_cycle = settings, log, metrics, on_cycle
        self._paths = Paths(settings.data_dir)
        self.buffer: TrainingBuffer | None = None  # None while another process is active
        self._runner: Runner | None = None
        self._trainer: TrainerProcess | None = None
        self._problem: str | None = None
        self._held = ExitStack()
        self._may_train = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._take_turn, name="learning", daemon=True)

    @property
    def is_active(self) -> bool:
        """Whether it is this process that learns."""
        return self.buffer is not None

    def open(self) -> None:
        """Take the turn, if it is nobody's.

        Raises:
            BadManifest: the buffer's folder is of another log, or damaged.
        """
        if self._is_free(timeout_s=0.0):
            self._open_buffer()

    def start(self) -> None:
        """Fill the buffer from now on; at once if it is this process's turn, else when the other one ends."""
        self._metrics.learning_failed.set_function(lambda: bool(self.not_ready()))
        self._metrics.role_restarts_total.labels(role=TRAINER)
        if self.is_active:
            self._fill()
        self._thread.start()

    def start_trainer(self) -> None:
        """Train from now on, when it is this process's turn."""
        self._may_train.set()

    def stop(self) -> list[str]:
        """End the trainer, write the buffer, let another process take over.

        Returns:
            Names of roles still busy at the deadline.
        """
        self._stopping.set()
        self._may_train.set()  # wakes who waits for it
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)
        if self._trainer is not None:
            self._trainer.stop()
        busy = self._runner.stop(STOP_TIMEOUT_S) if self._runner is not None else []
        if not busy:  # else the lock goes with the process: whoever is busy may still write
            self._held.close()
        return busy

    def health(self) -> dict[str, RoleHealth]:
        """How the buffer's roles do; empty while another process is active."""
        return {} if self._runner is None else self._runner.health()

    def not_ready(self) -> dict[str, str]:
        """What is wrong, as name -> reason."""
        reasons = {} if self._problem is None else {"learning": self._problem}
        if self._trainer is not None and not self._trainer.is_healthy:
            reasons[TRAINER] = "given up after too many restarts; see the log"
        return reasons

    def _take_turn(self) -> None:
        while self._trainer is None and not self._stopping.is_set():
            try:
                self._go_on()
                self._problem = None
            except Exception as exc:  # this thread has no caller to raise to; health says it, and it is tried again
                self._note(f"{type(exc).__name__}: {exc}")
                self._stopping.wait(TRY_S)

    def _go_on(self) -> None:
        """The next step: the turn, or the trainer."""
        if not self.is_active:
            if self._is_free(timeout_s=TRY_S):
                self._activate()
            return
        self._may_train.wait()
        if not self._stopping.is_set():
            self._start_trainer()

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            structlog.get_logger().error("learning_failed", reason=problem)
        self._problem = problem

    def _is_free(self, timeout_s: float) -> bool:
        """Whether the lock could be taken."""
        self._paths.root.mkdir(parents=True, exist_ok=True)
        try:
            self._held.enter_context(file_lock(self._paths.root / LOCK_FILE, timeout_s=timeout_s))
        except LockTimeoutError:
            return False
        return True

    def _activate(self) -> None:
        try:
            self._open_buffer()
            self._fill()
        except Exception:
            self.buffer = None
            self._held.close()
            raise

    def _open_buffer(self) -> None:
        settings = self._settings
        limits = BufferSettings(flush_rows=settings.segment_rows, flush_s=settings.segment_s)
        self.buffer = TrainingBuffer(self._paths.folders.buffer, self._log.log_id, settings=limits)

    def _fill(self) -> None:
        assert self.buffer is not None  # opened before
        kinds, metrics = self._settings.event_kinds(), self._metrics
        roles = [events_role(self.buffer, kinds=kinds, metrics=metrics), items_role(self.buffer, metrics=metrics)]
        self._runner = Runner(self._log, roles, metrics=metrics, settings=RunnerSettings(rests_s=RESTS_S))
        self._runner.start()
        structlog.get_logger().info("learning_active")

    def _start_trainer(self) -> None:
        path: Path = self._paths.work / "settings.json"
        write_settings(path, cycle_settings(self._settings, log_id=self._log.log_id))
        restarts = self._metrics.role_restarts_total.labels(role=TRAINER)
        trainer = TrainerProcess(path, self._on_cycle, on_restart=restarts.inc)
        trainer.start()
        self._trainer = trainer
