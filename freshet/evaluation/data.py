"""A data set as what models are evaluated on: histories, content, and what groups items belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from consumers.catalog.catalog import CatalogItem
from freshet.left_out import say_left_out
from freshet.progress import Say, say
from models.content.table import ItemContent
from models.encoder.batches import SequenceData
from models.evaluation.ranks import BoolArray, IntArray
from stream.images import BadImage, check_image
from stream.kinds import EventKinds
from stream.replay.dataset import Dataset
from stream.replay.rows import BadRows, BadValue, ItemRow

GROUPS = ("provider", "seller", "brand", "artist", "genres", "genre", "category")  # looked for, in this order
ALWAYS_MS = np.iinfo(np.int64).min

Groups = tuple[tuple[str, ...], ...]


class EvaluationError(ValueError):
    """What was asked for cannot be evaluated; the message says what to change."""


@dataclass(frozen=True)
class EvaluationData:
    """Items are rows 0..N-1 throughout.

    Attributes:
        name: of the data set.
        events: histories of all users.
        items: content, row i is item i.
        pictures: by image reference.
        live_from_ms: (N,) when each item became a candidate; `ALWAYS_MS` where the data set does not say.
        group_name: the attribute the groups come from; None where there is none.
        groups: N times the item's groups.
        n_left_out: events left out because the catalogue does not know their item.
        fingerprint: hash of events, items and when each became a candidate; another one means another data set.
    """

    name: str
    events: SequenceData
    items: tuple[ItemContent, ...]
    pictures: Mapping[str, bytes | Path]
    live_from_ms: IntArray
    group_name: str | None
    groups: Groups
    n_left_out: int
    fingerprint: str

    @property
    def has_text(self) -> BoolArray:
        """(N,)."""
        return np.array([bool(item.sentences) or item.text_vector is not None for item in self.items], np.bool_)

    @property
    def has_image(self) -> BoolArray:
        """(N,)."""
        return np.array([item.image is not None or item.image_vector is not None for item in self.items], np.bool_)

    def read_image(self, reference: str) -> bytes | None:
        """A picture by its reference; None where it is gone."""
        picture = self.pictures.get(reference)
        try:
            return picture.read_bytes() if isinstance(picture, Path) else picture
        except OSError:
            return None


def read_data(dataset: Dataset, *, kinds: EventKinds, group: str | None = None, say: Say = say) -> EvaluationData:
    """Read a data set as a whole, and tell what of it is not used.

    Args:
        dataset: its items, of which the newest state counts, and its events; a picture that cannot be used is a bad
            row of it.
        kinds: which events enter a history and which of them are targets.
        group: the attribute to report exposure by; None looks for a usual one.
        say: told what is left out.

    Raises:
        EvaluationError: no events, a single item, or no item with that attribute.
        DatasetError: it cannot be read.
    """
    rows, since_ms = _newest(dataset.items())
    number = {item_id: row for row, item_id in enumerate(rows)}
    events, first_ms, n_left_out = _events(dataset, number, kinds)
    if len(rows) < 2 or not len(events.rows):
        say_left_out(dataset.bad_rows, n_left_out, say)
        raise EvaluationError(
            f"data set {dataset.name} has {len(rows)} items and {len(events.rows)} events of them that enter a "
            "history; at least two items and one event are needed"
        )
    pictures: dict[str, bytes | Path] = {}
    items = tuple(_content(row, pictures, dataset.bad_rows) for row in rows.values())
    say_left_out(dataset.bad_rows, n_left_out, say)
    live_from_ms = np.minimum(np.array(list(since_ms.values()), dtype=np.int64), first_ms)
    group_name, groups = _groups([row.item.attributes for row in rows.values()], group)
    return EvaluationData(
        name=dataset.name,
        events=events,
        items=items,
        pictures=pictures,
        live_from_ms=live_from_ms,
        group_name=group_name,
        groups=groups,
        n_left_out=n_left_out,
        fingerprint=_fingerprint(events, items, live_from_ms),
    )


def thinned(data: EvaluationData, n_events: int) -> EvaluationData:
    """The same data set with the newest `n_events` of each user alone: what a young or sparse one looks like."""
    events = data.events
    ends = np.repeat(events.starts[1:], np.diff(events.starts))
    kept = np.arange(len(events.rows)) >= ends - n_events
    fewer = events.subset(kept, events.is_target)
    return replace(data, events=fewer, fingerprint=_fingerprint(fewer, data.items, data.live_from_ms))


def _newest(item_rows: Iterable[ItemRow]) -> tuple[dict[str, ItemRow], dict[str, int]]:
    """Each item's newest row in the order of first mention, and since when there was one."""
    rows: dict[str, ItemRow] = {}
    since_ms: dict[str, int] = {}
    for row in item_rows:
        item_id = row.item.item_id
        ts_ms = row.item.ts_ms if row.is_timed else ALWAYS_MS
        since_ms[item_id] = min(ts_ms, since_ms.get(item_id, ts_ms))
        if item_id not in rows or row.item.ts_ms >= rows[item_id].item.ts_ms:
            rows[item_id] = row
    return rows, since_ms


def _events(dataset: Dataset, number: Mapping[str, int], kinds: EventKinds) -> tuple[SequenceData, IntArray, int]:
    """Histories of known items, when each item was first met, and how many events are of unknown ones."""
    user_number: dict[str, int] = {}
    columns: tuple[list[int], list[int], list[int], list[bool]] = ([], [], [], [])
    users, rows, times_ms, targets = columns
    n_left_out = 0
    for event in dataset.interactions():
        kind = kinds.get(event.kind)
        if not kind.enters_sequence:
            continue
        if event.item_id not in number:
            n_left_out += 1
            continue
        users.append(user_number.setdefault(event.user_id, len(user_number)))
        rows.append(number[event.item_id])
        times_ms.append(event.ts_ms)
        targets.append(kind.is_target)
    arrays = [np.array(column, dtype=np.int64) for column in (users, rows, times_ms)]
    first_ms = np.full(len(number), np.iinfo(np.int64).max)
    np.minimum.at(first_ms, arrays[1], arrays[2])
    return SequenceData.from_events(*arrays, is_target=np.array(targets, np.bool_)), first_ms, n_left_out


def _content(row: ItemRow, pictures: dict[str, bytes | Path], bad_rows: BadRows) -> ItemContent:
    """What the towers take of an item; its picture is noted under its hash, and left out where it is none."""
    content = CatalogItem.of(row.item).content
    if row.image is None:
        return content
    try:
        data = row.image.read_bytes() if isinstance(row.image, Path) else row.image
        check_image(data)
    except (OSError, BadImage) as exc:
        file = row.image.name if isinstance(row.image, Path) else f"image of {content.item_id}"
        bad_rows.report(file, 0, problem=BadValue("bad image", f"{exc}; the item goes without picture"))
        return content
    reference = hashlib.sha256(data).hexdigest()
    pictures[reference] = row.image
    return ItemContent(content.item_id, content.sentences, reference, content.text_vector, content.image_vector)


def _groups(
    attributes: Sequence[Mapping[str, str]], asked: str | None
) -> tuple[str | None, tuple[tuple[str, ...], ...]]:
    """Values by item, cut at commas, of the attribute asked for or of the first usual one that half the items have."""
    names = {name for values in attributes for name in values}
    if asked is not None and asked not in names:
        raise EvaluationError(
            f"no item has the attribute {asked!r}; they have {', '.join(sorted(names)) or 'no attributes at all'}"
        )
    usual = (name for name in GROUPS if 2 * sum(name in values for values in attributes) >= len(attributes))
    name = asked or next(usual, None)
    parts = (values.get(name or "", "").split(",") for values in attributes)
    return name, tuple(tuple(part.strip() for part in group if part.strip()) for group in parts)


def _fingerprint(events: SequenceData, items: Sequence[ItemContent], live_from_ms: IntArray) -> str:
    digest = hashlib.sha256()
    for array in (events.rows, events.ts_ms, events.starts, events.is_target, live_from_ms):
        digest.update(np.ascontiguousarray(array).data)
    for item in items:
        digest.update(msgspec.msgpack.encode(item))
    return digest.hexdigest()[:16]
