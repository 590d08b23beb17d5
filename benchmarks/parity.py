"""The same real events through the embedded log, kafka-python and Faust: the same sequences, outcomes and counts.

Command   python -m benchmarks.parity --data PATH --json FILE [--dir FOLDER] [--events N]
Data      PATH is any data set that `freshet demo` takes; exposures are made up around its events by a seed
Hardware  2 CPU cores; Java 17 and Maven
Minutes   8 for MovieLens-1M: its first 50,000 likes, and then all 575,281, whose last day was a quiet one
Expected  equal digests, bit for bit, of every user's sequence, of every outcome, of trending items with their
          counts and of the arms' counts; nothing too late or beyond a user's bounds on any path

For the first two everything is on the topics before anybody reads; the two Faust workers are started first, and the
records published while they run. Each path has topics of its own, and what it made is read back from where others
would read it: outcomes and counts from their topics, and of Faust the sequences from the changelog of its table.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.brokers import opened_log, started_broker
from benchmarks.digests import digest_of
from benchmarks.machine import keep, machine
from benchmarks.parity_data import Told, read_events, told
from benchmarks.parity_paths import State, in_process, publish, with_workers
from stream.embedded.log import EmbeddedLog
from stream.topics import EVENTS, topics

BUSY_EVENTS = 50_000  # of MovieLens-1M: they end in a busy week, with hundreds of items in the last day's counts
PARTS = ("sequences", "outcomes", "trending", "arms")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the ways to run the same cores.")
    parser.add_argument("--data", type=Path, required=True, help="data set")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure; a temporary one by default")
    parser.add_argument("--events", type=int, help="the first so many; all by default")
    arguments = parser.parse_args()
    before = machine()
    sizes = [arguments.events] if arguments.events else [BUSY_EVENTS, None]
    runs = [compare(arguments.data, n_events, arguments.dir) for n_events in sizes]
    command = f"python -m benchmarks.parity --data {arguments.data.name}"
    keep({"command": command, "machine": before, "runs": runs}, arguments.json)
    if not all(run["is_same"] for run in runs):
        raise SystemExit("the paths differ, or dropped something; see is_same_by_part and n_dropped")


def compare(data: Path, n_events: int | None, folder: Path | None) -> dict[str, Any]:
    """All paths over the first so many events, or all of them."""
    events = read_events(data, n_events)
    records = told(events, topics()[EVENTS].partitions)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        paths = run(records, Path(temporary))
    is_same_by_part = {part: len({path[part] for path in paths.values()}) == 1 for part in PARTS}
    n_dropped = sum(path["n_dropped"] for path in paths.values())
    return {
        "n_events": len(events),
        "n_exposures": sum(record.topic != EVENTS for record in records),
        "paths": paths,
        "is_same_by_part": is_same_by_part,
        "is_same": all(is_same_by_part.values()) and not n_dropped,
    }


def run(records: list[Told], folder: Path) -> dict[str, dict[str, Any]]:
    """One path after the other."""
    paths = {}
    with closing(EmbeddedLog(folder / "log.sqlite", topics())) as log:
        published_s = publish(log, records)
        paths["embedded"] = shown(in_process(log, folder / "embedded"), published_s)
    with started_broker(folder) as server:
        with opened_log(server, prefix="python-") as log:
            published_s = publish(log, records)
            paths["kafka_python"] = shown(in_process(log, folder / "python"), published_s)
        paths["faust"] = shown(with_workers(server, "faust-", folder, records=records), None)
    return paths


def shown(state: State, published_s: float | None) -> dict[str, Any]:
    """Digests and figures of one path."""
    result = {
        "published_s": round(published_s, 1) if published_s else None,
        "seconds": round(state.seconds, 1),
        "n_users": len(state.sequences),
        "n_outcomes": len(state.outcomes),
        "n_outcomes_sent": state.n_outcomes_sent,
        "n_trending": sum(len(items) for _, items in state.trending.values()),
        "n_dropped": state.n_dropped,
        "sequences": digest_of(state.sequences.items()),
        "outcomes": digest_of(msgspec.to_builtins(outcome) for outcome in state.outcomes.values()),
        "trending": digest_of(state.trending.items()),
        "arms": digest_of(state.arms),
    }
    print(result, flush=True)
    return result


if __name__ == "__main__":
    main()
