"""A real Prometheus on the committed settings, with the targets on loopback."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from broker.node import free_port
from monitoring.metrics import Metrics
from stream.workers.metrics import WorkerMetrics
from tests.deploy.tools import DASHBOARD, PROMETHEUS, tool

pytestmark = pytest.mark.slow

DEADLINE_S = 60.0
STOP_S = 20.0
JOBS = ["api", "trainer", "watcher", "worker"]


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, int]]:
    """What each job exports, by port: the real metrics of a process, and of a worker."""
    metrics, worker = Metrics(CollectorRegistry()), WorkerMetrics()
    metrics.consumer_lag_records.labels(role="sequences", topic="events").set(20_000)
    servers = [start_http_server(0, addr="127.0.0.1", registry=one.registry) for one in (metrics, worker)]
    process, worker_port = (server.server_port for server, _ in servers)
    yield {"api": process, "trainer": process, "watcher": process, "worker": worker_port}
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def _settings(targets: dict[str, int]) -> dict[str, Any]:
    """The committed ones, each job's targets replaced and asked every second."""
    settings: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in settings["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    return settings


@pytest.fixture(scope="module")
def api(targets: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Asks Prometheus' API, once it answers."""
    program = tool("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_settings(targets)))
    (folder / "alerts.yml").write_text((PROMETHEUS / "alerts.yml").read_text())
    address = f"127.0.0.1:{free_port()}"
    with _running(program, folder, address):
        yield lambda path, **query: _ask(address, path, query)


@contextmanager
def _running(program: str, folder: Path, address: str) -> Iterator[None]:
    """The process, ready, and ended afterwards."""
    options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder, "web.listen-address": address}
    command = [program, *(f"--{name}={value}" for name, value in options.items())]
    output = folder / "output.log"
    with output.open("wb") as console:
        process = subprocess.Popen(command, cwd=folder, stdout=console, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: _is_ready(address), lambda: output.read_text()[-2_000:])
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)


def wait_for(claim: Callable[[], Any], what: Callable[[], str]) -> Any:
    """The first true value of a claim."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        value = claim()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_S} s: {what()}")


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _ask(address: str, path: str, query: dict[str, str]) -> Any:
    url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        body = json.load(answer)
    assert body["status"] == "success", body
    return body["data"]


def test_every_job_is_scraped(api: Callable[..., Any]) -> None:
    def up() -> bool:
        return sorted(one["metric"]["job"] for one in api("query", query="up == 1")["result"]) == JOBS

    wait_for(up, lambda: json.dumps(api("targets")["activeTargets"])[:2_000])


def test_rules_are_loaded_and_can_be_evaluated(api: Callable[..., Any]) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in api("rules")["groups"] for rule in group["rules"]]

    wait_for(lambda: all(rule["health"] == "ok" for rule in rules()), lambda: json.dumps(rules())[:2_000])
    names = {
        rule["alert"]
        for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    assert {rule["name"] for rule in rules()} == names


def test_lag_is_on_its_way_to_an_alert_within_seconds(api: Callable[..., Any]) -> None:
    def pending() -> set[str]:
        return {alert["labels"]["job"] for alert in api("alerts")["alerts"] if alert["labels"]["alertname"] == "Lag"}

    wait_for(lambda: pending() == {"api", "trainer", "watcher"}, lambda: json.dumps(api("alerts")))


def test_every_query_of_the_dashboard_is_understood(api: Callable[..., Any]) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]

    answers = [api("query", query=query.replace("$__rate_interval", "1m")) for query in queries]

    assert len(answers) > 50
    wait_for(lambda: api("query", query="freshet_users")["result"], lambda: "freshet_users has samples")
