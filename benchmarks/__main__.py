"""All benchmarks that need no data set, one after the other; results go to benchmarks/results.

Those with `kafka` in their names, and `outcomes`, start a real broker; they need Java 17 and Maven.

Command   python -m benchmarks [NAME ...]
Minutes   35; leave the machine alone meanwhile, every result says what the load was before it
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

COMMANDS: dict[str, tuple[str, ...]] = {
    "log": ("log",),
    "store": ("store",),
    "memory": ("memory",),
    "freshness": ("freshness",),
    "new_items": ("new_items",),
    "swaps": ("swaps",),
    "kafka": ("kafka",),
    "freshness_kafka": ("freshness", "--log", "kafka", "--no-cycles"),
    "freshness_kafka_cycles": ("freshness", "--log", "kafka"),
    "freshness_kafka_http": ("freshness", "--log", "kafka", "--no-cycles", "--over-http"),
    "restart_kafka": ("restart",),
    "outcomes": ("outcomes",),
    "restart_embedded": ("restart", "--log", "embedded"),
}
NAMES = tuple(COMMANDS)
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure; keep the results.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(NAMES)}; all by default")
    names = parser.parse_args().names or NAMES
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    RESULTS.mkdir(exist_ok=True)
    codes = [_run(name) for name in names]
    return int(any(codes))  # not the greatest: that of a signal is negative


def _run(name: str) -> int:
    """A process of its own, so that none inherits another's memory."""
    print(f"\n{name}", flush=True)
    module, *options = COMMANDS[name]
    command = [sys.executable, "-m", f"benchmarks.{module}", *options, "--json", str(RESULTS / f"{name}.json")]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
