"""Commands, environments and health checks of docker-compose.yml, as processes on this machine and a real broker."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.cluster import Cluster
from broker.node import free_port
from tests.deploy.tools import composed

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

INGEST, READ = "ingest-0123456789", "read-0123456789ab"
SECRETS = {"FRESHET_API_KEYS": f'{{"{INGEST}": "ingest", "{READ}": "read"}}', "GRAFANA_PASSWORD": "a-password"}
NAMES = ("api", "worker", "trainer", "watcher")
START_S = 180.0  # four times torch on a busy machine
STOP_S = 60.0  # stop_grace_period
BESIDE_PYTHON = Path(sys.executable).parent


@dataclass
class Started:
    """One service's process and where it listens."""

    process: "subprocess.Popen[bytes]"
    url: str
    check: list[str]
    output: Path

    def is_healthy(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()[-3_000:]
        return subprocess.run(self.check, capture_output=True, timeout=30, check=False).returncode == 0


def _started(service: dict[str, Any], folder: Path, *, log: str, name: str) -> Started:
    """The service, with its container's places and names replaced by this machine's."""
    port = free_port()
    own_port = "8001" if name == "worker" else "8000"
    places = {"/data": str(folder / "data"), "/state": str(folder / "state"), "0.0.0.0": "127.0.0.1"}
    given = {key: str(value) for key, value in service["environment"].items()}
    environment = {key: places.get(value, value) for key, value in given.items()} | {"FRESHET_LOG": log}
    environment["FRESHET_METRICS_PORT" if name == "worker" else "FRESHET_PORT"] = str(port)
    if name != "worker":
        environment |= {"FRESHET_DATA_DIR": places["/data"], "FRESHET_TEXT_TOWER": "tfidf"}
    surroundings = {
        "PATH": f"{BESIDE_PYTHON}:{os.environ['PATH']}",
        "HOME": str(folder),
        "HOSTNAME": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    command = [part.replace("$$", "$").replace(f":{own_port}", f":{port}") for part in service["command"]]
    output = folder / f"{name}.log"
    with output.open("wb") as console:
        process = subprocess.Popen(
            command, cwd=folder, env=surroundings | environment, stdout=console, stderr=subprocess.STDOUT
        )
    test = [part.replace(f":{own_port}", f":{port}") for part in service["healthcheck"]["test"][1:]]
    return Started(process, f"http://127.0.0.1:{port}", [str(BESIDE_PYTHON / test[0]), *test[1:]], output)


@pytest.fixture
def running(broker: Cluster, tmp_path: Path) -> Iterator[dict[str, Started]]:
    services = composed(tmp_path, SECRETS)
    log = f"kafka://{broker.addresses}/deploy."
    started = {name: _started(services[name], tmp_path, log=log, name=name) for name in NAMES}
    try:
        deadline = time.monotonic() + START_S
        for one in started.values():
            while not one.is_healthy():
                assert time.monotonic() < deadline, one.output.read_text()[-3_000:]
                time.sleep(0.2)
        yield started
    finally:
        for one in started.values():
            one.process.kill()
            one.process.wait(STOP_S)


def test_services_become_healthy_answer_with_keys_are_scraped_and_stop_when_asked(
    running: dict[str, Started],
) -> None:
    with httpx.Client(base_url=running["api"].url, timeout=30) as http:
        event = {"user_id": "ada", "item_id": "mug"}
        assert http.post("/v1/events", json=event).status_code == 401
        assert http.post("/v1/events", json=event, headers={"X-API-Key": READ}).status_code == 403
        sent = http.post("/v1/events", json=event, headers={"X-API-Key": INGEST})
        assert sent.status_code == 202, sent.text
        after = {"after": sent.json()["position"], "timeout_ms": 10_000}
        feed = http.get("/v1/feeds/ada", params=after, headers={"X-API-Key": READ})
        assert feed.status_code == 200, feed.text
        assert (feed.json()["stale"], feed.json()["degraded"]) == (False, "no_model")
    for name, one in running.items():
        text = httpx.get(f"{one.url}/metrics", timeout=30).text
        assert ("freshet_worker_events_total" if name == "worker" else "freshet_consumer_lag_records") in text

    for one in running.values():
        one.process.terminate()

    assert {name: one.process.wait(STOP_S) for name, one in running.items()} == dict.fromkeys(NAMES, 0)
