"""The folder format, how users bring their own data: `interactions.*`, `items.*`, `images/`, `features/`.

Documented with an example in docs/data-formats.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from stream.events import Interaction, ItemUpsert
from stream.replay.features import Features
from stream.replay.history import History
from stream.replay.rows import BadValue, ItemRow, Reading
from stream.replay.tables import Row, Table
from stream.replay.values import checked_item, id_of, text_of, ts_ms_of

DEFAULT_KIND = "click"
IMAGES = "images"
_ITEM_FIELDS = frozenset({"item_id", "title", "text", "image", "timestamp"})  # the rest are attributes


class Folder:
    """One folder in our own format; read when asked for, interactions are kept in memory."""

    def __init__(self, interactions: Path, items: Path, reading: Reading) -> None:
        """The data set of these two files, which lie in one folder."""
        self.name = reading.name
        self.bad_rows = reading.bad_rows
        self._interactions = Table(interactions, ("user_id", "item_id", "timestamp"), reading.bad_rows)
        required = () if items.suffix == ".jsonl" else ("item_id", "title", "text")
        self._items = Table(items, required, reading.bad_rows)
        self._root = items.parent
        self._seed = reading.seed
        self._kinds = reading.kinds

    def items(self) -> Iterator[ItemRow]:
        """Items in the order of their file.

        Raises:
            DatasetError: the file cannot be read, or the features do not fit it.
        """
        features = Features(self._root / "features", self._items)
        first_line: dict[tuple[str, int], int] = {}
        for row in self._items:
            try:
                item = self._item(row)
                _check_new(item, row.line, first_line)
                item = msgspec.structs.replace(item, **features.vectors(row.place))
            except BadValue as problem:
                self._items.report(row.line, problem)
            else:
                is_timed = not _is_missing(row.values.get("timestamp"))
                yield ItemRow(item, self._image(row), is_timed)

    def interactions(self) -> Iterator[Interaction]:
        """Interactions in the order of time.

        Raises:
            DatasetError: the file cannot be read.
        """
        return iter(self._history)

    @cached_property
    def _history(self) -> History:
        history = History(self.name, seed=self._seed)
        for row in self._interactions:
            values = row.values
            try:
                ts_ms = ts_ms_of(values.get("timestamp"))
                kind = self._kind(values.get("kind"))
                history.add(values.get("user_id"), values.get("item_id"), ts_ms=ts_ms, kind=kind, row=row.line)
            except BadValue as problem:
                self._interactions.report(row.line, problem)
        return history

    def _kind(self, value: object) -> str:
        given = text_of(value, "kind")
        kind = given or DEFAULT_KIND
        if kind not in self._kinds:
            named = f"{kind[:80]!r}" if given else f"none given, which is {DEFAULT_KIND!r}"
            raise BadValue("unknown kind", f"{named}; known are {', '.join(self._kinds.names)}")
        return kind

    def _item(self, row: Row) -> ItemUpsert:
        values = row.values
        timestamp = values.get("timestamp")
        fields = {
            "item_id": id_of(values.get("item_id"), "item_id"),
            "ts_ms": 0 if _is_missing(timestamp) else ts_ms_of(timestamp),
            "title": text_of(values.get("title"), "title"),
            "text": text_of(values.get("text"), "text"),
            "attributes": _attributes(values),
        }
        return checked_item(fields)

    def _image(self, row: Row) -> Path | None:
        """The picture's path; one that cannot be used is reported, and the item goes without."""
        try:
            name = text_of(row.values.get("image"), "image")
            return _inside(self._root / IMAGES, name) if name else None
        except BadValue as problem:
            self._items.report(row.line, problem)
            return None


def _attributes(values: dict[str, Any]) -> dict[str, str]:
    texts = {name: text_of(value, name) for name, value in values.items() if name not in _ITEM_FIELDS}
    return {name: text for name, text in texts.items() if text}


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _inside(folder: Path, name: str) -> Path:
    """A file below the folder, whatever the name tries."""
    try:
        path = (folder / name).resolve()
        is_inside, is_file = path.is_relative_to(folder.resolve()), path.is_file()
    except (OSError, ValueError) as exc:  # too long, a null character, a loop of links
        raise BadValue("bad image path", f"{name[:80]!r}: {exc}; the item goes without picture") from exc
    if not is_inside:
        raise BadValue("bad image path", f"{name[:80]!r} leads out of {IMAGES}/; the item goes without picture")
    if not is_file:
        raise BadValue("image not found", f"{IMAGES}/{name[:80]} is no file; the item goes without picture")
    return path


def _check_new(item: ItemUpsert, line: int, first_line: dict[tuple[str, int], int]) -> None:
    """The same item at another time is an update; at the same time it is a mistake."""
    first = first_line.setdefault((item.item_id, item.ts_ms), line)
    if first != line:
        raise BadValue("duplicate item", f"item_id {item.item_id!r} is already in line {first}; the first one counts")
