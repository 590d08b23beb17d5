"""One active learner among several processes: here several `Learning`s on one folder."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consumers.learning.segments import BadManifest
from consumers.learning.trainer_process import Restarts, TrainerProcess
from freshet.learning import Learning
from freshet.settings import Settings
from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.events import Interaction, encode
from stream.log import Message
from stream.topics import EVENTS, topics
from tests.waiting import wait_until

DEADLINE_S = 20.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with closing(EmbeddedLog(tmp_path / "log.sqlite", topics())) as log:
        yield log


@contextmanager
def learning(folder: Path, log: EmbeddedLog) -> Iterator[Learning]:
    with learning_with(folder, log, Metrics(CollectorRegistry())) as one:
        yield one


@contextmanager
def learning_with(folder: Path, log: EmbeddedLog, metrics: Metrics) -> Iterator[Learning]:
    settings = Settings(data_dir=folder / "data", segment_rows=1)
    one = Learning(settings, log, metrics, on_cycle=lambda _: None)
    one.open()
    one.start()
    try:
        yield one
    finally:
        assert one.stop() == []


def publish(log: EmbeddedLog, event_id: str) -> None:
    event = Interaction(event_id=event_id, user_id="u", item_id="i", ts_ms=1)
    log.publish(EVENTS, [Message(b"u", encode(event))]).result(DEADLINE_S)


def test_the_first_is_active_and_the_second_stands_by(tmp_path: Path, log: EmbeddedLog) -> None:
    with learning(tmp_path, log) as first, learning(tmp_path, log) as second:
        assert (first.is_active, second.is_active) == (True, False)
        assert second.not_ready() == {}


def test_who_stands_by_takes_over_and_goes_on_where_the_other_stopped(tmp_path: Path, log: EmbeddedLog) -> None:
    with learning(tmp_path, log) as first:
        publish(log, "e1")
        assert first.buffer is not None
        buffer = first.buffer
        wait_until(lambda: buffer.manifest.rows(EVENTS) == 1)
        with learning(tmp_path, log) as second:
            assert first.stop() == []
            wait_until(lambda: second.is_active)
            publish(log, "e2")
            assert second.buffer is not None
            taken = second.buffer
            wait_until(lambda: taken.manifest.rows(EVENTS) == 2)


def test_a_folder_of_another_log_is_refused_at_the_start(tmp_path: Path, log: EmbeddedLog) -> None:
    with learning(tmp_path, log) as first:
        publish(log, "e1")
        assert first.buffer is not None
        buffer = first.buffer
        wait_until(lambda: buffer.manifest.rows(EVENTS) == 1)
    with (
        closing(EmbeddedLog(tmp_path / "other.sqlite", topics())) as other,
        pytest.raises(BadManifest, match="bring its log back"),
        learning(tmp_path, other),
    ):
        pass


def test_trainer_that_cannot_be_started_is_said_and_started_once_it_can(tmp_path: Path, log: EmbeddedLog) -> None:
    in_the_way = tmp_path / "data" / "trainer"
    with learning(tmp_path, log) as one:
        in_the_way.write_bytes(b"")
        one.start_trainer()
        wait_until(lambda: one.not_ready() != {})
        assert one.not_ready() == {"learning": f"FileExistsError: [Errno 17] File exists: '{in_the_way}'"}
        in_the_way.unlink()
        wait_until((in_the_way / "settings.json").exists)
        wait_until(lambda: one.not_ready() == {})


def test_trainer_that_dies_is_counted_and_given_up_for_prometheus_to_see(
    tmp_path: Path, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics(CollectorRegistry())
    dying = [sys.executable, "-c", "raise SystemExit(3)"]
    quick = Restarts(first_backoff_s=0.001, max_in_a_row=2)
    monkeypatch.setattr("freshet.learning.TrainerProcess", partial(TrainerProcess, command=dying, restarts=quick))

    def restarts() -> float | None:
        return metrics.registry.get_sample_value("freshet_role_restarts_total", {"role": "trainer"})

    def has_failed() -> float | None:
        return metrics.registry.get_sample_value("freshet_learning_failed")

    with learning_with(tmp_path, log, metrics) as one:
        assert (restarts(), has_failed()) == (0.0, 0.0)
        one.start_trainer()
        wait_until(lambda: has_failed() == 1.0)
        assert restarts() == 2.0
        assert one.not_ready() == {"trainer": "given up after too many restarts; see the log"}


def test_who_stands_by_outlives_a_folder_that_is_gone_for_a_while(tmp_path: Path, log: EmbeddedLog) -> None:
    data, aside = tmp_path / "data", tmp_path / "aside"
    with learning(tmp_path, log) as first, learning(tmp_path, log) as second:
        data.rename(aside)
        data.write_bytes(b"")
        wait_until(lambda: second.not_ready() != {})
        assert second.not_ready() == {"learning": f"FileExistsError: [Errno 17] File exists: '{data}'"}
        data.unlink()
        aside.rename(data)
        wait_until(lambda: second.not_ready() == {})
        assert first.stop() == []
        wait_until(lambda: second.is_active)
