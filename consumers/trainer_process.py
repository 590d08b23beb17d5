"""The trainer's process, seen from its parent: started, listened to, restarted, and gone when the parent goes.

The child reads nothing from its standard input; it only watches it. When the parent dies, in whatever way, the pipe
closes and the child ends, so a killed service never leaves a trainer behind.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from consumers.cycle_events import CycleEvent

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STOP_TIMEOUT_S = 10.0
STEADY_S = 60.0  # a child that ran this long starts over with the first back-off
MAX_RESTARTS = 20  # in a row; then the trainer stays down and health says so


class TrainerProcess:
    """Runs `python -m consumers.trainer CONFIG` and passes on what it reports.

    Args:
        config: JSON file of the cycle's settings.
        on_event: Called from a thread of this object with everything the child reports.
    """

    def __init__(self, config: Path, on_event: Callable[[CycleEvent], None]) -> None:
        self._config = config
        self._on_event = on_event
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
        backoff_s = FIRST_BACKOFF_S
        n_in_a_row = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            code = self._run_once()
            if self._stopping.is_set():
                return
            if time.monotonic() - started > STEADY_S:
                backoff_s, n_in_a_row = FIRST_BACKOFF_S, 0
            n_in_a_row += 1
            self.n_restarts += 1
            if n_in_a_row > MAX_RESTARTS:
                self.is_healthy = False
                self._log.error("trainer_given_up", exit_code=code, restarts=n_in_a_row, limit=MAX_RESTARTS)
                return
            self._log.warning("trainer_restarting", exit_code=code, backoff_s=backoff_s)
            self._stopping.wait(backoff_s)
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    def _run_once(self) -> int:
        command = [sys.executable, "-m", "consumers.trainer", str(self._config)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            self._child = child
            if self._stopping.is_set():
                _end(child, STOP_TIMEOUT_S)
            assert child.stdout is not None  # asked for above; tells the type checker
            for line in child.stdout:
                self._pass_on(line)
            return child.wait()

    def _pass_on(self, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line, type=CycleEvent)
        except msgspec.DecodeError:
            self._log.warning("trainer_said", line=line[:300].decode(errors="replace").rstrip())
            return
        self._on_event(event)


def _end(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    if child.stdin is not None:
        child.stdin.close()
    for end in (child.terminate, child.kill):
        try:
            child.wait(timeout_s / 2)
        except subprocess.TimeoutExpired:
            end()
