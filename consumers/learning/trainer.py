"""The trainer: a process of its own that starts a cycle when there is enough to learn.

    python -m consumers.learning.trainer SETTINGS.json

It reads the training buffer's segments, never the log; it reports one JSON line a step on standard output; it ends when
its standard input closes, which happens in whatever way its parent dies.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from consumers.learning.cycle import Cycle
from consumers.learning.cycle_events import CycleEvent
from consumers.learning.cycle_settings import CycleSettings, read_settings
from consumers.learning.plan import Plan
from consumers.learning.segments import BadManifest, BadSegment, read_manifest
from models.durable import write_durably
from models.encoder.loop import TrainingDiverged
from models.registry.bundle import DataSpan, RegistryError
from models.registry.registry import Registry
from models.towers.tower import TowerError
from stream.topics import EVENTS

POLL_S = 0.5
RETRY_S = 5.0  # after a failed cycle, whatever failed; doubled with each that follows
MAX_RETRY_S = 300.0
MAX_STARTS = 10  # of one plan; each but the last ended with the trainer's process, whatever ended that
NICENESS = 10  # answering comes first


class TrainerLost(Exception):
    """A plan was started too often, and no trainer lived to its end."""


EXPECTED = (RegistryError, TowerError, TrainingDiverged, TrainerLost, BadManifest, BadSegment, OSError, ValueError)


class TrainerLoop:
    """Looks at the buffer, plans, runs cycles one after the other.

    Args:
        settings: What it was told.
        report: Takes every report.
        stopping: Set to end after the step at hand.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        settings: CycleSettings,
        report: Callable[[CycleEvent], None],
        stopping: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._report = report
        self._stopping = stopping
        self._clock = clock
        self._registry = Registry(settings.folders.registry)
        self._open_plan = settings.folders.work / "plan.json"
        self._last_plan = settings.folders.work / "last.json"
        self._idle_since = clock()
        self._retry_s = RETRY_S

    def run(self) -> None:
        """Go on until told to stop."""
        work = self._settings.folders.work
        work.mkdir(parents=True, exist_ok=True)
        for half_written in work.glob(".*.tmp"):
            half_written.unlink(missing_ok=True)
        self._registry.clean()
        while not self._stopping.is_set():
            if not self.step():
                self._stopping.wait(POLL_S)

    def step(self) -> bool:
        """Run a cycle if one is open or due.

        Returns:
            Whether there was one.
        """
        try:
            plan = self._of_this_log(self._unsettled()) or self._due()
            if plan is None:
                return False
            self._run(plan)
        except EXPECTED as exc:
            number = self._n_done() + 1
            self._open_plan.unlink(missing_ok=True)
            self._report(CycleEvent(state="failed", cycle=number, detail=f"{type(exc).__name__}: {exc}"))
            self._stopping.wait(self._retry_s)
            self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)
        return True

    def _run(self, plan: Plan) -> None:
        plan = self._counted(plan)
        what = "first training" if plan.parent is None else f"continues {plan.parent}"
        self._report(CycleEvent(state="started", cycle=plan.number, detail=what, n_events=plan.n_fresh))
        cycle = Cycle(self._settings, plan, self._report)
        outcome = cycle.run(self._stopping)
        write_durably(self._last_plan, msgspec.json.encode(plan))
        self._close(cycle)
        self._idle_since, self._retry_s = self._clock(), RETRY_S
        self._report(outcome)

    def _unsettled(self) -> Plan | None:
        """The open plan, unless a kill came after it was done and before it was closed."""
        plan = _read_plan(self._open_plan)
        if plan is None or msgspec.structs.replace(plan, n_starts=0) != _read_plan(self._last_plan):
            return plan
        self._close(Cycle(self._settings, plan, self._report))
        return None

    def _close(self, cycle: Cycle) -> None:
        cycle.forget()
        self._open_plan.unlink()

    def _counted(self, plan: Plan) -> Plan:
        """The plan as it was made, after this start of it is written down."""
        if plan.n_starts == MAX_STARTS:
            raise TrainerLost(
                f"cycle {plan.number} was started {plan.n_starts} times and its trainer never lived to the end of it; "
                "what it died of stands in the log of its process, or in the system's where memory ran out"
            )
        started = msgspec.structs.replace(plan, n_starts=plan.n_starts + 1)
        write_durably(self._open_plan, msgspec.json.encode(started))
        return msgspec.structs.replace(plan, n_starts=0)

    def _due(self) -> Plan | None:
        """The next plan, if enough is fresh or enough time has passed."""
        last = self._of_this_log(_read_plan(self._last_plan))
        offsets = read_manifest(self._settings.folders.buffer).next.get(EVENTS, {})
        pointer = self._registry.current()
        n_fresh = _n_between(last.offsets if last and pointer else {}, offsets)  # a first model learns from everything
        if not self._is_due(n_fresh, is_first=pointer is None):
            return None
        trained = self._registry.manifest(pointer.version).data.on(self._settings.log_id) if pointer else DataSpan()
        return Plan(
            number=self._n_done() + 1,
            parent=pointer.version if pointer else None,
            offsets=offsets,
            n_fresh=_n_between(trained.offsets, offsets),
            log_id=self._settings.log_id,
        )

    def _of_this_log(self, plan: Plan | None) -> Plan | None:
        """The plan, unless its offsets are of a log that was replaced."""
        return plan if plan is not None and plan.log_id in ("", self._settings.log_id) else None

    def _is_due(self, n_fresh: int, *, is_first: bool) -> bool:
        if is_first:
            return n_fresh >= self._settings.first_events
        waited_s = self._clock() - self._idle_since
        return n_fresh >= self._settings.cycle_events or (
            n_fresh >= self._settings.min_cycle_events and waited_s >= self._settings.cycle_s
        )

    def _n_done(self) -> int:
        last = _read_plan(self._last_plan)
        return last.number if last else 0


def _read_plan(path: Path) -> Plan | None:
    """A plan, or None where there is none or a damaged one (it is made again)."""
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    return None


def _n_between(start: dict[int, int], end: dict[int, int]) -> int:
    return sum(offset - start.get(partition, 0) for partition, offset in end.items())


def _report_line(event: CycleEvent) -> None:
    try:
        sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the parent is gone: no failure of the cycle, which goes on after the next start
        os._exit(0)


def _die_with_parent() -> None:
    """Wait for standard input to close, then end at once: checkpoints make that safe at any moment."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main(arguments: list[str]) -> int:
    """Run the trainer until its standard input closes."""
    if len(arguments) != 1:
        print("usage: python -m consumers.learning.trainer SETTINGS.json", file=sys.stderr)  # noqa: T201
        return 2
    os.nice(NICENESS)
    threading.Thread(target=_die_with_parent, name="parent-watch", daemon=True).start()
    TrainerLoop(read_settings(Path(arguments[0])), _report_line, threading.Event()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
