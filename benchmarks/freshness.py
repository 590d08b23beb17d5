"""How soon a feed reflects an event, while the model goes on learning beside it.

Command   python -m benchmarks.freshness --json FILE [--dir FOLDER] [--seconds N] [--log kafka [--over-http]]
          [--no-cycles]
Data      the synthetic shop: 600 items with text and picture, 1,500 users, 30,000 events before, live ones after
Hardware  2 CPU cores; FOLDER must lie on the disk to be measured; with --log kafka Java 17 and Maven
Minutes   3
Expected  event accepted (202 received) to a feed asked with its position: p99 at most 50 ms, none stale, at
          200 events/s, each a request, and 25 feeds/s, 20 of them after an event; training cycles back to back.
          Through a broker: p99 at most 40 ms at 500 events/s, from before the event is produced

Three processes: this one is the clients, `freshet serve`, and its trainer (see benchmarks.live). With --log kafka a
broker as well, on the same cores; feeds, learning and watching are processes of their own, as docker-compose.yml has
them; and beside the load runs a bare produce-and-poll round trip. Events are produced to the broker, each by itself, by
the clients where a feed follows and by another process where none does; with --over-http all are sent to the service.
--no-cycles leaves out the training after the first model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.brokers import opened_log, started_broker
from benchmarks.live import CycleWatch, LiveService
from benchmarks.load import Load, Rates
from benchmarks.machine import keep, machine
from benchmarks.producers import Producers
from benchmarks.round_trips import RoundTrips
from freshet.client import Client
from stream.kafka.log import KafkaLog

WARM_UP_S = 20.0
N_USERS = 300
ASKED_P99_MS = {"embedded": {"accepted_to_feed": 50.0}, "kafka": {"sent_to_feed": 40.0}}
RATES = {"embedded": Rates(), "kafka": Rates(events=500.0, n_senders=16)}
PREFIX = "freshness-"
N_FOLLOWED = 4  # clients whose events a feed follows: each asks often enough that its connection is not closed as idle
NO_CYCLES = {"CYCLE_EVENTS": "100000000", "CYCLE_S": "1000000", "SEGMENT_S": "10"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how soon a feed reflects an event.")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure; a temporary one by default")
    parser.add_argument("--seconds", type=float, default=90.0, help="measured time (default: %(default)s)")
    parser.add_argument("--log", choices=RATES, default="embedded", help="default: %(default)s")
    parser.add_argument("--over-http", action="store_true", help="with --log kafka: events are sent to the service")
    parser.add_argument("--no-cycles", action="store_true", help="no training after the first model")
    arguments = parser.parse_args()
    settings = NO_CYCLES if arguments.no_cycles else {}
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder, ExitStack() as stack:
        server = stack.enter_context(started_broker(arguments.dir)) if arguments.log == "kafka" else ""
        if server:
            settings = settings | {"LOG": f"kafka://{server}/{PREFIX}"}
        apart = ("learning", "watching") if server else ()
        service = stack.enter_context(LiveService(Path(folder), settings, apart=apart))
        log = None
        if server and not arguments.over_http:
            log = stack.enter_context(opened_log(server, prefix=PREFIX))
        result = measure(service, arguments.seconds, log, server, rates=RATES[arguments.log])
    facts = {"log": arguments.log, "cycles": not arguments.no_cycles, "events_sent_to": "log" if log else "service"}
    keep(result | facts | {"asked_p99_ms": ASKED_P99_MS[arguments.log]}, arguments.json)


def measure(
    service: LiveService, seconds: float, log: KafkaLog | None = None, server: str = "", *, rates: Rates
) -> dict[str, Any]:
    """Load the service; figures of what began after the warm-up.

    Args:
        service: ready.
        seconds: measured time.
        log: events are published here, those that no feed follows by a process apart; sent to the service when None.
        server: a broker for bare round trips beside the load; none when empty.
        rates: of the load.
    """
    bare = RoundTrips(server) if server else None
    events, timed, producers = service.live_events(), rates, None
    if log is not None:
        one_in = round(rates.events / rates.fresh_feeds)
        events = islice(events, 0, None, one_in)
        timed = replace(rates, events=rates.fresh_feeds, n_senders=N_FOLLOWED)
        producers = Producers(server, PREFIX, rate=rates.events - rates.fresh_feeds, one_in=one_in)
    with Client(service.url) as client:
        users = client.get(f"/v1/users?limit={N_USERS}")["users"]
    with (
        producers or nullcontext(),
        Load(service.url, events, users, timed, log) as load,
        bare or nullcontext(),
    ):
        time.sleep(WARM_UP_S)
        before = machine()
        with CycleWatch(service) as cycles:
            since = time.perf_counter()
            time.sleep(seconds)
    return {
        "command": "python -m benchmarks.freshness",
        "machine": before,
        "rates_per_s": asdict(rates),
        "figures_ms": load.samples.report(since),
        "bare_round_trip_ms": bare.samples.report(since) if bare else None,
        "training": cycles.report,
        "producers": producers.report if producers else None,
    }


if __name__ == "__main__":
    main()
