"""What holds for every test: one thread for torch, so that small tests do not fight over the cores; one broker."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.cluster import Cluster
from broker.jars import jars, missing_tools
from tests.skipping import skip_unless_ci

# tests of a GPU ask for one: CUDA_VISIBLE_DEVICES=0 pytest -k gpu
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

CACHE = Path(__file__).parent.parent / ".kafka"
QUICK = {  # what a test waits for comes soon; nothing is compacted before a test asks for it
    "log.cleaner.backoff.ms": "100",
    "log.cleaner.min.compaction.lag.ms": str(2**62),
    "log.retention.check.interval.ms": "100",
    "log.initial.task.delay.ms": "100",
}


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    import torch  # noqa: PLC0415 - costs seconds, and not while tests are collected

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def broker_jars() -> Path:
    """Where the broker's libraries are; skips where no broker can be had."""
    missing = missing_tools()
    if missing:
        skip_unless_ci(f"no {' and no '.join(missing)} here: a real broker needs Java 17 and Maven")
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "jars.lock").open("w") as lock:  # several processes may run tests
        fcntl.flock(lock, fcntl.LOCK_EX)
        jars(CACHE)
    return CACHE


@pytest.fixture(scope="session")
def broker(broker_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real broker for all tests of a session; each takes a prefix of its own."""
    with Cluster(tmp_path_factory.mktemp("kafka"), cache=broker_jars, properties=QUICK) as cluster:
        yield cluster


@pytest.fixture
def disk_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[str]]:
    """What was forced to the disk or renamed, in order, by the names that lie in a folder now."""
    steps: list[tuple[str, int]] = []
    fsync, rename = os.fsync, os.rename

    def force(fd: int) -> None:
        fsync(fd)
        steps.append(("force", os.fstat(fd).st_ino))

    def give_name(source: Path, target: Path) -> None:
        rename(source, target)
        steps.append(("rename", target.stat().st_ino))

    def named(root: Path) -> list[str]:
        names = {path.stat().st_ino: path.relative_to(root) for path in (root, *root.rglob("*"))}
        return [f"{step} {names[inode]}" for step, inode in steps]

    monkeypatch.delattr(fcntl, "F_FULLFSYNC", raising=False)  # macOS has more than fsync
    monkeypatch.setattr(os, "fsync", force)
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, give_name)
    return named
