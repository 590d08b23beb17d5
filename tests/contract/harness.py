"""What the contract suite asks of an implementation: to be opened, crashed, stalled and maintained."""

from contextlib import AbstractContextManager
from typing import Protocol

from stream.log import Log
from stream.topics import Topic

HOUR_MS = 3_600_000
FILLER_KEY = b"filler of the test"  # of records that only make room for maintenance; readers leave them out
TOPICS = {
    topic.name: topic
    for topic in [
        Topic("events", 4, retention_ms=HOUR_MS),
        Topic("items", 2, compacted=True),
        Topic("one", 1),
        Topic("two", 2),
    ]
}


class Harness(Protocol):
    """One implementation under test, with one log's data."""

    def open(self) -> Log:
        """The log; its queue holds 100 messages and waits 50 ms."""

    def crash(self) -> Log:
        """End the open log as a kill of its process would, and open it again."""

    def stalled(self) -> AbstractContextManager[None]:
        """Nothing becomes durable inside."""

    def maintain(self, now_ms: int) -> None:
        """Run retention and compaction as of this time."""

    def close(self) -> None:
        """Let go of everything."""
