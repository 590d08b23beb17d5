"""A real service to measure: `freshet serve` as a process, its trainer as another, filled over HTTP.

    benchmark (this process, the clients) -- loopback HTTP -- freshet serve -- segments, registry -- trainer

The synthetic shop fills it: 600 items with text and picture, 30,000 events of 1,500 users. The first model is trained
from them; after that one cycle follows the other, each over the fresh events and all of the past.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from freshet.client import Client
from freshet.settings import ROLES
from stream.events import Interaction
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset

N_PAST = 30_000
N_ALL = 120_000
BATCH = 1_000
READY_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 40.0
POLL_S = 0.05
SETTINGS = {
    "TEXT_TOWER": "tfidf",  # the pretrained one is not on every machine
    "FIRST_FINETUNE_EPOCHS": "6",
    "SEGMENT_S": "1.0",
    "GATE_WAIT_S": "5.0",
    "CYCLE_EVENTS": "200",  # a second of the load, so that one cycle follows the other
    "REPLAY_RATIO": "100",  # and each learns from everything
    "LOG_LEVEL": "warning",
}


class LiveService:
    """Started, filled and with a first model inside the `with`.

    Args:
        folder: An empty folder, on the disk to be measured.
        overrides: Settings by name in capitals, in place of those above.
        apart: Roles that have a process of their own beside the service, as on Kafka they may.
    """

    def __init__(self, folder: Path, overrides: dict[str, str] | None = None, *, apart: Sequence[str] = ()) -> None:
        self.folder = folder
        self.settings = SETTINGS | (overrides or {})
        self._apart = apart
        self.dataset = SyntheticDataset(SyntheticConfig(n_interactions=N_ALL))
        self.url = ""
        self._interactions = self.dataset.interactions()
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        try:
            for role in self._apart:
                self._start(role, [role])
            self._start("service", [role for role in ROLES if role not in self._apart])
            self.url = announced(self._processes["service"])
            self._fill()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        return self._processes["service"].pid

    @property
    def pids(self) -> dict[str, int]:
        """Of all its processes, but the trainer's: the service, and roles that are apart."""
        return {name: process.pid for name, process in self._processes.items()}

    def live_events(self) -> Iterator[Interaction]:
        """The events after the past, in their order, as if they happened now."""
        for event in self._interactions:
            yield msgspec.structs.replace(event, ts_ms=time.time_ns() // 1_000_000)

    def metrics(self, *names: str) -> dict[str, float]:
        """Samples of these metrics as a scrape shows them, with their labels."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines)
            if name.split("{")[0] in names
        }

    def _fill(self) -> None:
        with Client(self.url) as client:
            for row in self.dataset.items():
                client.put_item(row)
            past = islice(self._interactions, N_PAST)
            while batch := list(islice(past, BATCH)):
                client.send(batch)
            wait_for(lambda: client.get("/v1/models")["serving"] is not None, "a first model")

    def _start(self, name: str, roles: Sequence[str]) -> None:
        self._processes[name] = start_service(self.folder, self.settings | {"ROLES": json.dumps(roles)})

    def _stop(self) -> None:
        for process in reversed(self._processes.values()):
            stop_service(process)


class CycleWatch:
    """How much of a time a training cycle was open, and the CPU time that service and trainer took in it.

    Args:
        service: Whose trainer is watched.
    """

    def __init__(self, service: LiveService) -> None:
        self._plan = service.folder / "trainer" / "plan.json"
        self._service = service
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cycle-watch", daemon=True)
        self._seen = [0, 0]

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        self._before = self._cpu_s()
        self._counts_before = self._counts()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        seconds = time.perf_counter() - self._started
        counts = self._counts()
        self.report: dict[str, Any] = {
            "seconds": round(seconds, 1),
            "share_of_time_in_a_cycle": round(self._seen[1] / max(sum(self._seen), 1), 3),
            "counts": {name: value - self._counts_before.get(name, 0.0) for name, value in counts.items()},
            "cores_used": {
                name: round((after - self._before.get(name, 0.0)) / seconds, 2) for name, after in self._cpu_s().items()
            },
        }

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            self._seen[self._plan.exists()] += 1

    def _counts(self) -> dict[str, float]:
        return self._service.metrics("freshet_cycles_total", "freshet_model_swaps_total")

    def _cpu_s(self) -> dict[str, float]:
        """CPU seconds by process so far; nothing where there is no /proc."""
        if not Path("/proc/self/stat").exists():
            return {}
        pids = self._service.pids
        parents = [str(pid) for pid in pids.values()]
        children = [child for child in _pids() if _stat(child)[1:2] and _stat(child)[1] in parents]
        return {
            **{name: _cpu_s(pid) for name, pid in pids.items()},
            "trainer": sum(_cpu_s(child) for child in children),
            "clients": time.process_time(),
        }


def wait_for(is_true: Any, what: str, timeout_s: float = READY_TIMEOUT_S) -> None:  # noqa: ANN401 - any call
    """Wait for a condition.

    Raises:
        TimeoutError: it did not become true.
    """
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {timeout_s:.0f} s")
        time.sleep(POLL_S)


def start_service(folder: Path, settings: Mapping[str, str]) -> subprocess.Popen[str]:
    """`freshet serve` on a free port; `announced` waits for its address.

    Args:
        folder: its data.
        settings: by name in capitals.
    """
    environment = os.environ | {f"FRESHET_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "freshet", "serve", "--port", "0", "--data-dir", str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def stop_service(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, and end it by force at the deadline."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def announced(process: subprocess.Popen[str]) -> str:
    """The address in the line that the service prints when it answers."""
    assert process.stdout is not None
    for line in process.stdout:
        if "freshet serves " in line:  # perhaps behind a line of another thread
            return line.partition("freshet serves ")[2].partition(",")[0]
    raise RuntimeError(f"freshet serve ended with {process.wait()} before it served")


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """State, parent and the rest of /proc/PID/stat; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0
