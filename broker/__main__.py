"""`make kafka`, `make kafka-stop`, `make kafka-cluster`: a broker that stays after the command.

python -m broker start [--nodes 3] [--port 9092]
python -m broker stop
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from broker.cluster import Cluster
from broker.jars import BrokerError
from broker.node import HOST, Node, end_processes, is_kafka
from models.durable import write_durably

FOLDER = Path(".kafka")  # ignored by git; data, libraries and who runs
RUNNING = FOLDER / "running.json"
MAX_PORT = 65_535


class Running(NamedTuple):
    """What a start has left: RUNNING's content."""

    addresses: str  # of the brokers, as clients want them
    pids: list[int]


def main() -> int:
    """Start or stop.

    Returns:
        Exit status; 1 when the broker does not come up, or does not end.
    """
    parser = argparse.ArgumentParser(prog="broker", description="A real Kafka on loopback, without Docker.")
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 3), help="brokers (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9092, help="of the first broker (default: %(default)s)")
    options = parser.parse_args()
    try:
        return _start(options.nodes, options.port) if options.action == "start" else _stop()
    except (BrokerError, OSError) as exc:
        print(f"broker: {exc}", file=sys.stderr)
        return 1


def _start(n_nodes: int, port: int) -> int:
    highest = MAX_PORT - n_nodes + 1
    if not 1 <= port <= highest:
        others = ", each further broker has the next" if n_nodes > 1 else ""
        raise BrokerError(f"--port {port}: 1 to {highest} are possible{others}")
    ports = [port + i for i in range(n_nodes)]
    running = _running()
    if running:
        wanted = ",".join(f"{HOST}:{port}" for port in ports)
        if running.addresses != wanted or not all(map(is_kafka, running.pids)):
            n_alive = sum(map(is_kafka, running.pids))
            raise BrokerError(
                f"{n_alive} of {len(running.pids)} brokers run at kafka://{running.addresses}, and kafka://{wanted} is "
                "asked for; `make kafka-stop` ends them"
            )
        print(f"Kafka already runs at kafka://{running.addresses}")
        return 0
    cluster = Cluster(FOLDER / f"nodes-{n_nodes}", cache=FOLDER, ports=ports)
    cluster.start(after_each=_note)
    print(f"Kafka answers at kafka://{cluster.addresses}; `make kafka-stop` ends it")
    return 0


def _note(started: Sequence[Node]) -> None:
    """Keep who runs, so that `stop` finds them, even where this command is killed before they answer."""
    running = Running(",".join(node.address for node in started), [node.pid for node in started])
    write_durably(RUNNING, json.dumps(running._asdict()).encode())


def _stop() -> int:
    running = _running()
    if not running:
        print("no Kafka of ours runs here")
        return 0
    stuck = end_processes(running.pids)
    if stuck:
        raise BrokerError(f"processes {stuck} have not ended; look into {FOLDER}/nodes-*/node-*/console.log")
    RUNNING.unlink()
    print("Kafka stopped")
    return 0


def _running() -> Running | None:
    """What an earlier start left behind, while any of it is alive.

    Raises:
        BrokerError: what it noted cannot be read.
    """
    if not RUNNING.exists():
        return None
    try:
        running = Running(**json.loads(RUNNING.read_text()))
    except (ValueError, TypeError) as exc:
        raise BrokerError(
            f"{RUNNING} cannot be read: {exc}; end what `pgrep -f kafka.Kafka` finds, and remove the file"
        ) from exc
    return running if any(map(is_kafka, running.pids)) else None


if __name__ == "__main__":
    sys.exit(main())
