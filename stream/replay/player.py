"""A data set played onto the log in the order of event time, as fast as the log takes it.

    Dataset -> timeline() -> Player -> topics `items` (key item_id) and `events` (key user_id)

Playing the same data set again publishes the same event ids, so whoever counts events by id counts them once.
"""

from __future__ import annotations

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
from stream.replay.timeline import Played
from stream.topics import EVENTS, ITEMS

PROGRESS_S = 0.5  # between two reports
PUBLISH_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ReplayCounts:
    """How far a replay is.

    Attributes:
        n_items: item rows published.
        n_interactions: interactions published.
        n_unknown_items: of these, on an item that had not arrived; the stream may learn of it later.
        elapsed_s: since the replay began.
    """

    n_items: int = 0
    n_interactions: int = 0
    n_unknown_items: int = 0
    elapsed_s: float = 0.0


OnProgress = Callable[[ReplayCounts], None]


class Player:
    """Publishes a timeline. For one replay at a time.

    Args:
        log: with the topics `items` and `events`.
        images: where pictures are put before their item is published.
        bad_rows: told of pictures that cannot be read.
    """

    def __init__(self, log: Log, images: ImageStore, *, bad_rows: BadRows) -> None:
        self._images = images
        self._bad_rows = bad_rows
        self._outbox = Outbox(log, timeout_s=PUBLISH_TIMEOUT_S)

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
            if isinstance(row, Interaction):
                self._outbox.add(EVENTS, key=row.user_id.encode(), value=encode(row))
                progress.interaction(is_known=row.item_id in arrived)
            else:
                item = self._with_image(row)
                self._outbox.add(ITEMS, key=item.item_id.encode(), value=encode(item))
                arrived.add(item.item_id)
                progress.item()
        self._outbox.send()
        self._outbox.settle()
        return progress.finished()

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
        self._n_items = 0
        self._n_interactions = 0
        self._n_unknown_items = 0
        self._on_progress = on_progress
        self._began_s = self._told_s = time.monotonic()

    def item(self) -> None:
        self._n_items += 1
        self._report()

    def interaction(self, *, is_known: bool) -> None:
        self._n_interactions += 1
        self._n_unknown_items += not is_known
        self._report()

    def _report(self) -> None:
        if self._on_progress is not None and time.monotonic() - self._told_s >= PROGRESS_S:
            self.finished()

    def finished(self) -> ReplayCounts:
        self._told_s = time.monotonic()
        counts = ReplayCounts(
            n_items=self._n_items,
            n_interactions=self._n_interactions,
            n_unknown_items=self._n_unknown_items,
            elapsed_s=self._told_s - self._began_s,
        )
        if self._on_progress is not None:
            self._on_progress(counts)
        return counts
