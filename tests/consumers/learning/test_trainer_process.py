import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from consumers.learning.cycle_events import CycleEvent
from consumers.learning.trainer_process import Restarts, TrainerProcess
from tests.consumers.cycle_fixtures import Reports
from tests.waiting import wait_until

QUICK = Restarts(first_backoff_s=0.001, max_backoff_s=0.004, max_in_a_row=2)
REPORT = r"""print('{"state": "started", "cycle": 3, "detail": "first training"}', flush=True)"""
WAIT_FOR_THE_END = "import sys; sys.stdin.read()"


@contextmanager
def running(program: str, reports: Reports, restarts: Restarts = QUICK) -> Iterator[TrainerProcess]:
    process = TrainerProcess(
        Path("settings.json"), reports.append, command=[sys.executable, "-c", program], restarts=restarts
    )
    process.start()
    try:
        yield process
    finally:
        process.stop()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_the_child_reports_is_passed_on() -> None:
    reports = Reports()

    with running(f"{REPORT}; {WAIT_FOR_THE_END}", reports) as process:
        wait_until(lambda: len(reports) == 1, "the child reports")

    assert reports == [CycleEvent(state="started", cycle=3, detail="first training")]
    assert process.n_restarts == 0


def test_child_is_told_where_its_settings_are() -> None:
    reports = Reports()
    program = (
        """import json, sys; print(json.dumps({"state": "waiting", "cycle": 1, "detail": sys.argv[1]}), flush=True)"""
    )

    with running(f"{program}; {WAIT_FOR_THE_END}", reports):
        wait_until(lambda: len(reports) == 1, "the child reports")

    assert reports.details == ["settings.json"]


def test_lines_that_are_no_reports_are_logged_and_survived() -> None:
    reports = Reports()
    noise = r"import sys; sys.stdout.buffer.write(b'\xff\xfe\n{}\n[1]\nhello\n')"

    with capture_logs() as logs, running(f"{noise}; {REPORT}; {WAIT_FOR_THE_END}", reports):
        wait_until(lambda: len(reports) == 1, "the child reports after the noise")

    said = [entry["line"] for entry in logs if entry["event"] == "trainer_said"]
    assert said == ["\ufffd\ufffd", "{}", "[1]", "hello"]


def test_a_listener_that_raises_is_logged_and_told_the_next_report() -> None:
    reports = Reports()

    def listen(event: CycleEvent) -> None:
        reports.append(event)
        if len(reports) == 1:
            raise RuntimeError("no screen")

    command = [sys.executable, "-c", f"{REPORT}; {REPORT}; {WAIT_FOR_THE_END}"]
    process = TrainerProcess(Path("settings.json"), listen, command=command, restarts=QUICK)
    with capture_logs() as logs:
        process.start()
        try:
            wait_until(lambda: len(reports) == 2, "both reports")
        finally:
            process.stop()

    assert [log["reason"] for log in logs if log["event"] == "trainer_event_not_taken"] == ["RuntimeError('no screen')"]
    assert process.n_restarts == 0


def test_child_ends_with_its_parents_pipe_when_stopped() -> None:
    reports = Reports()

    with running(f"{REPORT}; {WAIT_FOR_THE_END}", reports) as process:
        wait_until(lambda: len(reports) == 1, "the child reports")
        pid = process.pid
        assert pid is not None

    wait_until(lambda: is_gone(pid), "the child is gone")
    assert process.is_healthy


def test_child_that_ignores_its_pipe_is_terminated() -> None:
    reports = Reports()
    process = TrainerProcess(
        Path("settings.json"),
        reports.append,
        command=[sys.executable, "-c", f"import threading; {REPORT}; threading.Event().wait(100)"],
    )
    process.start()
    wait_until(lambda: len(reports) == 1, "the child reports")
    pid = process.pid
    assert pid is not None

    process.stop(timeout_s=0.2)

    wait_until(lambda: is_gone(pid), "the child is gone")


def test_child_that_ends_is_started_again_up_to_a_limit_and_then_given_up() -> None:
    reports = Reports()

    with capture_logs() as logs, running(f"{REPORT}; raise SystemExit(3)", reports) as process:
        wait_until(lambda: not process.is_healthy, "the trainer is given up")

    assert len(reports) == 3  # once, and two restarts
    assert process.n_restarts == 2
    assert [(entry["event"], entry["ending"], entry.get("backoff_s")) for entry in logs] == [
        ("trainer_restarting", "exit code 3", 0.001),
        ("trainer_restarting", "exit code 3", 0.002),
        ("trainer_given_up", "exit code 3", None),
    ]


def test_child_that_is_silent_amid_a_cycle_is_killed_and_started_again() -> None:
    reports = Reports()
    command = [sys.executable, "-c", f"import time; {REPORT}; time.sleep(100)"]
    process = TrainerProcess(
        Path("settings.json"), reports.append, command=command, restarts=replace(QUICK, max_silence_s=0.05)
    )

    with capture_logs() as logs:
        process.start()
        wait_until(lambda: not process.is_healthy, "the trainer is given up")

    process.stop()
    assert len(reports) == 3
    assert [log.get("ending", log.get("silent_s")) for log in logs] == [0.05, "exit code -9"] * 3


def test_child_that_has_ended_its_cycle_may_be_silent(tmp_path: Path) -> None:
    reports, limit_s = Reports(), 0.05
    refused = REPORT.replace("started", "refused")
    mark = f"import time; time.sleep({20 * limit_s}); open({str(tmp_path / 'lived')!r}, 'w')"
    command = [sys.executable, "-c", f"{REPORT}; {refused}; {mark}; {WAIT_FOR_THE_END}"]
    process = TrainerProcess(
        Path("settings.json"), reports.append, command=command, restarts=Restarts(max_silence_s=limit_s)
    )
    process.start()

    wait_until((tmp_path / "lived").exists, "the child goes on")

    process.stop()
    assert process.n_restarts == 0


def test_every_report_gives_a_child_all_of_the_time_again() -> None:
    reports, silence_s = Reports(), 1.0
    pause = f"time.sleep({silence_s / 4})"
    program = f"import time; {'; '.join([REPORT, pause] * 6)}; {WAIT_FOR_THE_END}"
    command = [sys.executable, "-c", program]
    process = TrainerProcess(
        Path("settings.json"), reports.append, command=command, restarts=Restarts(max_silence_s=silence_s)
    )
    process.start()

    wait_until(lambda: len(reports) == 6, "the last report")

    process.stop()
    assert process.n_restarts == 0


def test_child_that_ran_steadily_is_always_started_again() -> None:
    reports = Reports()
    steady = Restarts(first_backoff_s=0.001, steady_s=0.0, max_in_a_row=1)

    with running(REPORT, reports, steady) as process:
        wait_until(lambda: len(reports) >= 4, "the fourth child reports")

    assert process.is_healthy


def test_program_that_cannot_be_started_is_given_up_too(tmp_path: Path) -> None:
    process = TrainerProcess(
        Path("settings.json"), Reports().append, command=[str(tmp_path / "nothing")], restarts=QUICK
    )

    with capture_logs() as logs:
        process.start()
        wait_until(lambda: not process.is_healthy, "the trainer is given up")

    process.stop()
    assert "No such file" in logs[0]["ending"]


def test_stopping_what_never_started_is_fine() -> None:
    process = TrainerProcess(Path("settings.json"), Reports().append)

    process.stop()

    assert process.pid is None
