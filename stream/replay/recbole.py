"""RecBole's atomic files: one `.inter` and one `.item`, tab-separated, with `name:type` headers.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html. Types are token, token_seq (separated by
spaces), float and float_seq. Where the interactions carry a rating, its scale is not known: the kind is `rate`
whatever the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from stream.events import Interaction
from stream.replay.history import History
from stream.replay.rows import BadValue, DatasetError, ItemRow, Reading
from stream.replay.tables import decoded
from stream.replay.values import checked_item, id_of, ts_ms_of

TYPES = ("token", "token_seq", "float", "float_seq")
TITLE_FIELDS = ("title", "movie_title", "name", "item_name")  # the first one there is
TEXT_FIELDS = ("description", "text", "abstract")
_Typed = dict[str, str]  # field to type, in the order of the columns


class RecBole:
    """A pair of atomic files; read when asked for, interactions are kept in memory."""

    def __init__(self, inter: Path, item: Path, reading: Reading) -> None:
        """The data set of these two files.

        Raises:
            UnknownKind: `rate` or `click` is not among the kinds.
        """
        for kind in ("rate", "click"):
            reading.kinds.get(kind)
        self.name = reading.name
        self.bad_rows = reading.bad_rows
        self._inter = inter
        self._item = item
        self._seed = reading.seed

    def items(self) -> Iterator[ItemRow]:
        """Items in the order of their file; none says when it arrived.

        Raises:
            DatasetError: the file cannot be read, or has no item_id.
        """
        types = _header(self._item, ("item_id",))
        first_line: dict[str, int] = {}
        for line, text in _body(self._item):
            try:
                values = _values(types, text)
                item_id = id_of(values["item_id"], "item_id")
                if first_line.setdefault(item_id, line) != line:
                    raise BadValue(
                        "duplicate item",
                        f"item_id {item_id!r} is already in line {first_line[item_id]}; the first one counts",
                    )
                row = ItemRow(checked_item(_item_fields(item_id, types, values)))
            except BadValue as problem:
                self.bad_rows.report(self._item.name, line, problem=problem)
            else:
                yield row

    def interactions(self) -> Iterator[Interaction]:
        """Interactions in the order of time.

        Raises:
            DatasetError: the file cannot be read, or has no user_id, item_id or timestamp.
        """
        return iter(self._history)

    @cached_property
    def _history(self) -> History:
        history = History(self.name, seed=self._seed)
        types = _header(self._inter, ("user_id", "item_id", "timestamp"))
        kind = "rate" if "rating" in types else "click"
        for line, text in _body(self._inter):
            try:
                values = _values(types, text)
                ts_ms = ts_ms_of(values["timestamp"])
                history.add(values["user_id"], values["item_id"], ts_ms=ts_ms, kind=kind, row=line)
            except BadValue as problem:
                self.bad_rows.report(self._inter.name, line, problem=problem)
        return history


def _body(path: Path) -> Iterator[tuple[int, str]]:
    for line, text in _lines(path):
        if line > 1:
            yield line, text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for line, text in enumerate(file, 1):
                if text.strip():
                    yield line, text.rstrip("\n")
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read: {exc}") from exc


def _header(path: Path, required: tuple[str, ...]) -> _Typed:
    _, text = next(_lines(path), (1, ""))
    columns = [column.strip().partition(":") for column in text.split("\t")]
    wrong = [name for name, _, kind in columns if kind not in TYPES]
    if wrong:
        raise DatasetError(
            f"{path} has columns without a type: {', '.join(wrong)[:200]!r}; "
            f"its first line must hold name:type separated by tabs, types are {', '.join(TYPES)}"
        )
    types = {name: kind for name, _, kind in columns}
    missing = [name for name in required if name not in types]
    if missing:
        raise DatasetError(f"{path} has no field {', '.join(missing)}; its fields are {', '.join(types)}")
    return types


def _values(types: _Typed, text: str) -> dict[str, str]:
    fields = decoded(text).split("\t")
    if len(fields) != len(types):
        raise BadValue("wrong column count", f"{len(fields)} columns, the header has {len(types)}")
    return dict(zip(types, fields, strict=True))


def _item_fields(item_id: str, types: _Typed, values: dict[str, str]) -> dict[str, object]:
    """Title and description by their usual names; without a description the tokens say what the item is."""
    title = next((name for name in TITLE_FIELDS if name in types), "")
    text = next((name for name in TEXT_FIELDS if name in types), "")
    rest = {name: values[name].strip() for name in types if name not in {"item_id", title, text}}
    attributes = {name: value for name, value in rest.items() if value}
    tokens = [
        f"{name.replace('_', ' ').capitalize()}: {value}."
        for name, value in attributes.items()
        if types[name].startswith("token")
    ]
    return {
        "item_id": item_id,
        "ts_ms": 0,
        "title": values.get(title, "").strip(),
        "text": values.get(text, "").strip() or " ".join(tokens),
        "attributes": attributes,
    }
