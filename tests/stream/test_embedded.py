"""The embedded log's own promises: kills, owners, a full disk. What every log promises is in tests/contract."""

import errno
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from stream.embedded.log import EmbeddedLimits, EmbeddedLog
from stream.log import LogBusy, LogError, LogUnavailable, Message, NotAssigned, Position, Record
from stream.topics import Topic, topics

DEADLINE_S = 20.0
ROOT = Path(__file__).parents[2]
ONE = {"one": Topic("one", 1, retention_ms=1_000)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def put(log: EmbeddedLog, topic: str, *values: bytes) -> list[Position]:
    return log.publish(topic, [Message(b"k", value) for value in values]).result(DEADLINE_S)


def read_all(log: EmbeddedLog, topic: str) -> list[Record]:
    records: list[Record] = []
    with closing(log.reader(topic, partitions=list(log.ends(topic)))) as reader:
        while more := reader.poll(max_records=10_000, timeout_s=0):
            records += more
    return records


def acknowledged_until_killed(path: Path, first: int, n_lines: int) -> dict[int, Position]:
    """Start a publisher, let it acknowledge n_lines, kill it in the middle of its work."""
    script = Path(__file__).with_name("publish_until_killed.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script), str(path), str(first)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(n_lines)]
        process.kill()
        lines += process.stdout.readlines()
    found = [line.split() for line in lines if line.endswith("\n")]
    return {int(number): Position(int(p), int(o)) for number, p, o in found}


def test_commit_returns_when_it_is_on_the_disk(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE)) as log:
        assert log._file._sql.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_every_acknowledged_message_is_there_once_in_order_after_kills(path: Path) -> None:
    acknowledged: dict[int, Position] = {}
    for n_lines in (1, 40, 333):
        first = max(acknowledged, default=-1) + 1_000  # apart from what was written and not acknowledged
        acknowledged |= acknowledged_until_killed(path, first, n_lines)
    with closing(EmbeddedLog(path, topics(2))) as log:
        records = read_all(log, "events")
        with closing(log.reader("events", group="g")) as reader:
            reader.poll(max_records=1, timeout_s=0)
            committed = reader.committed()
        assert all(next_offset <= log.ends("events")[p] for p, next_offset in committed.items())
    numbers = [int(record.value or b"") for record in records]
    assert len(numbers) == len(set(numbers))
    found = {int(r.value or b""): Position(r.partition, r.offset) for r in records}
    assert {number: found.get(number) for number in acknowledged} == acknowledged
    for partition in (0, 1):
        of_partition = [r for r in records if r.partition == partition]
        assert [r.offset for r in of_partition] == list(range(len(of_partition)))
    for user in range(7):
        of_user = [int(r.value or b"") for r in records if r.key == b"user-%d" % user]
        assert of_user == sorted(of_user)


def test_a_second_owner_is_refused_and_told_who_has_it(path: Path) -> None:
    with (
        closing(EmbeddedLog(path, ONE)),
        pytest.raises(LogBusy, match=f"is held by process {os.getpid()}; stop it, or use another data folder"),
    ):
        EmbeddedLog(path, ONE)
    EmbeddedLog(path, ONE).close()


def test_an_owner_in_another_process_is_refused_too(path: Path) -> None:
    opening = (
        f"from pathlib import Path; from stream.embedded.log import EmbeddedLog; EmbeddedLog(Path({str(path)!r}), {{}})"
    )
    with closing(EmbeddedLog(path, ONE)):
        result = subprocess.run(
            [sys.executable, "-c", opening], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
        )
    assert f"LogBusy: {path}.lock is held by process {os.getpid()}" in result.stderr


def test_a_failed_opening_leaves_the_file_free(path: Path) -> None:
    EmbeddedLog(path, ONE).close()
    with pytest.raises(ValueError, match=r"topic 'one' has 1 partitions in .* and partitions=3 in the settings"):
        EmbeddedLog(path, {"one": Topic("one", 3)})
    EmbeddedLog(path, ONE).close()


def test_a_topic_can_be_added_to_an_old_log(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE)) as log:
        put(log, "one", b"1")
    with closing(EmbeddedLog(path, ONE | {"two": Topic("two", 2)})) as log:
        assert (log.ends("one"), log.ends("two")) == ({0: 1}, {0: 0, 1: 0})


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="No such file or directory; the folder must exist and be writable"):
        EmbeddedLog(tmp_path / "missing" / "log.db", ONE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LogUnavailable, match="Permission denied; the folder must exist and be writable"):
        EmbeddedLog(tmp_path / "log.db", ONE)


@pytest.mark.parametrize("refused", ["os.write", "os.ftruncate", "fcntl.flock"])
def test_a_lock_that_cannot_be_taken_is_not_held(path: Path, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"stream.embedded.file_lock.{refused}", refuse)
        with pytest.raises(LogUnavailable, match=rf"cannot lock {path}.lock: No space left on device; free space, or"):
            EmbeddedLog(path, ONE)
    EmbeddedLog(path, ONE).close()


def test_a_file_that_is_no_log_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but longer than the header of one: " + b"x" * 1_000)
    with pytest.raises(LogUnavailable, match="file is not a database"):
        EmbeddedLog(path, ONE)


def test_a_log_of_a_newer_version_is_refused(path: Path) -> None:
    EmbeddedLog(path, ONE).close()
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA user_version = 99")
    with pytest.raises(LogError, match="has format 99, this version knows 1; upgrade"):
        EmbeddedLog(path, ONE)


def fill(log: EmbeddedLog, reason: str = "full") -> int:
    """Publish until it is refused; returns how many messages were acknowledged."""
    for n_acknowledged in range(1_000):
        error = log.publish("one", [Message(b"k", b"x" * 10_000)]).exception(DEADLINE_S)
        if error is not None:
            assert isinstance(error, LogUnavailable)
            assert f"{reason}; free space or restore rights, then retry" in str(error)
            return n_acknowledged
    raise AssertionError("the log never became full")


def test_a_full_log_refuses_what_does_not_fit_and_keeps_what_it_acknowledged(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE, max_bytes=400_000)) as log:
        n_acknowledged = fill(log)
        assert 20 < n_acknowledged < 40
        assert log.ends("one") == {0: n_acknowledged}
        assert [record.offset for record in read_all(log, "one")] == list(range(n_acknowledged))
    with closing(EmbeddedLog(path, ONE)) as log:  # with more space
        assert put(log, "one", b"x" * 10_000) == [Position(0, n_acknowledged)]
        assert len(read_all(log, "one")) == n_acknowledged + 1


def test_a_full_log_recovers_by_itself_when_retention_makes_room(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE, max_bytes=400_000)) as log:
        n_acknowledged = fill(log)
        log.maintain(time.time_ns() // 1_000_000 + 2_000)
        assert put(log, "one", b"after") == [Position(0, n_acknowledged)]
        assert [record.value for record in read_all(log, "one")] == [b"after"]


def test_maintenance_that_cannot_read_the_file_says_so_as_any_use_of_the_log_does(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE)) as log:
        put(log, "one", b"1")
        with closing(sqlite3.connect(path)) as sql:
            sql.execute("DROP TABLE records_1_0")
        with pytest.raises(LogUnavailable, match=r"cannot be read: no such table: records_1_0; check the disk"):
            log.maintain(time.time_ns() // 1_000_000)


def test_a_partition_that_cannot_be_read_loses_nothing_of_the_others(path: Path) -> None:
    two = {"two": Topic("two", 2)}
    with closing(EmbeddedLog(path, two)) as log, closing(log.reader("two", group="g")) as reader:
        sent = [Message(b"%d" % i, b"%d" % i) for i in range(10)]
        assert {at.partition for at in log.publish("two", sent).result(DEADLINE_S)} == {0, 1}
        with closing(sqlite3.connect(path)) as sql:
            sql.execute("ALTER TABLE records_1_0 RENAME TO away")
            for _ in range(3):  # partitions take turns
                with pytest.raises(LogUnavailable, match=r"no such table: records_1_0; check the disk"):
                    reader.poll(max_records=100, timeout_s=0)
            sql.execute("ALTER TABLE away RENAME TO records_1_0")
        records = reader.poll(max_records=100, timeout_s=0)
        assert sorted(record.value or b"" for record in records) == [message.value for message in sent]


def test_readers_can_commit_while_the_log_is_full(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE, max_bytes=400_000)) as log, closing(log.reader("one", group="g")) as reader:
        reader.poll(max_records=1, timeout_s=0)
        reader.commit({0: 0})
        fill(log)
        failing = log.publish("one", [Message(b"k", b"x" * 100_000)])
        reader.commit({0: 5})
        assert isinstance(failing.exception(DEADLINE_S), LogUnavailable)
        assert reader.committed() == {0: 5}


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond: a disk that refuses to write, for real."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_refuses_to_write_loses_nothing_acknowledged_and_publishing_recovers(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE)) as log:
        put(log, "one", b"before")
        with file_size_limit(300_000):
            n_acknowledged = 1 + fill(log, reason="")
        assert put(log, "one", b"after") == [Position(0, n_acknowledged)]
        assert len(read_all(log, "one")) == n_acknowledged + 1
    with closing(EmbeddedLog(path, ONE)) as log:
        assert len(read_all(log, "one")) == n_acknowledged + 1


def test_a_silent_reader_is_put_out_of_its_group(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("stream.embedded.reader.time", SimpleNamespace(monotonic=lambda: now_s))
    with closing(EmbeddedLog(path, ONE, limits=EmbeddedLimits(max_silence_s=60.0))) as log:
        lost: list[tuple[int, ...]] = []
        silent = log.reader("one", group="g", on_lost=lost.append)
        alive = log.reader("one", group="g")
        put(log, "one", b"1")
        assert len(silent.poll(max_records=1, timeout_s=0)) == 1
        assert alive.poll(max_records=1, timeout_s=0) == []
        now_s = 61.0
        assert [record.value for record in alive.poll(max_records=1, timeout_s=0)] == [b"1"]
        with pytest.raises(NotAssigned, match="are not this reader's"):
            silent.commit()
        assert silent.poll(max_records=1, timeout_s=0) == []
        assert lost == [(0,)]


def test_a_reader_that_waits_gives_up_a_share_as_soon_as_another_joins(path: Path) -> None:
    has_gained, has_lost = Event(), Event()
    told = {"on_gained": lambda _: has_gained.set(), "on_lost": lambda _: has_lost.set()}
    with closing(EmbeddedLog(path, {"two": Topic("two", 2)})) as log, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(log.reader("two", group="g", **told).poll, max_records=1, timeout_s=DEADLINE_S)
        for _ in range(5):
            assert has_gained.wait(DEADLINE_S / 2)
            has_gained.clear()
            with closing(log.reader("two", group="g")) as other:
                other.poll(max_records=1, timeout_s=0)
                assert has_lost.wait(DEADLINE_S / 2)  # one that is not woken notices at the end of its poll
                has_lost.clear()
        put(log, "two", b"the end")
        assert len(waiting.result(DEADLINE_S)) == 1


def test_state_that_could_not_be_restored_is_asked_for_again(path: Path) -> None:
    attempts: list[tuple[int, ...]] = []

    def fail_once(partitions: tuple[int, ...]) -> None:
        attempts.append(partitions)
        if len(attempts) == 1:
            raise OSError("snapshot cannot be read")

    with closing(EmbeddedLog(path, ONE)) as log, closing(log.reader("one", group="g", on_gained=fail_once)) as reader:
        put(log, "one", b"1")
        with pytest.raises(OSError, match="snapshot cannot be read"):
            reader.poll(max_records=1, timeout_s=0)
        assert reader.assigned() == ()
        assert [record.value for record in reader.poll(max_records=1, timeout_s=0)] == [b"1"]
        assert attempts == [(0,), (0,)]


def test_a_bug_in_a_write_reaches_its_publisher_and_the_writer_goes_on(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE)) as log:
        with pytest.raises(sqlite3.Error, match="not supported"):
            log.publish("one", [Message(b"k", {1})]).result(DEADLINE_S)  # type: ignore[arg-type]
        assert put(log, "one", b"fine") == [Position(0, 0)]


def test_a_poll_is_bounded_in_bytes(path: Path) -> None:
    with closing(EmbeddedLog(path, {"two": Topic("two", 2)})) as log:
        for _ in range(4):
            log.publish("two", [Message(None, b"x" * 1_000_000)] * 20).result(DEADLINE_S)
        assert log.ends("two") == {0: 40, 1: 40}
        with closing(log.reader("two", partitions=[0, 1])) as reader:
            sizes = [len(reader.poll(max_records=1_000, timeout_s=0)) for _ in range(4)]
    assert sizes == [34, 34, 12, 0]  # 32 MiB are 33.6 MB


def test_records_are_stamped_in_order_with_the_time_of_appending(path: Path) -> None:
    with closing(EmbeddedLog(path, ONE)) as log:
        put(log, "one", b"1", b"2")
        put(log, "one", b"3")
        stamps = [record.ts_ms for record in read_all(log, "one")]
    assert stamps == sorted(stamps)
    assert abs(stamps[-1] - time.time() * 1_000) < 60_000
