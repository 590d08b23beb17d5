"""`make kafka`, `make kafka-stop`, `make kafka-cluster`: a broker that stays after the command.

python -m broker start [--nodes 3] [--port 9092]
python -m broker stop
"""

import argparse
import json
import os
import sys
from pathlib import Path

from broker.cluster import Cluster
from broker.jars import BrokerError
from broker.node import end_processes

FOLDER = Path(".kafka")  # ignored by git; data, libraries and who runs
RUNNING = FOLDER / "running.json"


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
    except BrokerError as exc:
        print(f"broker: {exc}", file=sys.stderr)
        return 1


def _start(n_nodes: int, port: int) -> int:
    running = _running()
    if running:
        print(f"Kafka already runs at kafka://{running['addresses']}")
        return 0
    cluster = Cluster(FOLDER / f"nodes-{n_nodes}", cache=FOLDER, ports=[port + i for i in range(n_nodes)])
    try:
        cluster.start()
    except BaseException:
        cluster.stop()
        raise
    RUNNING.write_text(json.dumps({"addresses": cluster.addresses, "pids": [node.pid for node in cluster.nodes]}))
    print(f"Kafka answers at kafka://{cluster.addresses}; `make kafka-stop` ends it")
    return 0


def _stop() -> int:
    running = _running()
    if not running:
        print("no Kafka of ours runs here")
        return 0
    stuck = end_processes(running["pids"])
    if stuck:
        raise BrokerError(f"processes {stuck} have not ended; look into {FOLDER}/nodes-*/node-*/console.log")
    RUNNING.unlink()
    print("Kafka stopped")
    return 0


def _running() -> dict[str, list[int]] | None:
    """What an earlier start left behind, while any of it is alive."""
    if not RUNNING.exists():
        return None
    running: dict[str, list[int]] = json.loads(RUNNING.read_text())
    return running if any(_is_kafka(pid) for pid in running["pids"]) else None


def _is_kafka(pid: int) -> bool:
    """Whether the process is there and ours: ids are used again."""
    try:
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        return not command.parent.exists() or b"kafka.Kafka" in command.read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
