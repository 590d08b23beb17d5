"""Where the repository is, and programs of the system that these tests run."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.skipping import skip_unless_ci

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DASHBOARD = ROOT / "monitoring" / "grafana" / "dashboards" / "freshet.json"
PROMETHEUS = ROOT / "monitoring" / "prometheus"
TIMEOUT_S = 60.0
_METRIC = re.compile(r"\bfreshet_[a-z0-9_]+")
_SERIES = re.compile(r"_(bucket|count|sum)$")


def tool(name: str, package: str) -> str:
    """Its path; skips where it is missing."""
    path = shutil.which(name)
    if path is None:
        skip_unless_ci(f"no {name} on PATH; on Debian: apt-get install --no-install-recommends {package}")
    return path


def run(
    command: list[str], environment: Mapping[str, str] | None = None, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Its outcome, whatever the status."""
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(folder), **(environment or {})}
    return subprocess.run(
        command, env=surroundings, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def composed(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Services as docker-compose understands them, read in a folder away from anybody's .env."""
    shutil.copy(COMPOSE, folder)
    command = [tool("docker-compose", "docker-compose"), "--profile", "scale-out", "config"]
    done = run(command, environment, folder)
    assert done.returncode == 0, done.stderr
    return dict(yaml.safe_load(done.stdout)["services"])


def metrics_in(text: str) -> set[str]:
    """Names of Freshet's metrics in PromQL, series of a histogram under the histogram's."""
    return {_SERIES.sub("", name) for name in _METRIC.findall(text)}
