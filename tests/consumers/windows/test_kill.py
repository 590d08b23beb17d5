import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.consumers.store_support import open_log
from tests.consumers.windows.kill_child import BATCH, N_FEEDS
from tests.consumers.windows.windows_support import (
    closers,
    expected,
    new_windows,
    outcomes,
    publish,
    run_through,
    some_traffic,
)

N_KILLS = 12
ROOT = Path(__file__).parents[3]


def run_and_kill(folder: Path, first: int, n_acknowledged: int) -> int:
    """Kill the process once it acknowledged so many; the number it acknowledged in all."""
    command = [sys.executable, "-m", "tests.consumers.windows.kill_child", str(folder), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = first
        for line in process.stdout:
            if not line.startswith("acknowledged "):
                continue  # a line of the process's own log
            acknowledged = int(line.removeprefix("acknowledged "))
            if acknowledged >= first + n_acknowledged:
                process.send_signal(signal.SIGKILL)
    return acknowledged


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_process_killed_again_and_again_loses_no_outcome(tmp_path: Path) -> None:
    """Outcomes may come twice, always the same under the same id; each arm counts once."""
    rng = random.Random(2)
    records = some_traffic(n_feeds=N_FEEDS)
    acknowledged = 0
    for _ in range(N_KILLS):
        retried = max(0, acknowledged - BATCH)  # as a client does that does not know
        acknowledged = run_and_kill(tmp_path, retried, rng.randint(BATCH, len(records) // N_KILLS))
    by_id, arms = expected(tmp_path, records)

    with open_log(tmp_path) as log:
        publish(log, [*records[max(0, acknowledged - BATCH) :], *closers()])
        windows = new_windows(log, tmp_path)
        run_through(log, windows)
        found = outcomes(log)

    assert {outcome.outcome_id for outcome in found} == set(by_id)
    assert all(outcome == by_id[outcome.outcome_id] for outcome in found)
    assert len(by_id) > 2_000
    assert _without_closers(windows.arms()) == _without_closers(arms)


def _without_closers(arms: list[object]) -> list[object]:
    return [arm for arm in arms if arm.experiment != "none"]  # type: ignore[attr-defined]
