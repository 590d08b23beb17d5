"""A process to be killed: publishes and says what was acknowledged, applies, and fills the training buffer.

python -m tests.consumers.kill_child FOLDER FIRST N_EVENTS
"""

import random
import sys
from pathlib import Path

from consumers.learning.buffer_roles import events_role
from consumers.learning.training_buffer import BufferSettings, TrainingBuffer
from consumers.runner import Runner, RunnerSettings
from consumers.sequences.role import SequencesRole, Snapshots
from consumers.sequences.user_sequences import UserSequences
from stream.embedded.log import EmbeddedLog
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS
from tests.consumers.store_support import DEADLINE_S, N_PARTITIONS, click, new_metrics, open_log, publish

N_USERS, LENGTH, MAX_SEEN = 60, 8, 20
BATCH = 10


def some_events(n_events: int) -> list[Interaction]:
    rng = random.Random(5)
    return [
        click(
            number,
            user=f"user-{rng.randrange(N_USERS)}",
            item=f"item-{rng.randrange(200)}",
            ts_ms=1_000 * rng.randrange(3_000),
        )
        for number in range(n_events)
    ]


def parts(folder: Path, log: EmbeddedLog) -> tuple[UserSequences, TrainingBuffer, Runner]:
    metrics = new_metrics()
    sequences = UserSequences(N_PARTITIONS, length=LENGTH, max_seen=MAX_SEEN)
    small = BufferSettings(flush_rows=37, flush_s=0.05, merge_files=4, merge_rows=300)
    buffer = TrainingBuffer(folder / "segments", log.log_id, settings=small)
    snapshots = Snapshots(folder / "snapshots", log.log_id)
    role = SequencesRole(sequences, snapshots, log, kinds=DEFAULT_KINDS, metrics=metrics, snapshot_s=0.03)
    roles = [role, events_role(buffer, kinds=DEFAULT_KINDS, metrics=metrics)]
    runner = Runner(log, roles, metrics=metrics, settings=RunnerSettings(poll_s=0.02, max_records=23))
    return sequences, buffer, runner


def main(folder: Path, first: int, n_events: int) -> None:
    events = some_events(n_events)
    with open_log(folder) as log:
        _, _, runner = parts(folder, log)
        runner.start()
        for start in range(first, n_events, BATCH):
            publish(log, events[start : start + BATCH])
            sys.stdout.write(f"acknowledged {start + BATCH}\n")
            sys.stdout.flush()
        runner.stop(DEADLINE_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
