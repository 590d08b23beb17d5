"""The trainer's process, seen from its parent: started, listened to, restarted, and gone when the parent goes.

The child reads nothing from its standard input; it only watches it. When the parent dies, in whatever way, the pipe
closes and the child ends, so a killed service never leaves a trainer behind.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from consumers.learning.cycle_events import CycleEvent

STOP_TIMEOUT_S = 10.0
TRAINER = (sys.executable, "-m", "consumers.learning.trainer")


@dataclass(frozen=True)
class Restarts:
    """When a child that ended is started again.

    Args:
        first_backoff_s: Wait before the first restart; doubled with each that follows.
        max_backoff_s: Longest wait.
        steady_s: A child that ran this long starts over with the first wait.
        max_in_a_row: More restarts than this, and the trainer stays down and health says so.
    """

    first_backoff_s: float = 0.5
    max_backoff_s: float = 30.0
    steady_s: float = 60.0
    max_in_a_row: int = 20


class TrainerProcess:
    """Runs `python -m consumers.learning.trainer CONFIG` and passes on what it reports.

    Args:
        config: JSON file of the cycle's settings.
        on_event: Called from a thread of this object with everything the child reports.
        command: What is run, CONFIG its last argument.
        restarts: When it is run again.
        on_restart: Called before each time it is.
    """

    def __init__(
        self,
        config: Path,
        on_event: Callable[[CycleEvent], None],
        *,
        command: Sequence[str] = TRAINER,
        restarts: Restarts | None = None,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self._command = [*command, str(config)]
        self._on_event = on_event
        self._restarts, self._on_restart = restarts or Restarts(), on_restart
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, name="trainer", daemon=True)
        self._log = structlog.get_logger()
        self.n_restarts = 0
        self.is_healthy = True

    @property
    def pid(self) -> int | None:
        """Process id of the child that runs now."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start the child; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the child: by closing its pipe, then by terminating, then by killing it. An open cycle resumes later."""
        self._stopping.set()
        if self._child is not None:
            _end(self._child, timeout_s)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _supervise(self) -> None:
        limits = self._restarts
        backoff_s, n_in_a_row = limits.first_backoff_s, 0
        while not self._stopping.is_set():
            started = time.monotonic()
            ending = self._run_once()
            if self._stopping.is_set():
                return
            if time.monotonic() - started > limits.steady_s:
                backoff_s, n_in_a_row = limits.first_backoff_s, 0
            if n_in_a_row == limits.max_in_a_row:
                self.is_healthy = False
                self._log.error("trainer_given_up", ending=ending, restarts=n_in_a_row)
                return
            n_in_a_row += 1
            self.n_restarts += 1
            self._on_restart()
            self._log.warning("trainer_restarting", ending=ending, backoff_s=backoff_s)
            self._stopping.wait(backoff_s)
            backoff_s = min(2 * backoff_s, limits.max_backoff_s)

    def _run_once(self) -> str:
        """Run the child to its end.

        Returns:
            How it ended, for the log.
        """
        try:
            with subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
                self._child = child
                if self._stopping.is_set():
                    _end(child, STOP_TIMEOUT_S)
                assert child.stdout is not None  # asked for above; tells the type checker
                for line in child.stdout:
                    self._pass_on(line)
                return f"exit code {child.wait()}"
        except OSError as exc:  # no such program, no memory, too many processes
            return str(exc)

    def _pass_on(self, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line, type=CycleEvent)
        except msgspec.DecodeError:
            self._log.warning("trainer_said", line=line[:300].decode(errors="replace").rstrip())
            return
        try:
            self._on_event(event)
        except Exception as exc:  # whoever listens: the trainer goes on, and its next report may be taken
            self._log.warning("trainer_event_not_taken", state=event.state, reason=repr(exc))


def _end(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    if child.stdin is not None:
        child.stdin.close()
    for end in (child.terminate, child.kill):
        try:
            child.wait(timeout_s / 2)
        except subprocess.TimeoutExpired:
            end()
