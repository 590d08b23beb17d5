import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from stream.embedded.log import EmbeddedLog
from stream.events import Interaction, ItemUpsert, decode_interaction, decode_item
from stream.images import ImageStore
from stream.log import LogUnavailable, Message, Position, QueueFull, Reader, Record
from stream.replay import outbox
from stream.replay.outbox import Outbox
from stream.replay.player import Player, ReplayCounts
from stream.replay.rows import BadRowError, BadRows, ItemRow
from stream.replay.timeline import timeline
from stream.topics import EVENTS, ITEMS, topics


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(file, "PNG")
    return file.getvalue()


def event(number: int, ts_ms: int, item_id: str = "mug") -> Interaction:
    return Interaction(event_id=f"t-{number}", user_id="ann", item_id=item_id, ts_ms=ts_ms)


def row(item_id: str, ts_ms: int | None = None, image: bytes | Path | None = None) -> ItemRow:
    return ItemRow(ItemUpsert(item_id=item_id, ts_ms=ts_ms or 0), image, is_timed=ts_ms is not None)


class Typed:
    """A data set of rows typed by hand."""

    name = "typed"

    def __init__(self, items: list[ItemRow], events: list[Interaction]) -> None:
        self.bad_rows = BadRows()
        self._items = items
        self._events = events

    def items(self) -> Iterator[ItemRow]:
        return iter(self._items)

    def interactions(self) -> Iterator[Interaction]:
        return iter(self._events)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "log.db", topics(2))
    yield log
    log.close()


@pytest.fixture
def images(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def read_all(log: EmbeddedLog, topic: str) -> list[Record]:
    reader: Reader = log.reader(topic, partitions=(0, 1))
    wanted = sum(log.ends(topic).values())
    records: list[Record] = []
    while len(records) < wanted:
        records += reader.poll(max_records=1_000, timeout_s=5.0)
    reader.close()
    return records


def names(played: object) -> list[str]:
    assert isinstance(played, list)
    return [
        f"{one.item_id}@{one.ts_ms}" if isinstance(one, Interaction) else f"+{one.item.item_id}@{one.item.ts_ms}"
        for one in played
    ]


def test_items_arrive_before_their_first_interaction_or_at_the_start() -> None:
    dataset = Typed(
        [row("pot"), row("never"), row("mug"), row("late", 25), row("old", 3), row("last", 90)],
        [event(1, 10, "mug"), event(2, 20, "mug"), event(3, 20, "unknown"), event(4, 30, "pot")],
    )
    assert names(list(timeline(dataset))) == [
        "+old@3",
        "+never@10",
        "+mug@10",
        "mug@10",
        "mug@20",
        "unknown@20",
        "+late@25",
        "+pot@30",
        "pot@30",
        "+last@90",
    ]


def test_a_data_set_without_interactions_is_only_its_items() -> None:
    assert names(list(timeline(Typed([row("a"), row("b", 5)], [])))) == ["+a@0", "+b@5"]


def test_everything_is_published_under_its_key(log: EmbeddedLog, images: ImageStore) -> None:
    dataset = Typed([row("mug", image=png())], [event(1, 10), event(2, 20, "unknown")])

    counts = Player(log, images, bad_rows=BadRows()).play(timeline(dataset))

    assert (counts.n_items, counts.n_interactions, counts.n_unknown_items) == (1, 2, 1)
    (item,) = read_all(log, ITEMS)
    upsert = decode_item(item.value)
    assert isinstance(upsert, ItemUpsert)
    assert (item.key, upsert.item_id, upsert.ts_ms) == (b"mug", "mug", 10)
    assert images.get(upsert.image or "") == png()
    events = read_all(log, EVENTS)
    assert [(one.key, decode_interaction(one.value).event_id) for one in events] == [
        (b"ann", "t-1"),
        (b"ann", "t-2"),
    ]


def test_order_of_a_key_is_kept_over_many_batches(log: EmbeddedLog, images: ImageStore) -> None:
    counts = Player(log, images, bad_rows=BadRows()).play(event(number, number) for number in range(3_500))

    assert counts.n_interactions == 3_500
    numbers = [int(decode_interaction(one.value).event_id[2:]) for one in read_all(log, EVENTS)]
    assert numbers == list(range(3_500))


def test_a_picture_that_cannot_be_read_is_reported_and_left_out(
    log: EmbeddedLog, images: ImageStore, tmp_path: Path
) -> None:
    bad_rows = BadRows()
    stream = [row("broken", image=png()[:40]), row("missing", image=tmp_path / "gone.jpg")]

    counts = Player(log, images, bad_rows=bad_rows).play(stream)

    assert counts.n_items == 2
    assert [one.file for one in bad_rows.first] == ["image of broken", "gone.jpg"]
    assert bad_rows.by_problem == {"bad image": 2}
    items = [decode_item(one.value) for one in read_all(log, ITEMS)]
    assert sorted(items, key=lambda item: item.item_id) == [row("broken").item, row("missing").item]


def test_a_bad_picture_ends_a_strict_replay(log: EmbeddedLog, images: ImageStore) -> None:
    with pytest.raises(BadRowError, match=r"image of broken: bad image: .*; the item goes without picture"):
        Player(log, images, bad_rows=BadRows(strict=True)).play([row("broken", image=b"no picture")])


def test_progress_ends_with_the_final_counts(log: EmbeddedLog, images: ImageStore) -> None:
    told: list[ReplayCounts] = []
    counts = Player(log, images, bad_rows=BadRows()).play([row("mug"), event(1, 10)], told.append)
    assert told[-1] == counts


class Unsteady:
    """A log that fails as it is told to, and keeps what it took."""

    log_id = "unsteady"

    def __init__(self, failures: list[Exception | None]) -> None:
        self.failures = failures  # one for each publish: None takes it
        self.taken: list[bytes | None] = []

    def publish(self, topic: str, messages: Sequence[Message]) -> Future[list[Position]]:
        failure = self.failures.pop(0) if self.failures else None
        future: Future[list[Position]] = Future()
        if isinstance(failure, QueueFull):
            raise failure
        if failure is not None:
            future.set_exception(failure)
            return future
        self.taken += [message.value for message in messages]
        future.set_result([Position(0, 0)] * len(messages))
        return future


def outbox_to(log: Unsteady, *, timeout_s: float = 30.0) -> Outbox:
    return Outbox(log, timeout_s=timeout_s)  # type: ignore[arg-type]


def test_a_batch_the_log_refused_goes_again_before_the_next() -> None:
    log = Unsteady([None, LogUnavailable("disk full"), QueueFull("full"), None])
    box = outbox_to(log)
    for value in (b"1", b"2", b"3"):
        box.add(EVENTS, key=b"k", value=value)
        box.send()
    box.settle()
    assert log.taken == [b"1", b"2", b"3"]


def test_a_log_that_stays_down_ends_the_replay_in_time() -> None:
    box = outbox_to(Unsteady([LogUnavailable("disk full")] * 100), timeout_s=0.1)
    box.add(EVENTS, key=b"k", value=b"1")
    box.send()
    with pytest.raises(LogUnavailable, match="disk full"):
        box.settle()


def test_a_full_batch_is_sent_by_itself() -> None:
    log = Unsteady([])
    box = outbox_to(log)
    for _ in range(outbox.MAX_MESSAGES - 1):
        box.add(EVENTS, key=b"k", value=b"v")
    assert log.taken == []
    box.add(EVENTS, key=b"k", value=b"v")
    assert len(log.taken) == outbox.MAX_MESSAGES
    box.add(ITEMS, key=b"k", value=b"x" * outbox.MAX_BYTES)
    assert len(log.taken) == outbox.MAX_MESSAGES + 1
