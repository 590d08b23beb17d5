"""The trainer's process, seen from its parent: started, listened to, restarted, and gone when the parent goes.

The child reads nothing from its standard input; it only watches it. When the parent dies, in whatever way, the pipe
closes and the child ends, so a killed service never leaves a trainer behind. One that says nothing for long amid a
cycle hangs: it is killed, started again, and resumes.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import structlog

from consumers.learning.cycle_events import AMID_CYCLE, CycleEvent

STOP_TIMEOUT_S = 10.0
TRAINER = (sys.executable, "-m", "consumers.learning.trainer")


@dataclass(frozen=True)
class Restarts:
    """When a child that ended, or hangs, is started again.

    Args:
        first_backoff_s: Wait before the first restart; doubled with each that follows.
        max_backoff_s: Longest wait.
        steady_s: A child that ran this long starts over with the first wait.
        max_in_a_row: More restarts than this, and the trainer stays down and health says so.
        max_silence_s: A child without a report for so long amid a cycle hangs, and is killed. Content and epochs tell
            how far they are every half minute; reading and judging take minutes.
    """

    first_backoff_s: float = 0.5
    max_backoff_s: float = 30.0
    steady_s: float = 60.0
    max_in_a_row: int = 20
    max_silence_s: float = 3600.0


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
                with SilenceLimit(child, self._restarts.max_silence_s) as limit:
                    for line in child.stdout:
                        self._pass_on(line, limit)
                return f"exit code {child.wait()}"
        except OSError as exc:  # no such program, no memory, too many processes
            return str(exc)

    def _pass_on(self, line: bytes, limit: "SilenceLimit") -> None:
        try:
            event = msgspec.json.decode(line, type=CycleEvent)
        except msgspec.DecodeError:
            self._log.warning("trainer_said", line=line[:300].decode(errors="replace").rstrip())
            return
        limit.hear(event)
        try:
            self._on_event(event)
        except Exception as exc:  # whoever listens: the trainer goes on, and its next report may be taken
            self._log.warning("trainer_event_not_taken", state=event.state, reason=repr(exc))


class SilenceLimit:
    """Kills a child that goes too long without a report amid a cycle; between cycles it may be silent.

    Args:
        child: That reports.
        limit_s: The longest silence.
    """

    def __init__(self, child: subprocess.Popen[bytes], limit_s: float) -> None:
        self._child, self._limit_s = child, limit_s
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def hear(self, event: CycleEvent) -> None:
        """A report: the time runs from now on, or stops with the cycle."""
        self._stop()
        if event.state in AMID_CYCLE:
            self._timer = threading.Timer(self._limit_s, self._kill)
            self._timer.daemon = True
            self._timer.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _kill(self) -> None:
        structlog.get_logger().error("trainer_hangs", silent_s=self._limit_s)
        self._child.kill()


def _end(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    if child.stdin is not None:
        child.stdin.close()
    for end in (child.terminate, child.kill):
        try:
            child.wait(timeout_s / 2)
        except subprocess.TimeoutExpired:
            end()
