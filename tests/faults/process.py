"""A Freshet service in a process of its own, on its own data folder: started, waited for, killed, its trainer found.

Everything waits on a condition with a deadline, generous enough for a noisy machine.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests import waiting

ROOT = Path(__file__).parents[2]
START_S = 240.0  # importing torch on a busy machine
DEADLINE_S = 120.0
REQUEST_S = 30.0
SMALL = {  # a first training and cycles within seconds
    "TEXT_TOWER": "tfidf",
    "FIRST_EVENTS": "300",
    "CYCLE_EVENTS": "200",
    "CYCLE_S": "5",
    "FIRST_PRETRAIN_EPOCHS": "1",
    "FIRST_FINETUNE_EPOCHS": "1",
    "FIRST_TRAINING_THREADS": "1",
    "GATE_WAIT_S": "1",
    "SEGMENT_S": "0.5",
    "SNAPSHOT_S": "1",
}
SERVES = re.compile(r"freshet serves (\S+), everything is kept in ")  # perhaps behind a line of another thread
wait_until = partial(waiting.wait_until, deadline_s=DEADLINE_S)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's, with exactly these settings of Freshet; names without FRESHET_."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # dozens of starts, and each would compile torch again
    return inherited | {"OMP_NUM_THREADS": "1"} | {f"FRESHET_{name}": value for name, value in settings.items()}


def run_freshet(*arguments: str, settings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "freshet", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(settings or {}),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def pids_with(text: str) -> list[int]:
    """Processes that have `text` in their command line; one that is dead and waits for its parent has none."""
    if not Path("/proc/self/cmdline").exists():  # macOS
        listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True)
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if text in line]
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if text in _text(path)]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it ended meanwhile
        return ""


class ServiceProcess:
    """`freshet serve` on one data folder; may be started again after it ended.

    Args:
        data_dir: The folder.
        settings: Beside SMALL, names without FRESHET_.
        log: Where everything it prints is kept; beside the data folder.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None, *, log: Path | None = None) -> None:
        self.data_dir = data_dir
        self.settings = {**SMALL, **(settings or {})}
        self.log = log or data_dir.with_name(f"{data_dir.name}.log")
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._printed_from = 0
        self._http = httpx.Client()

    def __enter__(self) -> "ServiceProcess":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the service."""
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start it and return at once."""
        self._printed_from = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, "-m", "freshet", "serve", "--data-dir", str(self.data_dir), "--port", "0"]
        with self.log.open("ab") as out:
            self._http = httpx.Client(timeout=REQUEST_S)
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment(self.settings), stdout=out, stderr=subprocess.STDOUT
            )

    def start(self) -> "ServiceProcess":
        """Start it and wait until it answers."""
        self.spawn()
        self.wait_until_serving()
        return self

    def wait_until_serving(self) -> None:
        """Until it printed its address."""
        found = wait_until(self._address, f"an address in {self.log}", deadline_s=START_S)
        self.url = found.group(1)

    def _address(self) -> re.Match[str] | None:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended with {self._process.poll()}:\n{self.printed()}"
        return SERVES.search(self.printed())

    def printed(self) -> str:
        """What it has printed since its last start."""
        with self.log.open("rb") as file:
            file.seek(self._printed_from)
            return file.read().decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL; fine when it is gone already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)
            self._http.close()

    def stop(self) -> int:
        """SIGTERM, as an init system does; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(DEADLINE_S)
        self._http.close()
        return status

    # The trainer ------------------------------------------------------------------------------------------------

    def trainer_pids(self) -> list[int]:
        """Every trainer of this folder, whoever its parent is."""
        return pids_with(f"consumers.learning.trainer {self.data_dir}/trainer/settings.json")

    def kill_trainer(self) -> None:
        """SIGKILL the trainer alone."""
        for pid in self.trainer_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    # HTTP -------------------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """One request, whatever it answers."""
        return self._http.request(method, f"{self.url}{path}", **arguments)

    def get(self, path: str) -> Any:
        """The JSON of an answer that must be 200."""
        response = self.request("GET", path)
        assert response.status_code == httpx.codes.OK, response.text
        return response.json()

    def send(self, *events: dict[str, Any]) -> httpx.Response:
        """Post events."""
        return self.request("POST", "/v1/events", json={"events": list(events)})

    def reasons(self) -> dict[str, str]:
        """What keeps it from being ready."""
        reasons: dict[str, str] = self.request("GET", "/readyz").json()["reasons"]
        return reasons

    def wait_until_ready(self) -> None:
        """Until /readyz says ok."""
        wait_until(lambda: not self.reasons(), f"ready; see {self.log}")

    def wait_for_model(self) -> str:
        """Until a model answers; its version."""
        version: str = wait_until(lambda: self.get("/v1/models")["serving"], f"a model; see {self.log}")
        return version
