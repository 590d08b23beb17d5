"""Bytes to typed events: every input is an event or a BadEvent that says what is wrong."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.events import (
    BadEvent,
    BlendState,
    DeadLetter,
    Exposure,
    Interaction,
    ItemRemoval,
    ItemUpsert,
    Outcome,
    PartitionCounts,
    TransitionRow,
    decode_blend_state,
    decode_dead_letter,
    decode_exposure,
    decode_interaction,
    decode_item,
    decode_outcome,
    decode_partition_counts,
    decode_transition_row,
    encode,
    event_hash,
)
from stream.schema import TYPES

DECODERS: dict[Callable[[bytes | None], object], tuple[type, ...]] = {
    decode_interaction: (Interaction,),
    decode_item: (ItemUpsert, ItemRemoval),
    decode_exposure: (Exposure,),
    decode_outcome: (Outcome,),
    decode_partition_counts: (PartitionCounts,),
    decode_transition_row: (TransitionRow,),
    decode_blend_state: (BlendState,),
    decode_dead_letter: (DeadLetter,),
}
VALID = {"type": "interaction", "event_id": "e-1", "user_id": "anna", "item_id": "i-1", "ts_ms": 1_700_000_000_000}

on_a_busy_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ids = st.text(min_size=1, max_size=256)


def raw(**changes: Any) -> bytes:
    return json.dumps(VALID | changes).encode()


def test_an_event_comes_back_as_it_was() -> None:
    event = Interaction(
        event_id="e-1", user_id="anna", item_id="film-7", ts_ms=1_700_000_000_000, kind="like", feed_id="f-3"
    )
    assert encode(event) == (
        b'{"type":"interaction","event_id":"e-1","user_id":"anna","item_id":"film-7",'
        b'"ts_ms":1700000000000,"kind":"like","feed_id":"f-3"}'
    )
    assert decode_interaction(encode(event)) == event


def test_event_hash_is_the_same_in_every_process() -> None:
    assert event_hash("ml-1m-1") == 13487872689582278490


def test_what_is_left_out_has_its_default() -> None:
    event = decode_interaction(raw())
    assert (event.kind, event.feed_id) == ("click", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_id": "x" * 10_000}, r"length <= 256 - at `\$.user_id`"),
        ({"event_id": ""}, r"length >= 1 - at `\$.event_id`"),
        ({"item_id": 7}, r"Expected `str`, got `int` - at `\$.item_id`"),
        ({"ts_ms": 1_700_000_000_000_000}, r"`int` <= 4102444800000 - at `\$.ts_ms`"),
        ({"ts_ms": 10**30}, r"ts_ms"),
        ({"ts_ms": -1}, r"`int` >= 0 - at `\$.ts_ms`"),
        ({"ts_ms": "now"}, r"Expected `int`, got `str` - at `\$.ts_ms`"),
        ({"kind": "k" * 33}, r"length <= 32 - at `\$.kind`"),
        ({"type": "item_upsert"}, r"Invalid value 'item_upsert' - at `\$.type`"),
    ],
)
def test_a_bad_field_is_named_with_its_limit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadEvent, match=message):
        decode_interaction(raw(**changes))


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadEvent, match="missing required field `user_id`"):
        decode_interaction(b'{"type":"interaction","event_id":"e"}')


def test_an_event_above_the_size_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(BadEvent, match="65537 bytes, limit is 65536"):
        decode_interaction(b" " * 65_537)


def test_an_item_may_be_larger_than_an_event_and_has_its_own_limit() -> None:
    assert isinstance(decode_item(encode(ItemUpsert(item_id="i", ts_ms=1, text="\x01" * 20_000))), ItemUpsert)
    with pytest.raises(BadEvent, match="1000001 bytes, limit is 1000000"):
        decode_item(b" " * 1_000_001)


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (ItemUpsert(item_id="i", ts_ms=1, title="x" * 1_001), "title"),
        (ItemUpsert(item_id="i", ts_ms=1, text="x" * 20_001), "text"),
        (ItemUpsert(item_id="i", ts_ms=1, attributes={str(n): "" for n in range(101)}), "attributes"),
        (ItemUpsert(item_id="i", ts_ms=1, text_vector=b"x" * 65_537), "text_vector"),
    ],
)
def test_an_item_field_above_its_limit_is_named(item: ItemUpsert, field: str) -> None:
    with pytest.raises(BadEvent, match=rf"length <= \d+ - at `\$.{field}`"):
        decode_item(encode(item))


@pytest.mark.parametrize(
    "broken", [b"\xff\xfe", b'{"type":"interaction","user_id":"\xff"}', b"", b"null", b"[" * 60_000]
)
def test_bytes_that_are_no_json_text_are_a_bad_event(broken: bytes) -> None:
    with pytest.raises(BadEvent, match=r"event rejected: .*; first bytes"):
        decode_interaction(broken)


def test_a_record_without_a_value_is_a_bad_event() -> None:
    with pytest.raises(BadEvent, match="no value"):
        decode_interaction(None)


def test_text_that_is_not_unicode_cannot_be_written() -> None:
    with pytest.raises(BadEvent, match="UTF-8"):
        encode(Interaction(event_id="e", user_id="\ud800", item_id="i", ts_ms=1))


@pytest.mark.parametrize("decode", DECODERS)
@on_a_busy_machine
@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_bad_event(decode: Callable[[bytes], object], data: bytes) -> None:
    try:
        event = decode(data)
    except BadEvent:
        return
    assert isinstance(event, DECODERS[decode])


@pytest.mark.parametrize("decode", DECODERS)
@on_a_busy_machine
@given(
    fields=st.dictionaries(
        st.sampled_from(["type", "event_id", "user_id", "item_id", "ts_ms", "item_ids", "attributes", "value", "key"]),
        json_values | st.sampled_from([str(record.__struct_config__.tag) for record in TYPES]),
    )
)
def test_any_json_object_is_an_event_or_a_bad_event(decode: Callable[[bytes], object], fields: dict[str, Any]) -> None:
    try:
        event = decode(json.dumps(fields).encode())
    except BadEvent:
        return
    assert isinstance(event, DECODERS[decode])


@on_a_busy_machine
@given(data=st.binary(max_size=20), at=st.integers(0, 120))
def test_a_damaged_event_is_an_event_or_a_bad_event(data: bytes, at: int) -> None:
    whole = raw()
    try:
        event = decode_interaction(whole[:at] + data + whole[at + len(data) :])
    except BadEvent:
        return
    assert isinstance(event, Interaction)


@on_a_busy_machine
@given(event_id=ids, user_id=ids, item_id=ids, ts_ms=st.integers(0, 4_102_444_800_000))
def test_every_valid_event_survives_the_round_trip(event_id: str, user_id: str, item_id: str, ts_ms: int) -> None:
    event = Interaction(event_id=event_id, user_id=user_id, item_id=item_id, ts_ms=ts_ms)
    assert decode_interaction(encode(event)) == event
