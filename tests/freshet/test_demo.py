"""The demo as a new user's first minutes: it holds every promise, and a second run goes on where the first stopped."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]
RUN_TIMEOUT_S = 540  # a quiet machine needs 100


def run_check(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    done = subprocess.run(
        [sys.executable, "-m", "freshet", "demo", "--check", "--data-dir", str(folder), "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        env=environment,
        check=False,
    )
    return done, json.loads((folder / "demo-summary.json").read_text(encoding="utf-8"))


def test_demo_holds_its_promises_and_a_second_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    first, summary = run_check(folder)

    assert first.returncode == 0, first.stdout[-3_000:] + first.stderr[-3_000:]
    assert summary["ok"] is True
    assert summary["stream"]["n_past"] == 30_000
    assert summary["stream"]["n_live"] == 8_000
    assert summary["feeds"]["n_failed"] == 0

    second, later = run_check(folder)

    assert second.returncode == 0, second.stdout[-3_000:] + second.stderr[-3_000:]
    assert "Going on from where the last run stopped, 38,000 events into" in second.stdout
    assert later["stream"]["n_live"] == 8_000
    assert min(cycle["cycle"] for cycle in later["cycles"]) > max(cycle["cycle"] for cycle in summary["cycles"])
    assert later["blend"]["feed"]["filtered"]["n"] > 500

    n_live = interrupt(folder)

    assert json.loads((folder / "demo.json").read_text())["place"] >= 46_000 + n_live


def interrupt(folder: Path) -> int:
    """Press Ctrl-C while live events stream in; how many had streamed in by then."""
    command = [sys.executable, "-m", "freshet", "demo", "--data-dir", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        n_live = 0
        while not n_live:
            line = demo.stdout.readline()
            assert line, "the demo ended by itself"
            found = re.search(r"([\d,]+) live events, ", line)
            n_live = int(found[1].replace(",", "")) if found else 0
        demo.send_signal(signal.SIGINT)
        rest = demo.communicate(timeout=RUN_TIMEOUT_S)[0]
    assert demo.returncode == 130, rest
    return n_live


@pytest.mark.kafka
def test_demo_holds_its_promises_through_a_real_broker(tmp_path: Path, broker: Cluster) -> None:
    done, summary = run_check(tmp_path / "data", "--log", f"kafka://{broker.addresses}")

    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    assert summary["ok"] is True
    assert (summary["stream"]["n_live"], summary["stream"]["lag"], summary["feeds"]["n_failed"]) == (8_000, 0, 0)
