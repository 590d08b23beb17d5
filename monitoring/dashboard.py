"""`python -m monitoring.dashboard` prints the Grafana dashboard: the panels, laid out by rule."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from monitoring.panels import ROWS, Panel

UID = "freshet"
SOURCE = {"type": "prometheus", "uid": "freshet-prometheus"}
SCHEMA_VERSION = 41  # of Grafana 12
COLUMNS = 24


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana reads it from a file."""
    return {
        "uid": UID,
        "title": "Freshet",
        "description": "Made by `python -m monitoring.dashboard`.",
        "tags": ["freshet"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one crosshair through all panels
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": list(_laid_out()),
    }


def _laid_out() -> Iterator[dict[str, Any]]:
    """Rows from the top, panels from the left, each with a number of its own."""
    number, y = 0, 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": _at(0, y, COLUMNS, 1),
        }
        x, y = 0, y + 1
        for panel in panels:
            number += 1
            width, height = panel.size
            if x + width > COLUMNS:
                x, y = 0, y + height
            yield _drawn(panel, number) | {"gridPos": _at(x, y, width, height)}
            x += width
        y += panels[-1].size[1]


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _drawn(panel: Panel, number: int) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
        for place, (query, legend) in enumerate(panel.queries)
    ]
    is_stat = panel.kind == "stat"
    options: dict[str, Any] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if is_stat:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "area"}
    defaults: dict[str, Any] = {"unit": panel.unit} if panel.can_be_negative else {"unit": panel.unit, "min": 0}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
