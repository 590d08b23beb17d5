"""One Kafka node: its settings, its folder, its Java process."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from broker.jars import HERE, BrokerError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
TOOL_TIMEOUT_S = 60.0
HOST = "127.0.0.1"
PROC = Path("/proc")
CLUSTER_ID = "ZnJlc2hldC1icm9rZXItMQ"  # 16 bytes in base64, as Kafka wants it


@dataclass(frozen=True)
class NodeSettings:
    """One node of a cluster on loopback.

    Attributes:
        node_id: from 1.
        ports: for clients, by node id.
        controller_ports: between nodes, by node id.
        properties: further server properties; they win.
        heap_mb: of the Java process.
    """

    node_id: int
    ports: Mapping[int, int]
    controller_ports: Mapping[int, int]
    properties: Mapping[str, str] = field(default_factory=dict)
    heap_mb: int = 512

    def server_properties(self, folder: Path) -> dict[str, str]:
        """The node's `server.properties`."""
        n_nodes = len(self.ports)
        voters = ",".join(f"{node_id}@{HOST}:{port}" for node_id, port in self.controller_ports.items())
        replicas = str(min(3, n_nodes))
        in_sync = str(min(2, n_nodes))
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://{HOST}:{self.ports[self.node_id]},"
            f"CONTROLLER://{HOST}:{self.controller_ports[self.node_id]}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.ports[self.node_id]}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(folder / "data"),
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "2",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "log.retention.check.interval.ms": "60000",
            **self.properties,
        }


class Node:
    """A node's process, started, stopped, killed and started again on the same data."""

    def __init__(self, settings: NodeSettings, folder: Path, jars: Path) -> None:
        self.settings = settings
        self.folder = folder
        self._jars = jars
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.settings.ports[self.settings.node_id]}"

    @property
    def pid(self) -> int:
        """Of the running process.

        Raises:
            BrokerError: it was not started here.
        """
        if self._process is None:
            raise BrokerError(f"node {self.settings.node_id} was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Format the folder if it is new, and start the process; `wait` for its answer.

        Raises:
            BrokerError: the port is taken, or formatting failed.
        """
        port = self.settings.ports[self.settings.node_id]
        if is_answering(HOST, port):
            raise BrokerError(f"port {port} is taken; stop what listens there, or name another port")
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        lines = [f"{name}={value}\n" for name, value in self.settings.server_properties(self.folder).items()]
        properties.write_text("".join(lines), encoding="utf-8")
        if not (self.folder / "data" / "meta.properties").exists():
            self._run_tool("kafka.tools.StorageTool", ["format", "-t", CLUSTER_ID, "-c", str(properties)])
        with (self.folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", [str(properties)]),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Until clients are answered.

        Raises:
            BrokerError: the process ended, or the time is up.
        """
        deadline = time.monotonic() + timeout_s
        while not is_answering(HOST, self.settings.ports[self.settings.node_id]):
            if self._process is not None and self._process.poll() is not None:
                raise BrokerError(f"Kafka ended with status {self._process.returncode}: {self._last_lines()}")
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka does not answer at {self.address} after {timeout_s} s: {self._last_lines()}")
            time.sleep(0.05)

    def ask_to_stop(self) -> None:
        """Let the process end by itself."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask the process to end, and end it by force at the deadline."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def _java(self, main: str, arguments: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        heap = f"{self.settings.heap_mb}m"
        logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
        return ["java", f"-Xms{heap}", f"-Xmx{heap}", logging, *options, "-cp", f"{self._jars}/*", main, *arguments]

    def _run_tool(self, main: str, arguments: Sequence[str]) -> None:
        try:
            done = subprocess.run(
                self._java(main, arguments), capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise BrokerError(f"{main} did not end within {TOOL_TIMEOUT_S:g} s") from exc
        if done.returncode:
            raise BrokerError(
                f"{main} failed with status {done.returncode}: {done.stdout[-500:]}{done.stderr[-1_000:]}"
            )

    def _last_lines(self) -> str:
        console = self.folder / "console.log"
        return console.read_text(encoding="utf-8", errors="replace")[-1_500:] if console.exists() else "no output"


def is_answering(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections there."""
    try:
        with closing(socket.create_connection((host, port), timeout_s)):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A port that nothing listens on now."""
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def end_processes(pids: Sequence[int], timeout_s: float = STOP_TIMEOUT_S) -> list[int]:
    """Ask brokers that another command started to end, all at once: the last one alone could agree with nobody.

    Args:
        pids: theirs; one that is another program's by now is left alone.
        timeout_s: for all of them.

    Returns:
        Those that are still there at the deadline.
    """
    left = [pid for pid in pids if is_kafka(pid)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [pid for pid in left if is_kafka(pid)]
    return left


def is_kafka(pid: int) -> bool:
    """Whether the process is there, and a broker: ids are used again, and who has ended may not be buried yet."""
    try:
        os.kill(pid, 0)
        return b"kafka.Kafka" in _command(pid)
    except (OSError, subprocess.TimeoutExpired):
        return False


def _command(pid: int) -> bytes:
    if PROC.exists():
        return (PROC / str(pid) / "cmdline").read_bytes()
    told = subprocess.run(  # macOS has no /proc
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, timeout=TOOL_TIMEOUT_S, check=False
    )
    return told.stdout
