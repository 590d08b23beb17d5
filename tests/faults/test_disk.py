"""A disk that is full or read-only: ingest says so and loses nothing, feeds go on, all comes back with the space."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stream.embedded.log import EmbeddedLog
from stream.events import decode_interaction
from stream.topics import EVENTS, topics
from tests.faults.process import SMALL, ServiceProcess, run_freshet, wait_until
from tests.faults.traffic import Event, event, expected_history, picture, put_catalogue, wait_for_history
from tests.skipping import skip_unless_ci

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BATCH = 100
MAX_BATCHES = 400  # of about 20 kB
DISK_MB = 48
NO_TRAINING = {"FIRST_EVENTS": "1000000"}


class Stream:
    """Sends the events in order, in batches, and notes what was acknowledged."""

    def __init__(self, service: ServiceProcess) -> None:
        self.acknowledged: list[Event] = []
        self._service = service

    def next_batch(self) -> list[Event]:
        start = len(self.acknowledged)
        return [event(number) for number in range(start, start + BATCH)]

    def send(self) -> httpx.Response:
        batch = self.next_batch()
        answer = self._service.send(*batch)
        if answer.status_code == httpx.codes.ACCEPTED:
            self.acknowledged += batch
        return answer

    def is_accepted(self) -> bool:
        return self.send().status_code == httpx.codes.ACCEPTED

    def send_until_refused(self) -> httpx.Response:
        for _ in range(MAX_BATCHES):
            answer = self.send()
            if answer.status_code != httpx.codes.ACCEPTED:
                return answer
        raise AssertionError(f"{len(self.acknowledged)} events were accepted on a full disk")


def check_refusal(answer: httpx.Response) -> None:
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert answer.headers["Retry-After"] == "1"
    detail = answer.json()["detail"]
    assert "not confirmed: the log " in detail
    assert (
        "free space or restore rights, then retry; send the same again, with these event_ids it counts once" in detail
    )


def check_log(data_dir: Path, acknowledged: list[Event]) -> None:
    """The log of a service that ended has exactly these, once."""
    log = EmbeddedLog(data_dir / "log.sqlite", topics())
    reader = log.reader(EVENTS, partitions=list(log.ends(EVENTS)))
    found: list[str] = []
    while records := reader.poll(max_records=5_000, timeout_s=0.0):
        found += [decode_interaction(record.value).event_id for record in records]
    reader.close()
    log.close()
    assert sorted(found) == sorted(sent["event_id"] for sent in acknowledged)


def is_root_on_linux() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


def mount(*arguments: str) -> None:
    """Skips where mounts are not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        skip_unless_ci(f"mount {' '.join(arguments)} is not allowed here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    if not is_root_on_linux():
        pytest.skip("a disk of its own needs mount, that is Linux and root")
    path = tmp_path / "disk"
    path.mkdir()
    mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(path))
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Write a file until there is no byte left."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_log_at_its_limit_refuses_events_and_accepts_them_under_a_higher_one(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path / "data", {**NO_TRAINING, "LOG_MAX_MB": "1"}) as service:
        stream = Stream(service)
        put_catalogue(service)
        check_refusal(stream.send_until_refused())
        assert len(stream.acknowledged) > 1_000
        wait_for_history(service, expected_history(stream.acknowledged))
        for number in range(20):
            assert len(service.get(f"/v1/feeds/user-{number}?exclude_seen=false")["items"]) == 20
        check_refusal(stream.send())
        assert service.reasons() == {}

        service.kill()
        service.settings["LOG_MAX_MB"] = "64"
        service.start()
        assert stream.is_accepted()
        wait_for_history(service, expected_history(stream.acknowledged))
        assert service.stop() == 0
    check_log(tmp_path / "data", stream.acknowledged)


def test_full_disk_refuses_events_and_comes_back_when_space_returns(disk: Path) -> None:
    """What it prints goes to the full disk too."""
    with ServiceProcess(disk / "data", {"SEGMENT_S": "3"}, log=disk / "log") as service:
        stream = Stream(service)
        put_catalogue(service)
        assert stream.is_accepted()
        fill(disk / "filler")  # before the batch is in a segment
        check_refusal(stream.send_until_refused())
        wait_until(lambda: "training-buffer-events" in service.reasons(), "the buffer says that it cannot write")
        for number in range(100):
            assert service.get(f"/v1/feeds/user-{number % 40}")["degraded"] in (None, "no_model", "unknown_user")
        check_refusal(stream.send())
        wait_for_history(service, expected_history(stream.acknowledged))

        (disk / "filler").unlink()
        wait_until(stream.is_accepted, "events are accepted again")
        wait_for_history(service, expected_history(stream.acknowledged))
        while len(stream.acknowledged) < 600:
            assert stream.is_accepted()
        service.wait_for_model()
        service.wait_until_ready()
        assert service.stop() == 0
    check_log(disk / "data", stream.acknowledged)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets one process limit another")
def test_disk_that_takes_no_byte_refuses_events_until_it_does(tmp_path: Path) -> None:
    """As a file system that went read-only under a running service; here by a limit on the size of its files."""
    with ServiceProcess(tmp_path / "data", NO_TRAINING) as service:
        stream = Stream(service)
        put_catalogue(service)
        assert stream.is_accepted()
        before = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (0, before[1]))
        check_refusal(stream.send())
        image = {"image": ("image.png", picture(1))}
        refused = service.request("PUT", "/v1/items/new", data={"title": "new"}, files=image)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "the picture cannot be stored: [Errno 27] File too large" in refused.json()["detail"]
        assert service.request("GET", "/v1/feeds/user-1").status_code == httpx.codes.OK

        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, before)
        assert stream.is_accepted()
        assert service.request("PUT", "/v1/items/new", data={"title": "new"}, files=image).status_code == 202
        wait_for_history(service, expected_history(stream.acknowledged))
        service.wait_until_ready()
        assert service.stop() == 0
    check_log(tmp_path / "data", stream.acknowledged)


def test_service_does_not_start_on_a_read_only_folder_and_says_so(disk: Path, data_dir: Path) -> None:
    """Neither where there is a data folder, nor where one would have to be made."""
    subprocess.run(["cp", "-r", str(data_dir), str(disk / "data")], check=True)
    mount("-o", "remount,ro", str(disk))
    for folder, what in (
        (disk / "data", f"cannot create {disk}/data/log.sqlite.lock: Read-only file system"),
        (disk / "new", f"cannot make the data folder {disk}/new: Read-only file system"),
    ):
        finished = run_freshet("serve", "--data-dir", str(folder), "--port", "0", settings=SMALL)
        assert finished.returncode == 1
        (line,) = finished.stderr.splitlines()
        assert line.startswith("freshet: ")
        assert what in line
        assert "writable" in line
