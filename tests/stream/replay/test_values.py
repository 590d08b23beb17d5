from datetime import UTC, date, datetime

import pytest

from stream.replay.rows import BadValue
from stream.replay.values import checked_item, id_of, text_of, ts_ms_of


@pytest.mark.parametrize(
    ("value", "ts_ms"),
    [
        ("978300760", 978_300_760_000),
        (" 978300760.25 ", 978_300_760_250),
        ("9.783e8", 978_300_000_000),
        (978_300_760, 978_300_760_000),
        (0.5, 500),
        ("2001-01-01", 978_307_200_000),
        ("2001-01-01T00:00:00", 978_307_200_000),
        ("2001-01-01T00:00:00Z", 978_307_200_000),
        ("2001-01-01 02:00:00.123456+02:00", 978_307_200_123),
        (datetime(2001, 1, 1), 978_307_200_000),
        (datetime(2001, 1, 1, tzinfo=UTC), 978_307_200_000),
        (date(2001, 1, 1), 978_307_200_000),
    ],
)
def test_seconds_and_iso_become_milliseconds(value: object, ts_ms: int) -> None:
    assert ts_ms_of(value) == ts_ms


@pytest.mark.parametrize(
    "value",
    ["", "soon", "1_000", "nan", "inf", float("nan"), float("inf"), None, True, [], "2001-13-01", "9" * 500, "²"],
)
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(BadValue, match="bad timestamp"):
        ts_ms_of(value)


@pytest.mark.parametrize("value", ["-1", "978300760000", "1969-12-31", "2200-01-01", 1e300])
def test_times_outside_1970_to_2100_are_refused_with_the_likely_reason(value: object) -> None:
    with pytest.raises(BadValue, match=r"outside 1970 to 2100; give seconds since 1970 \(not milliseconds\)"):
        ts_ms_of(value)


def test_ids_are_text_or_whole_numbers() -> None:
    assert id_of("a b", "item_id") == "a b"
    assert id_of(17, "item_id") == "17"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty id: user_id is ''"),
        ("  ", "empty id: user_id is '  '"),
        (None, "empty id: user_id is None"),
        (1.5, r"bad id: user_id is 1\.5; it must be text or a whole number"),
        (True, "bad id: user_id is True"),
        ("x" * 10_000, "id too long: user_id has 10000 characters, limit is 256"),
    ],
)
def test_other_ids_are_refused(value: object, reason: str) -> None:
    with pytest.raises(BadValue, match=reason):
        id_of(value, "user_id")


def test_lists_of_texts_are_joined_and_nested_data_refused() -> None:
    assert text_of(["a", 1, None], "tags") == "a, 1, "
    with pytest.raises(BadValue, match="bad text: tags is nested data"):
        text_of({"a": 1}, "tags")


def test_item_above_a_limit_is_refused_with_field_and_limit() -> None:
    with pytest.raises(BadValue, match=r"length <= 20000 - at `\$\.text`"):
        checked_item({"item_id": "a", "ts_ms": 0, "text": "x" * 20_001})


def test_item_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(BadValue, match="UTF-8"):
        checked_item({"item_id": "a", "ts_ms": 0, "title": "\ud800"})


def test_item_too_large_as_an_event_is_refused() -> None:
    attributes = {f"{number:03d}" + "\x01" * 990: "\x01" * 1_000 for number in range(100)}
    with pytest.raises(BadValue, match=r"bad item: \d+ bytes as an event, limit is 1000000"):
        checked_item({"item_id": "a", "ts_ms": 0, "attributes": attributes})
