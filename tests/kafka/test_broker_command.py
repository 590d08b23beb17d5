"""`python -m broker` where nothing is started: what it finds running, and what it ends."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.cluster import Cluster
from broker.jars import POM, BrokerError
from broker.node import Node, NodeSettings, end_processes, free_port, is_kafka
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SLEEP = "import time; time.sleep(60)"


def process(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLEEP, *arguments])


@pytest.fixture
def broker() -> Iterator[subprocess.Popen[bytes]]:
    """A process that calls itself one."""
    started = process("kafka.Kafka")
    yield started
    started.kill()
    started.wait(20)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process of another program."""
    started = process()
    yield started
    started.kill()
    started.wait(20)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "broker", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def launch(folder: Path, *arguments: str, path: Path) -> subprocess.Popen[bytes]:
    """The command, not waited for, with what `path` holds in place of Java."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": str(path)}
    return subprocess.Popen([sys.executable, "-m", "broker", *arguments], cwd=folder, env=environment)


def note(folder: Path, addresses: str, *pids: int) -> None:
    (folder / ".kafka").mkdir()
    (folder / ".kafka" / "running.json").write_text(json.dumps({"addresses": addresses, "pids": pids}))


def test_what_has_the_id_of_a_broker_that_is_gone_is_left_alone(
    broker: subprocess.Popen[bytes], other: subprocess.Popen[bytes]
) -> None:
    assert end_processes([other.pid, broker.pid]) == []  # nobody waits for it: it has ended, and is not buried
    assert other.poll() is None
    assert broker.wait(20) != 0


@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps here")
def test_without_proc_a_broker_is_known_by_its_command_too(
    broker: subprocess.Popen[bytes], other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.node.PROC", Path("/nowhere"))
    assert (is_kafka(broker.pid), is_kafka(other.pid)) == (True, False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert not is_kafka(broker.pid)  # not known: left alone


def test_start_says_what_runs_already(broker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    note(tmp_path, "127.0.0.1:9092", broker.pid)
    done = command(tmp_path, "start")
    assert (done.returncode, done.stdout) == (0, "Kafka already runs at kafka://127.0.0.1:9092\n")


def test_start_of_other_brokers_than_those_that_run_is_refused(broker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    note(tmp_path, "127.0.0.1:9092", broker.pid)
    done = command(tmp_path, "start", "--nodes", "3")
    assert done.returncode == 1
    assert done.stderr == (
        "broker: 1 of 1 brokers run at kafka://127.0.0.1:9092, and "
        "kafka://127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094 is asked for; `make kafka-stop` ends them\n"
    )


def test_start_where_some_brokers_have_ended_is_refused(
    broker: subprocess.Popen[bytes], other: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    note(tmp_path, "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094", broker.pid, other.pid, other.pid)
    done = command(tmp_path, "start", "--nodes", "3")
    assert (done.returncode, done.stderr[:26]) == (1, "broker: 1 of 3 brokers run")


@pytest.mark.parametrize("action", ["start", "stop"])
@pytest.mark.parametrize("torn", ['{"addresses": "127.0.0.1:90', "", '{"pids": [1]}', "[]"])
def test_a_torn_note_of_who_runs_says_what_to_do(tmp_path: Path, action: str, torn: str) -> None:
    (tmp_path / ".kafka").mkdir()
    (tmp_path / ".kafka" / "running.json").write_text(torn)
    done = command(tmp_path, action)
    assert done.returncode == 1
    assert done.stderr.startswith("broker: .kafka/running.json cannot be read: ")
    assert done.stderr.endswith("; end what `pgrep -f kafka.Kafka` finds, and remove the file\n")


def java_that_never_answers(folder: Path) -> Path:
    """A folder with a `java` that formats at once, and as a broker sleeps; and libraries for it."""
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!{sys.executable}\nimport sys, time\n'kafka.Kafka' in sys.argv and time.sleep(60)\n")
    java.chmod(0o755)
    (folder / ".kafka" / f"jars-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}").mkdir(parents=True)
    return java.parent


def test_brokers_whose_start_was_killed_can_be_stopped(tmp_path: Path) -> None:
    running = tmp_path / ".kafka" / "running.json"
    starting = launch(tmp_path, "start", "--port", str(free_port()), path=java_that_never_answers(tmp_path))
    try:
        wait_until(running.exists, "who runs is noted before it answers", 20.0)
    finally:
        starting.kill()
        starting.wait(20)

    [pid] = json.loads(running.read_text())["pids"]
    assert is_kafka(pid)
    assert command(tmp_path, "stop").stdout == "Kafka stopped\n"
    assert not is_kafka(pid)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "--port 70000: 1 to 65535 are possible"),
        (["--port", "0"], "--port 0: 1 to 65535 are possible"),
        (["--port", "65534", "--nodes", "3"], "--port 65534: 1 to 65533 are possible, each further broker has"),
    ],
)
def test_port_that_is_none_is_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = command(tmp_path, "start", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"broker: {said}")
    assert done.stderr.count("\n") == 1


def test_tool_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(java_that_never_answers(tmp_path)))
    monkeypatch.setattr("broker.node.TOOL_TIMEOUT_S", 0.0)
    node = Node(NodeSettings(1, {1: free_port()}, {1: free_port()}), tmp_path / "node", tmp_path)
    with pytest.raises(BrokerError, match=r"kafka\.tools\.StorageTool did not end within 0 s"):
        node.start()


def test_where_one_broker_cannot_start_none_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(java_that_never_answers(tmp_path)))
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        ports = [free_port(), taken.getsockname()[1]]
        cluster = Cluster(tmp_path / "kafka", cache=tmp_path / ".kafka", ports=ports)
        with pytest.raises(BrokerError, match=f"port {ports[1]} is taken"), cluster:
            pytest.fail("both run")
    assert not any(node.is_running for node in cluster.nodes)


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    java_that_never_answers(tmp_path)
    (tmp_path / ".kafka" / "nodes-1").write_text("a file")
    done = command(tmp_path, "start", "--port", str(free_port()))
    assert done.returncode == 1
    assert done.stderr.startswith("broker: [Errno ")
    assert done.stderr.count("\n") == 1
