"""A data set played onto the log in event time, at a given speed or as fast as the log takes it.

    Dataset -> timeline() -> Player -> topics `items` (key item_id) and `events` (key user_id)

Playing the same data set again publishes the same event ids, so whoever counts events by id counts them once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.events import Interaction, ItemUpsert, encode
from stream.images import BadImage, ImageStore
from stream.log import Log
from stream.replay.outbox import Outbox
from stream.replay.rows import BadRows, BadValue, ItemRow
from stream.replay.timeline import Played, timeline
from stream.topics import EVENTS, ITEMS

__all__ = ["Pace", "Player", "ReplayCounts", "timeline"]
PROGRESS_S = 0.5  # between two reports
PUBLISH_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ReplayCounts:
    """How far a replay is.

    Attributes:
        n_items: item rows published.
        n_interactions: interactions published.
        n_unknown_items: of these, on an item that had not arrived; the stream may learn of it later.
        n_bad_images: items published without their picture, because it cannot be read.
        ts_ms: event time reached; None before the first.
        elapsed_s: since the replay began.
    """

    n_items: int = 0
    n_interactions: int = 0
    n_unknown_items: int = 0
    n_bad_images: int = 0
    ts_ms: int | None = None
    elapsed_s: float = 0.0


OnProgress = Callable[[ReplayCounts], None]


class Pace:
    """When an event is due: the clock starts at the first one asked for, `speed` seconds of theirs in one of ours.

    >>> pace = Pace(60.0, clock=lambda: 100.0)
    >>> pace.due_in_s(0), pace.due_in_s(30_000)
    (0.0, 0.5)

    Args:
        speed: event time over wall time, above 0; None is as fast as possible.
        clock: seconds, never going back.

    Raises:
        ValueError: speed is not above 0.
    """

    def __init__(self, speed: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        if speed is not None and not speed > 0:
            raise ValueError(f"speed={speed} must be above 0; None plays as fast as possible")
        self._speed = speed
        self._clock = clock
        self._start: tuple[int, float] | None = None

    def due_in_s(self, ts_ms: int) -> float:
        """Seconds from now until the event of this time is due; 0 when it is or was."""
        if self._speed is None:
            return 0.0
        if self._start is None:
            self._start = ts_ms, self._clock()
        first_ms, began_s = self._start
        return max(0.0, began_s + (ts_ms - first_ms) / 1000 / self._speed - self._clock())


class Player:
    """Publishes a timeline. For one replay at a time; `stop` may be called from any thread.

    Args:
        log: with the topics `items` and `events`.
        images: where pictures are put before their item is published.
        speed: event time over wall time; None is as fast as possible.
        bad_rows: told of pictures that cannot be read; None counts them only.
        timeout_s: total limit for a batch to become durable.
    """

    def __init__(
        self,
        log: Log,
        images: ImageStore,
        *,
        speed: float | None = None,
        bad_rows: BadRows | None = None,
        timeout_s: float = PUBLISH_TIMEOUT_S,
    ) -> None:
        self._images = images
        self._bad_rows = bad_rows or BadRows()
        self._stopped = threading.Event()
        self._outbox = Outbox(log, timeout_s=timeout_s, stopped=self._stopped)
        self._pace = Pace(speed)

    def stop(self) -> None:
        """End the replay before its next row; what was published stays."""
        self._stopped.set()

    def play(self, stream: Iterable[Played], on_progress: OnProgress | None = None) -> ReplayCounts:
        """Publish all rows; returns when they are durable.

        Args:
            stream: in the order of time, as `timeline` gives it.
            on_progress: called from time to time, and at the end.

        Raises:
            LogUnavailable: the log did not take a batch in time; the replay can be started again.
            BadRowError: a picture cannot be read, with strict `bad_rows`.
        """
        progress = _Progress(on_progress)
        arrived: set[str] = set()
        for row in stream:
            if self._stopped.is_set() or not self._wait_for(row, progress):
                break
            if isinstance(row, Interaction):
                self._outbox.add(EVENTS, key=row.user_id.encode(), value=encode(row))
                progress.interaction(row, is_known=row.item_id in arrived)
            else:
                item = self._with_image(row)
                self._outbox.add(ITEMS, key=item.item_id.encode(), value=encode(item))
                arrived.add(item.item_id)
                progress.item(item, lost_image=row.image is not None and item.image is None)
        self._outbox.send()
        self._outbox.settle()
        return progress.finished()

    def _wait_for(self, row: Played, progress: _Progress) -> bool:
        """Wait until the row is due; what was added is published meanwhile. False when stopped."""
        if isinstance(row, ItemRow) and progress.n_interactions == 0:
            return True  # the catalogue at the start may be years older than the first event
        ts_ms = row.item.ts_ms if isinstance(row, ItemRow) else row.ts_ms
        due_in_s = self._pace.due_in_s(ts_ms)
        if due_in_s > 0:
            self._outbox.send()
        while due_in_s > 0:
            if self._stopped.wait(min(due_in_s, PROGRESS_S)):
                return False
            progress.report()
            due_in_s = self._pace.due_in_s(ts_ms)
        return True

    def _with_image(self, row: ItemRow) -> ItemUpsert:
        if row.image is None:
            return row.item
        try:
            return msgspec.structs.replace(row.item, image=self._images.put(_image_bytes(row.image)))
        except (BadValue, BadImage) as exc:
            file = row.image.name if isinstance(row.image, Path) else f"image of {row.item.item_id}"
            problem = BadValue("bad image", f"{exc}; the item goes without picture")
            self._bad_rows.report(file, 0, problem=problem)
            return row.item


def _image_bytes(image: bytes | Path) -> bytes:
    try:
        return image.read_bytes() if isinstance(image, Path) else image
    except OSError as exc:
        raise BadValue("image not readable", str(exc)) from exc


class _Progress:
    """Counts, told to whoever asked at most every PROGRESS_S."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self.n_interactions = 0
        self._n_items = 0
        self._n_unknown_items = 0
        self._n_bad_images = 0
        self._ts_ms: int | None = None
        self._on_progress = on_progress
        self._began_s = self._told_s = time.monotonic()

    def item(self, item: ItemUpsert, *, lost_image: bool) -> None:
        self._n_items += 1
        self._n_bad_images += lost_image
        self._ts_ms = item.ts_ms
        self.report()

    def interaction(self, event: Interaction, *, is_known: bool) -> None:
        self.n_interactions += 1
        self._n_unknown_items += not is_known
        self._ts_ms = event.ts_ms
        self.report()

    def report(self) -> None:
        if self._on_progress is not None and time.monotonic() - self._told_s >= PROGRESS_S:
            self.finished()

    def finished(self) -> ReplayCounts:
        self._told_s = time.monotonic()
        counts = ReplayCounts(
            n_items=self._n_items,
            n_interactions=self.n_interactions,
            n_unknown_items=self._n_unknown_items,
            n_bad_images=self._n_bad_images,
            ts_ms=self._ts_ms,
            elapsed_s=self._told_s - self._began_s,
        )
        if self._on_progress is not None:
            self._on_progress(counts)
        return counts
