"""Events from a real broker to the users' sequences, beside a loop that only polls and beside Quix Streams.

Command   python -m benchmarks.kafka --json FILE [--dir FOLDER] [--rounds N] [--events N]
Data      made here: 400,000 events of 200 bytes, 20,000 users, 3,000 items, 4 partitions, seed 0
Hardware  2 CPU cores, which the broker shares; Java 17 and Maven; for Quix Streams a package index, once
Minutes   4
Expected  Freshet at least 80,000 events/s, 0.35 of the loop that only polls, 1.5 times Quix Streams

One topic, filled before anything is timed. Every reader is a process of its own that reads all of it in a group of its
own; they take turns, and what is reported is the median of the rounds. All keep the same sequences, which is checked.

    bare              kafka-python's poll; records are counted
    freshet           the sequences role in the runner: decode, check, apply, commit, metrics
    quix              the same update with Quix Streams, its state in RocksDB
    quix_changelog    and backed by changelog topics, as is its default
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.brokers import opened_log, started_broker
from benchmarks.log import make_messages, publish_all, timer
from benchmarks.machine import keep, machine
from stream.topics import EVENTS

N_EVENTS = 400_000
ROUNDS = 3
BATCH = 1_000
TIMEOUT_S = 300.0
PREFIX = "benchmark-"
TOPIC = PREFIX + EVENTS
QUIX = "quixstreams==3.28.1"
ENVIRONMENT = Path(".cache/quixstreams")  # never ours: it wants an older pydantic
ASKED = {"events_per_s": 80_000, "ratio_to_bare": 0.35, "ratio_to_quix": 1.5}

Reader = Callable[[str, int], dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure Kafka to sequences.")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure; a temporary one by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of all readers (default: %(default)s)")
    parser.add_argument("--events", type=int, default=N_EVENTS, help="on the topic (default: %(default)s)")
    arguments = parser.parse_args()
    python = quix_python()
    before = machine()
    with started_broker(arguments.dir) as server:
        produced = fill(server, arguments.events)
        runs = measure(server, arguments, python)
    keep(
        {"command": "python -m benchmarks.kafka", "machine": before, "asked": ASKED, **produced, **report(runs)},
        arguments.json,
    )


def fill(server: str, n_events: int) -> dict[str, Any]:
    """Publish everything, until it is durable."""
    messages = make_messages(n_events)
    batches = [messages[i : i + BATCH] for i in range(0, n_events, BATCH)]
    with opened_log(server, prefix=PREFIX) as log, timer() as took_s:
        publish_all(log, batches)
    return {"n_events": n_events, "publish_events_per_s": round(n_events / took_s())}


def measure(server: str, arguments: argparse.Namespace, python: Path) -> dict[str, list[dict[str, Any]]]:
    """The runs of every reader, in turns."""
    ours = [sys.executable, "-m", "benchmarks.kafka_readers"]
    quix = [str(python), "-m", "benchmarks.quix_sequences"]
    runs: dict[str, list[dict[str, Any]]] = {}
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
            commands = {
                "bare": [*ours, "bare", server, TOPIC, str(arguments.events)],
                "freshet": [*ours, "freshet", server, TOPIC, str(arguments.events)],
                "quix": [*quix, server, TOPIC, str(arguments.events), f"{folder}/plain-{number}"],
                "quix_changelog": [
                    *quix,
                    server,
                    TOPIC,
                    str(arguments.events),
                    f"{folder}/changelog-{number}",
                    "--changelog",
                ],
            }
            for name, command in commands.items():
                run = run_reader(command, arguments.events)
                print(
                    f"{name:16} {run['events_per_s']:>10,}/s {run['events_per_core_s']:>10,} a second of core",
                    flush=True,
                )
                runs.setdefault(name, []).append(run)
    return runs


def run_reader(command: list[str], n_events: int) -> dict[str, Any]:
    """One process; its line of JSON.

    Raises:
        RuntimeError: it failed, or did not read everything.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}: {done.stderr[-2_000:]}")
    run: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if run["n_events"] != n_events:
        raise RuntimeError(f"{' '.join(command)} read {run['n_events']} of {n_events} events")
    return run | {
        "events_per_s": round(n_events / run["seconds"]),
        "events_per_core_s": round(n_events / run["cpu_s"]),
    }


def report(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians, ranges, and how Freshet compares.

    Raises:
        AssertionError: the readers came to different sequences.
    """
    digests = {run["digest"] for those in runs.values() for run in those if "digest" in run}
    if len(digests) != 1:
        raise AssertionError(f"sequences differ between the readers or the rounds: {sorted(digests)}")
    rates = {name: [run["events_per_s"] for run in those] for name, those in runs.items()}
    medians = {name: statistics.median(those) for name, those in rates.items()}
    ratios = {
        f"freshet_to_{name}": sorted(round(a / b, 3) for a, b in zip(rates["freshet"], rates[name], strict=True))
        for name in rates
        if name != "freshet"
    }
    return {
        "median_events_per_s": medians,
        "ratios_by_round": ratios,
        "ratio_of_medians": {name: round(medians["freshet"] / medians[name], 3) for name in medians},
        "sequences_digest": digests.pop(),
        "runs": runs,
    }


def quix_python() -> Path:
    """The Python of an environment with Quix Streams, made when it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / QUIX
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", QUIX], check=True)
        stamp.touch()
    return python


if __name__ == "__main__":
    main()
