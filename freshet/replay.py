"""`freshet replay`: a data set sent to a running service over HTTP, in event time or as fast as it takes it."""

import sys
import threading
from pathlib import Path

import httpx

from freshet.client import ApiError, Client
from stream.events import Interaction
from stream.images import BadImage, check_image
from stream.replay.dataset import Dataset
from stream.replay.player import Pace
from stream.replay.rows import BadRows, BadValue, DatasetError, ItemRow
from stream.replay.timeline import timeline

BATCH = 1_000


class ReplayFailed(Exception):
    """The service refused a row or cannot be reached, or there was nothing to send."""


def replay_over_http(dataset: Dataset, *, url: str, speed: str) -> int:
    """Send items and interactions; safe to repeat, since event ids are those of the data set.

    Raises:
        ReplayFailed: the service refused a row, did not answer after several tries, or nothing could be sent.
        BadRowError: a row is bad and the data set is read strictly.
        DatasetError: the data cannot be read, or not a speed.
    """
    pace = _pace(speed)
    with _client(url) as client:
        sender = _Sender(client, dataset.bad_rows)
        try:
            for row in timeline(dataset):
                if isinstance(row, ItemRow):
                    sender.item(row)
                else:
                    sender.event(row, due_in_s=pace.due_in_s(row.ts_ms))
            sender.flush()
        except ApiError as exc:
            raise ReplayFailed(f"{exc} (after {sender.n_items:,} items and {sender.n_events:,} events)") from exc
    if sender.n_vectors:
        print(f"\n{sender.n_vectors:,} items bring vectors of their own, which HTTP does not take: they were left out")
    print(f"\nsent {sender.n_items:,} items and {sender.n_events:,} events; bad rows: {dataset.bad_rows.total}")
    _check_sent(sender, dataset)
    return 0


def _check_sent(sender: "_Sender", dataset: Dataset) -> None:
    """Raises ReplayFailed where no event was sent; the items of a data set without any are enough."""
    if not sender.n_events and (not sender.n_items or dataset.bad_rows.total):
        first = f", the first: {dataset.bad_rows.first[0]}" if dataset.bad_rows.total else ""
        raise ReplayFailed(f"no event of {dataset.name} could be sent; bad rows: {dataset.bad_rows.total}{first}")


def _pace(speed: str) -> Pace:
    try:
        return Pace(None if speed == "max" else float(speed))
    except ValueError as exc:
        raise DatasetError(f"--speed {speed!r} is neither a number above 0 nor `max`") from exc


def _client(url: str) -> Client:
    try:
        return Client(url)
    except httpx.InvalidURL as exc:
        raise ReplayFailed(f"--url {url!r} is no address: {exc}; it looks like http://127.0.0.1:8000") from exc


class _Sender:
    """Batches events and keeps their order with items."""

    def __init__(self, client: Client, bad_rows: BadRows) -> None:
        self.n_items = 0
        self.n_events = 0
        self.n_vectors = 0  # items whose own vectors were left out
        self._client = client
        self._bad_rows = bad_rows
        self._batch: list[Interaction] = []

    def event(self, event: Interaction, *, due_in_s: float) -> None:
        if due_in_s > 0:
            self.flush()
            threading.Event().wait(due_in_s)
        self._batch.append(event)
        if len(self._batch) == BATCH:
            self.flush()

    def item(self, row: ItemRow) -> None:
        self.flush()
        self._client.put_item(self._with_good_picture(row))
        self.n_items += 1
        self.n_vectors += row.item.text_vector is not None or row.item.image_vector is not None

    def _with_good_picture(self, row: ItemRow) -> ItemRow:
        """The row; without its picture where that cannot be read, which is reported."""
        try:
            data = row.image.read_bytes() if isinstance(row.image, Path) else row.image
            if data is not None:
                check_image(data)
            return row._replace(image=data)
        except (OSError, BadImage) as exc:
            file = row.image.name if isinstance(row.image, Path) else f"image of {row.item.item_id}"
            self._bad_rows.report(file, 0, problem=BadValue("bad image", f"{exc}; the item goes without picture"))
            return row._replace(image=None)

    def flush(self) -> None:
        if self._batch:
            self._client.send(self._batch)
            self.n_events += len(self._batch)
            self._batch = []
        print(f"\r{self.n_items:,} items, {self.n_events:,} events sent", end="", file=sys.stderr, flush=True)
