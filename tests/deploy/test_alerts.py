"""Prometheus' settings and alerts, checked by its own tool."""

from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from monitoring.metrics import Metrics
from stream.workers.metrics import WorkerMetrics
from tests.deploy.tools import COMPOSE, PROMETHEUS, ROOT, run, tool

RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
TESTS = ROOT / "tests" / "deploy" / "alerts.test.yml"


def test_settings_and_alerts_are_valid() -> None:
    done = run([tool("promtool", "prometheus"), "check", "config", str(PROMETHEUS / "prometheus.yml")])

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(RULES)} rules found" in done.stdout


def test_alerts_are_raised_when_they_should_be_and_not_otherwise() -> None:
    done = run([tool("promtool", "prometheus"), "test", "rules", str(TESTS)])

    assert done.returncode == 0, done.stdout + done.stderr


def test_what_alerts_count_begins_at_zero_so_that_the_first_is_seen() -> None:
    process, worker = CollectorRegistry(), WorkerMetrics().registry
    Metrics(process)

    assert process.get_sample_value("freshet_cycles_total", {"result": "failed"}) == 0.0
    for topic in ("events", "items", "exposures"):
        assert process.get_sample_value("freshet_dead_letters_total", {"topic": topic}) == 0.0
    for topic in ("events", "exposures"):
        labels = {"topic": topic, "result": "rejected"}
        assert worker.get_sample_value("freshet_worker_events_total", labels) == 0.0


def test_every_alert_says_how_soon_and_what_is_wrong() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]


def test_runbook_says_what_to_do_about_every_alert() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    listed = runbook.split("## Alerts")[1].split("\n## ")[0]

    assert [rule["alert"] for rule in RULES if f"| `{rule['alert']}` |" not in listed] == []


def test_every_freshet_service_is_scraped() -> None:
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    asked = {name: job["dns_sd_configs"][0]["port"] for job in jobs for name in job["dns_sd_configs"][0]["names"]}
    services = yaml.safe_load(COMPOSE.read_text())["services"]

    assert asked == {"api": 8000, "replica": 8000, "worker": 8001, "trainer": 8000, "watcher": 8000}
    assert set(asked) == {name for name in services if name not in ("kafka", "prometheus", "grafana")}
