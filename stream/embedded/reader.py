"""A reader of the embedded log: positions of its partitions, a connection of its own, and its place in a group.

poll():  1. say it is alive        2. give up what is another's now (on_lost, still able to commit)
         3. take what is free (position = committed, on_gained)        4. read, or wait until something changes
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock

from stream.embedded.groups import Group
from stream.embedded.store import LogFile, Row, to_records
from stream.embedded.topic import TopicState
from stream.embedded.writer import Change, Job
from stream.log import LogClosed, NotAssigned, Record
from stream.requests import Subscription

COMMIT_TIMEOUT_S = 30.0
MAX_POLL_BYTES = 32 * 1024 * 1024  # of values, and one beyond: large items are not to fill the memory


class EmbeddedReader:
    """See `stream.log.Reader`. One thread uses it; only stop() may come from another."""

    def __init__(
        self, state: TopicState, file: LogFile, *, subscription: Subscription, submit: Callable[[Job], None]
    ) -> None:
        self._state = state
        self._file = file
        self._subscription = subscription
        self._submit = submit
        self._reading = Lock()  # the connection is never closed during a read
        # Next offset to read, of every partition held.
        self._positions: dict[int, int] = dict.fromkeys(subscription.partitions, 0)
        self._is_told = False  # named partitions are gained at the first poll
        self._first = 0  # rotates, so that one busy partition does not starve the others
        self._is_closed = False

    def poll(self, *, max_records: int, timeout_s: float) -> list[Record]:
        """See `stream.log.Reader.poll`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._check_open()
            seen = self._rebalance()
            records = self._read(max_records)
            if records or not self._wait(seen, deadline_s):
                return records

    def commit(self, offsets: Mapping[int, int] | None = None) -> None:
        """See `stream.log.Reader.commit`."""
        self._check_open()
        group_name = self._subscription.group
        if group_name is None:
            raise NotAssigned("a reader of named partitions has no group to commit for; give group=")
        offsets = dict(self._positions if offsets is None else offsets)
        state = self._state
        with state.changed:
            self._check_held(offsets, state.group(group_name))
            known = state.committed.setdefault(group_name, {})
            news = {p: offset for p, offset in offsets.items() if known.get(p) != offset}
        if not news:
            return
        topic_id = state.topic_id

        def note() -> None:
            with state.changed:
                known.update(news)

        job = Change(lambda file: file.commit_offsets(topic_id, group_name, news), note)
        self._submit(job)
        job.wait(COMMIT_TIMEOUT_S)

    def committed(self) -> dict[int, int]:
        """See `stream.log.Reader.committed`."""
        group_name = self._subscription.group
        with self._state.changed:
            known = {} if group_name is None else self._state.committed.get(group_name, {})
            return {p: known.get(p, 0) for p in self.assigned()}

    def seek(self, partition: int, offset: int) -> None:
        """See `stream.log.Reader.seek`."""
        if partition not in self._positions:
            raise NotAssigned(self._not_assigned([partition]))
        self._positions[partition] = offset

    def lag(self) -> dict[int, int]:
        """See `stream.log.Reader.lag`."""
        state = self._state
        with state.changed:
            return {
                p: max(0, state.ends[p] - max(position, state.starts[p]))
                for p, position in sorted(self._positions.items())
            }

    def assigned(self) -> tuple[int, ...]:
        """See `stream.log.Reader.assigned`."""
        return tuple(sorted(self._positions))

    @property
    def is_closed(self) -> bool:
        """Whether it can still be polled."""
        return self._is_closed

    def close(self) -> None:
        """See `stream.log.Reader.close`."""
        if self._is_closed:
            return
        self._lose(self.assigned())
        self.stop()

    def stop(self) -> None:
        """Leave the group and close the connection; no calls back. For the log's own close()."""
        with self._state.changed:
            self._is_closed = True
            if self._subscription.group is not None:
                self._state.group(self._subscription.group).leave(self)
            self._state.changed.notify_all()
        with self._reading:
            self._file.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise LogClosed(f"the reader of {self._state.topic.name!r} was closed; open another")

    def _check_held(self, offsets: Mapping[int, int], group: Group) -> None:
        lost = sorted(set(offsets) - set(group.held_by(self)))
        if lost:
            raise NotAssigned(self._not_assigned(lost))

    def _not_assigned(self, partitions: Sequence[int]) -> str:
        return (
            f"partitions {partitions} of {self._state.topic.name!r} are not this reader's (it holds "
            f"{list(self.assigned())}); another reader has or will read them again"
        )

    def _rebalance(self) -> int:
        """Lose and gain partitions; returns the group's generation that was looked at."""
        if self._subscription.group is None:
            if not self._is_told:
                self._gain(dict(self._positions))
                self._is_told = True
            return 0
        state = self._state
        with state.changed:
            group = state.group(self._subscription.group)
            before = group.generation
            group.poll(self, time.monotonic())
            if group.generation != before:  # it joined, or others were put out
                state.changed.notify_all()
            held = group.held_by(self)
            lost = tuple(p for p in self.assigned() if p not in held) + group.to_release(self)
        if lost:
            self._lose(lost)
            self._release(self._subscription.group, lost)
        with state.changed:
            committed = state.committed.get(self._subscription.group, {})
            gained = {p: committed.get(p, 0) for p in group.take(self)}
            generation = group.generation
        self._gain(gained)
        return generation

    def _lose(self, partitions: tuple[int, ...]) -> None:
        if partitions and self._subscription.on_lost is not None:
            self._subscription.on_lost(tuple(sorted(partitions)))
        for partition in partitions:
            self._positions.pop(partition, None)

    def _gain(self, positions: Mapping[int, int]) -> None:
        self._positions.update(positions)
        if not positions or self._subscription.on_gained is None:
            return
        try:
            self._subscription.on_gained(tuple(sorted(positions)))
        except BaseException:  # no state for these records: let them be gained again
            if self._subscription.group is not None:
                for partition in positions:
                    self._positions.pop(partition)
                self._release(self._subscription.group, positions)
            raise

    def _release(self, group: str, partitions: Iterable[int]) -> None:
        state = self._state
        with state.changed:
            state.group(group).release(self, partitions)
            state.changed.notify_all()

    def _read(self, max_records: int) -> list[Record]:
        state = self._state
        with state.changed:
            ready = [(p, state.ends[p]) for p in self.assigned() if self._positions[p] < state.ends[p]]
        self._first += 1
        records: list[Record] = []
        positions: dict[int, int] = {}
        bytes_left = MAX_POLL_BYTES
        for i in range(len(ready)):
            partition, end = ready[(i + self._first) % len(ready)]
            rows, n_bytes = self._rows(partition, max_records - len(records), bytes_left)
            records += to_records(self._state.topic.name, partition, rows)
            # Nothing below `end` is left when no row came: it was compacted or retired.
            positions[partition] = rows[-1][0] + 1 if rows else end
            bytes_left -= n_bytes
            if len(records) >= max_records or bytes_left <= 0:
                break
        self._positions.update(positions)  # last: an error above reads all of it again
        return records

    def _rows(self, partition: int, max_rows: int, max_bytes: int) -> tuple[list[Row], int]:
        with self._reading:
            self._check_open()
            table, position = self._state.tables[partition], self._positions[partition]
            return self._file.read(table, position, max_rows=max_rows, max_bytes=max_bytes)

    def _wait(self, generation: int, deadline_s: float) -> bool:
        """Wait for something to read or a change of the group; False when the time is over."""
        state = self._state
        group_name = self._subscription.group
        with state.changed:
            return state.changed.wait_for(
                lambda: (
                    self._is_closed
                    or any(position < state.ends[p] for p, position in self._positions.items())
                    or (group_name is not None and state.group(group_name).generation != generation)
                ),
                deadline_s - time.monotonic(),
            )
