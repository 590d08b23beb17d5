"""`freshet replay`: a data set sent to a running service over HTTP, in event time or as fast as it takes it."""

import sys
import threading
from pathlib import Path

import httpx

from freshet.client import ApiError, Client
from freshet.left_out import say_left_out
from freshet.pace import Pace
from freshet.progress import say
from stream.events import Interaction
from stream.images import BadImage, check_image
from stream.replay.dataset import Dataset
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
        sender = _Sender(client, pace, dataset.bad_rows)
        try:
            for row in timeline(dataset):
                if isinstance(row, ItemRow):
                    sender.item(row)
                else:
                    sender.event(row)
            sender.flush()
            print(file=sys.stderr)
        except ApiError as exc:
            raise ReplayFailed(f"{exc} (after {sender.n_items:,} items and {sender.n_events:,} events)") from exc
    if sender.n_vectors:
        print(f"{sender.n_vectors:,} items bring vectors of their own, which HTTP does not take: they were left out")
    say_left_out(dataset.bad_rows, sender.n_unknown_items, say)
    print(f"sent {sender.n_items:,} items and {sender.n_events:,} events")
    if not sender.n_events and (not sender.n_items or dataset.bad_rows.total):  # a catalogue alone may be sent
        raise ReplayFailed(f"no event of {dataset.name} could be sent")
    return 0


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
    """Sends each row when it is due; batches events and keeps their order with items."""

    def __init__(self, client: Client, pace: Pace, bad_rows: BadRows) -> None:
        self.n_items = 0
        self.n_events = 0
        self.n_vectors = 0  # items whose own vectors were left out
        self.n_unknown_items = 0  # events sent before their item
        self._arrived: set[str] = set()
        self._client = client
        self._pace = pace
        self._bad_rows = bad_rows
        self._batch: list[Interaction] = []

    def event(self, event: Interaction) -> None:
        self._wait_until(event.ts_ms)
        self.n_unknown_items += event.item_id not in self._arrived
        self._batch.append(event)
        if len(self._batch) == BATCH:
            self.flush()

    def item(self, row: ItemRow) -> None:
        if self._pace.has_begun:  # the catalogue at the start may be years older than the first event
            self._wait_until(row.item.ts_ms)
        self.flush()
        self._client.put_item(self._with_good_picture(row))
        self.n_items += 1
        self._arrived.add(row.item.item_id)
        self.n_vectors += row.item.text_vector is not None or row.item.image_vector is not None

    def _wait_until(self, ts_ms: int) -> None:
        due_in_s = self._pace.due_in_s(ts_ms)
        if due_in_s > 0:
            self.flush()
            threading.Event().wait(due_in_s)

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
