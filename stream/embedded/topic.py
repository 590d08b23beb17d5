"""What the embedded log keeps in memory of a topic: where its partitions end, and who reads them."""

from __future__ import annotations

import time
from itertools import count
from threading import Condition

from stream.embedded.groups import Group
from stream.embedded.store import LogFile, table_name
from stream.topics import Topic


class TopicState:
    """One topic of an open log.

    `changed` is notified after every durable append and every change of a group; it also guards `ends`,
    `committed` and the groups. `tails` and `last_ts_ms` belong to the writer thread.
    """

    def __init__(self, topic: Topic, file: LogFile, *, max_silence_s: float) -> None:
        self.topic = topic
        self.topic_id = file.add_topic(topic)
        self.tables = tuple(table_name(self.topic_id, p) for p in range(topic.partitions))
        bounds = [file.bounds(self.topic_id, p) for p in range(topic.partitions)]
        self.starts = [start for start, _, _ in bounds]  # oldest offset kept
        self.ends = [end for _, end, _ in bounds]  # next offset; all before it are durable
        self.compacted_to = [0] * topic.partitions  # the end when nothing was left to do
        self.committed = file.committed(self.topic_id)  # next offset by group and partition
        self.changed = Condition()
        self.tails = list(self.ends)  # the writer's: ends, with what it is about to make durable
        self.last_ts_ms = max(ts_ms for _, _, ts_ms in bounds)
        self._groups: dict[str, Group] = {}
        self._max_silence_s = max_silence_s
        self.turns = count()  # partitions in turn, for messages without a key; its next() is atomic

    def group(self, name: str) -> Group:
        """The group of this name; `changed` must be held."""
        if name not in self._groups:
            self._groups[name] = Group(self.topic.partitions, max_silence_s=self._max_silence_s)
        return self._groups[name]

    def append_ts_ms(self) -> int:
        """Now, but never before an earlier record: retention relies on the order. Writer thread only."""
        self.last_ts_ms = max(self.last_ts_ms, time.time_ns() // 1_000_000)
        return self.last_ts_ms

    def appended(self) -> None:
        """What the writer wrote is durable: show it, and wake whoever waits. Writer thread only."""
        with self.changed:
            self.ends[:] = self.tails
            self.changed.notify_all()

    def not_appended(self) -> None:
        """What the writer was about to write is not there. Writer thread only."""
        self.tails[:] = self.ends
