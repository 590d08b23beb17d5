"""Single values of a data set's rows, as text, JSON or Parquet carry them, checked and in our units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from stream.events import MAX_ID_LENGTH, MAX_ITEM_BYTES, MAX_TS_MS, BadEvent, ItemUpsert, encode
from stream.replay.rows import BadValue

_SHOWN = 80  # characters of a bad value in a message
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ts_ms_of(value: object) -> int:
    """Seconds since 1970 (number or text), ISO 8601 text, or a date to milliseconds; without a zone it is UTC.

    >>> ts_ms_of("978300760"), ts_ms_of("2001-01-01T00:00:00+01:00"), ts_ms_of(1.5)
    (978300760000, 978303600000, 1500)

    Raises:
        BadValue: none of these, or outside 1970 to 2100.
    """
    if isinstance(value, str):
        value = _number_or_datetime(value.strip())
    if isinstance(value, datetime):
        ts_ms = _datetime_ms(value)
    elif isinstance(value, date):
        ts_ms = _datetime_ms(datetime.combine(value, time()))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        ts_ms = _seconds_ms(value)
    else:
        raise BadValue("bad timestamp", f"{_shown(value)}; give seconds since 1970 or ISO 8601")
    if not 0 <= ts_ms <= MAX_TS_MS:
        raise BadValue(
            "bad timestamp",
            f"{_shown(value)} is outside 1970 to 2100; give seconds since 1970 (not milliseconds) or ISO 8601",
        )
    return ts_ms


def id_of(value: object, field: str) -> str:
    """A user's or item's id: text, or a whole number from JSON or Parquet.

    Raises:
        BadValue: empty, too long, or of another type.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadValue("empty id", f"{field} is {value!r}")
    if not isinstance(value, str):
        raise BadValue("bad id", f"{field} is {_shown(value)}; it must be text or a whole number")
    if len(value) > MAX_ID_LENGTH:
        raise BadValue("id too long", f"{field} has {len(value)} characters, limit is {MAX_ID_LENGTH}")
    return value


def text_of(value: object, field: str) -> str:
    """A text: scalars as they print, nothing as empty, a list of texts joined by commas.

    Raises:
        BadValue: nested data.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(text_of(part, field) for part in value)
    if isinstance(value, dict):
        raise BadValue("bad text", f"{field} is nested data {_shown(value)}; give text, a number or a list")
    return str(value)


def checked_item(fields: Mapping[str, object]) -> ItemUpsert:
    """An item from its fields, within the limits of the log.

    Raises:
        BadValue: a field is above its limit; the message names both.
    """
    try:
        item = msgspec.convert(fields, ItemUpsert)
        n_bytes = len(encode(item))
    except (msgspec.ValidationError, BadEvent) as exc:
        raise BadValue("bad item", str(exc)) from exc
    if n_bytes > MAX_ITEM_BYTES:
        raise BadValue("bad item", f"{n_bytes} bytes as an event, limit is {MAX_ITEM_BYTES}")
    return item


def _number_or_datetime(text: str) -> object:
    if text.isdecimal() and text.isascii():
        return int(text) if len(text) < _SHOWN else text
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _seconds_ms(seconds: float) -> int:
    if abs(seconds) > MAX_TS_MS:  # also infinities, which have no whole number
        return MAX_TS_MS + 1
    if seconds != seconds:  # noqa: PLR0124 - NaN
        return -1
    return round(seconds * 1000)


def _datetime_ms(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _shown(value: object) -> str:
    return repr(value)[:_SHOWN]
