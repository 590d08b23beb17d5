"""A user's newest 50 distinct events, kept with Quix Streams: what `benchmarks.kafka` is compared with.

Run by `benchmarks.kafka` with the Python of an environment that has quixstreams (of ours, only `benchmarks.digests`):

    python -m benchmarks.quix_sequences SERVER TOPIC N_EVENTS FOLDER [--changelog]

The same update as `stream.windows.ring`, written as its documentation shows state: `state.get`, change, `state.set`,
per event, in RocksDB. Quix's own defaults: JSON by orjson, a checkpoint every 5 s; with --changelog also its topics.
Prints one line of JSON. The clock runs from the first event handled to the last; what the last checkpoint takes beyond
that is reported beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from bisect import bisect_left
from hashlib import blake2b
from pathlib import Path
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found,unused-ignore]

from benchmarks.digests import digest_of

LENGTH = 50
TIMEOUT_S = 30.0  # without an event


class Sequences:
    """Applies events to the state, and times it."""

    def __init__(self) -> None:
        self.started_s: float | None = None
        self.ended_s = self.started_cpu_s = 0.0
        self.n_events = 0
        self.users: dict[str, list[list[Any]]] = {}

    def apply(self, event: dict[str, Any], state: Any) -> None:  # noqa: ANN401 - another program's
        """Put one event into its user's ring."""
        if self.started_s is None:
            self.started_s, self.started_cpu_s = time.perf_counter(), time.process_time()
        ring = state.get("ring", [])
        hashed = blake2b(event["event_id"].encode(), digest_size=8).digest()  # 64 bits, as Freshet keeps: less to store
        entry = [event["ts_ms"], int.from_bytes(hashed, "little"), event["item_id"], event["kind"]]
        at = bisect_left(ring, entry)
        if ring[at : at + 1] != [entry] and (at or len(ring) < LENGTH):
            ring.insert(at, entry)
            del ring[:-LENGTH]
            state.set("ring", ring)
        self.users[event["user_id"]] = ring
        self.n_events += 1
        self.ended_s = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description="Sequences with Quix Streams.")
    parser.add_argument("server")
    parser.add_argument("topic")
    parser.add_argument("n_events", type=int)
    parser.add_argument("folder", type=Path, help="of the state, empty")
    parser.add_argument("--changelog", action="store_true", help="write changelog topics")
    arguments = parser.parse_args()
    app = Application(
        broker_address=arguments.server,
        consumer_group=f"quix-{arguments.folder.name}",
        auto_offset_reset="earliest",
        state_dir=arguments.folder,
        use_changelog_topics=arguments.changelog,
        loglevel="ERROR",
    )
    sequences = Sequences()
    events = app.dataframe(app.topic(arguments.topic, key_deserializer="str", value_deserializer="json"))
    events.update(sequences.apply, stateful=True)
    app.run(count=arguments.n_events, timeout=TIMEOUT_S, collect=False)
    closed_s = time.perf_counter() - sequences.ended_s
    seconds = sequences.ended_s - (sequences.started_s or 0.0)
    print(
        json.dumps(
            {
                "n_events": sequences.n_events,
                "seconds": seconds,
                "last_checkpoint_s": closed_s,
                "cpu_s": time.process_time() - sequences.started_cpu_s,
                "digest": digest_of([user, [entry[2] for entry in ring]] for user, ring in sequences.users.items()),
            }
        )
    )


if __name__ == "__main__":
    main()
