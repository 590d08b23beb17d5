import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumers.learning.training_buffer import load_events
from consumers.sequences.user_sequences import UserSequences
from stream.kinds import DEFAULT_KINDS
from tests.consumers.kill_child import BATCH, LENGTH, MAX_SEEN, N_USERS, parts, some_events
from tests.consumers.store_support import DEADLINE_S, open_log
from tests.waiting import wait_until

N_KILLS, N_EVENTS = 30, 6_000
ROOT = Path(__file__).parents[2]


def run_and_kill(folder: Path, first: int, n_acknowledged: int) -> int:
    """Kill the process once it acknowledged so many; the number it acknowledged in all."""
    command = [sys.executable, "-m", "tests.consumers.kill_child", str(folder), str(first), str(N_EVENTS)]
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
def test_process_killed_thirty_times_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    rng = random.Random(1)
    acknowledged = 0
    for _ in range(N_KILLS):
        retried = max(0, acknowledged - BATCH)  # as a client does that does not know
        acknowledged = run_and_kill(tmp_path, retried, rng.randint(BATCH, N_EVENTS // N_KILLS))

    with open_log(tmp_path) as log:
        sequences, buffer, runner = parts(tmp_path, log)
        runner.start()
        ends = log.ends("events")
        wait_until(lambda: sequences.applied.next_offsets() == ends, "all events")
        wait_until(lambda: all(buffer.next_offset("events", p) == end for p, end in ends.items()), "the whole buffer")
        assert runner.stop(DEADLINE_S) == []

    found = load_events(tmp_path / "segments")["event_id"].to_pylist()
    published = [event for event in some_events(N_EVENTS) if event.event_id in set(found)]
    assert len(found) == len(set(found)) == len(published)
    assert published[:acknowledged] == some_events(N_EVENTS)[:acknowledged]
    assert len(published) <= acknowledged + BATCH
    whole = UserSequences(1, length=LENGTH, max_seen=MAX_SEEN)
    whole.hold(0)
    whole.apply(0, published, DEFAULT_KINDS, next_offset=0)
    for user in (f"user-{number}" for number in range(N_USERS)):
        assert sequences.history(user) == whole.history(user)
        assert sorted(sequences.view(user).seen) == sorted(whole.view(user).seen)
