"""The dashboard: made by its program, well formed, and of metrics that exist."""

import json
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from monitoring.dashboard import dashboard
from monitoring.metrics import Metrics
from stream.workers.metrics import WorkerMetrics
from tests.deploy.tools import COMPOSE, DASHBOARD, PROMETHEUS, ROOT, metrics_in

PANELS: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
PROVISIONING = ROOT / "monitoring" / "grafana" / "provisioning"


def known_metrics() -> set[str]:
    """What the processes and the workers export."""
    registries = [Metrics(CollectorRegistry()).registry, WorkerMetrics().registry]
    families = [family for registry in registries for family in registry.collect()]
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_file_is_what_the_program_prints() -> None:
    assert json.loads(DASHBOARD.read_text()) == dashboard(), "run `python -m monitoring.dashboard` and keep its output"


def test_every_metric_of_dashboard_and_alerts_exists() -> None:
    queries = [target["expr"] for panel in SHOWN for target in panel["targets"]]
    alerts = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules = [rule["expr"] for group in alerts for rule in group["rules"]]

    asked = metrics_in("\n".join(queries + rules))

    assert len(asked) > 30
    assert asked - known_metrics() == set()


def test_every_metric_is_on_the_dashboard() -> None:
    shown = metrics_in("\n".join(target["expr"] for panel in SHOWN for target in panel["targets"]))
    ours = {name for name in known_metrics() if name.startswith("freshet_")}

    assert ours - shown == set()


def test_metrics_page_names_what_processes_export() -> None:
    page = metrics_in((ROOT / "docs" / "metrics.md").read_text())
    ours = {name for name in known_metrics() if name.startswith("freshet_")}

    assert ours <= page


def test_panels_lie_side_by_side_and_none_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_every_panel_has_a_title_a_unit_and_queries_to_the_provisioned_source() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert [(source["uid"], source["type"]) for source in sources] == [("freshet-prometheus", "prometheus")]

    for panel in SHOWN:
        assert panel["type"] in ("timeseries", "stat")
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in ("none", "s", "percentunit")
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "freshet-prometheus"}


def test_what_can_be_negative_is_not_cut_off_at_zero() -> None:
    uncut = {panel["title"] for panel in SHOWN if "min" not in panel["fieldConfig"]["defaults"]}

    assert uncut == {"Blend: weight by part", "Blend: NDCG@10 above the model's"}


def test_lines_in_seconds_are_shown_in_seconds() -> None:
    for panel in SHOWN:
        for target in panel["targets"]:
            is_time = "_seconds" in target["expr"] and "_count" not in target["expr"]
            assert (panel["fieldConfig"]["defaults"]["unit"] == "s") == is_time, target["expr"]


@pytest.mark.parametrize("place", ["/etc/grafana/dashboards"])
def test_provider_reads_where_compose_mounts_the_dashboards(place: str) -> None:
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "freshet.yml").read_text())["providers"][0]

    assert provider["options"]["path"] == place
    volumes = yaml.safe_load(COMPOSE.read_text())["services"]["grafana"]["volumes"]
    assert f"./monitoring/grafana/dashboards:{place}:ro" in volumes
