"""A rejected record is on the dead-letter topic for good before the role that read it goes on."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest

from consumers.roles import OffsetOwner
from consumers.sequences.role import SequencesRole, Snapshots
from consumers.sequences.user_sequences import UserSequences
from consumers.windows.role import windows_role
from stream.embedded.log import EmbeddedLog
from stream.kinds import DEFAULT_KINDS
from stream.log import LogUnavailable, Message, Position, Record
from stream.topics import DEAD_LETTER, EXPOSURES, topics
from tests.consumers.store_support import N_PARTITIONS, new_metrics
from tests.consumers.windows.windows_support import new_windows


class SilentLog(EmbeddedLog):
    """Never confirms a dead letter."""

    def publish(self, topic: str, messages: Sequence[Message]) -> Future[list[Position]]:
        written = super().publish(topic, messages)
        return Future() if topic == DEAD_LETTER else written


def sequences_role(log: EmbeddedLog, folder: Path) -> OffsetOwner:
    snapshots = Snapshots(folder / "snapshots", log.log_id)
    return SequencesRole(UserSequences(N_PARTITIONS), snapshots, log, kinds=DEFAULT_KINDS, metrics=new_metrics())


def exposures_role(log: EmbeddedLog, folder: Path) -> OffsetOwner:
    return windows_role(new_windows(log, folder), EXPOSURES, kinds=DEFAULT_KINDS)


@pytest.mark.parametrize(
    ("module", "new_role"), [("sequences", sequences_role), ("windows", exposures_role)], ids=["sequences", "windows"]
)
def test_role_does_not_go_on_after_a_rejected_record_that_is_not_kept_yet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    new_role: Callable[[EmbeddedLog, Path], OffsetOwner],
) -> None:
    monkeypatch.setattr(f"consumers.{module}.role._FLUSH_S", 0.0)
    with closing(SilentLog(tmp_path / "log.sqlite", topics(N_PARTITIONS))) as log:
        role = new_role(log, tmp_path)
        role.gained([0])
        with pytest.raises(LogUnavailable, match="1 records are not durable"):
            role.handle([Record(role.topic, 0, 0, b"ada", b"{}", 1_000)])
        assert role.positions() == {0: 0}
        role.close()
