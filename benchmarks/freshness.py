"""How soon a feed reflects an event, while the model goes on learning beside it.

Command   python -m benchmarks.freshness --json FILE [--dir FOLDER] [--seconds N]
Data      the synthetic shop: 600 items with text and picture, 1,500 users, 30,000 events before, live ones after
Hardware  2 CPU cores; FOLDER must lie on the disk to be measured
Minutes   3
Expected  event accepted (202 received) to a feed asked with its position: p99 at most 50 ms, none stale, at
          200 events/s, each a request, and 25 feeds/s, 20 of them after an event; training cycles back to back

Three processes: this one is the clients, `freshet serve`, and its trainer (see benchmarks.live).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.live import CycleWatch, LiveService
from benchmarks.load import Load, Rates
from benchmarks.machine import keep, machine
from freshet.client import Client

WARM_UP_S = 20.0
N_USERS = 300
ASKED_P99_MS = 50.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how soon a feed reflects an event.")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure; a temporary one by default")
    parser.add_argument("--seconds", type=float, default=90.0, help="measured time (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder, LiveService(Path(folder)) as service:
        keep(measure(service, arguments.seconds), arguments.json)


def measure(service: LiveService, seconds: float) -> dict[str, Any]:
    rates = Rates()
    with Client(service.url) as client:
        users = client.get(f"/v1/users?limit={N_USERS}")["users"]
    with Load(service.url, service.live_events(), users, rates) as load:
        time.sleep(WARM_UP_S)
        before = machine()
        with CycleWatch(service) as cycles:
            since = time.perf_counter()
            time.sleep(seconds)
    return {
        "command": "python -m benchmarks.freshness",
        "machine": before,
        "rates_per_s": asdict(rates),
        "asked": {"accepted_to_feed_p99_ms": ASKED_P99_MS},
        "figures_ms": load.samples.report(since),
        "training": cycles.report,
    }


if __name__ == "__main__":
    main()
