"""What travels on the log: one frozen struct per kind of record, JSON with a `type` tag.

Bytes become a typed event here, once, at the edge; everything inside trusts the types. Unknown fields are
ignored and new fields have defaults, so that old and new processes can read one log.

    BadEvent            not a valid event; goes to the dead-letter topic, never retried
      UnknownKind       (stream.kinds) the event's kind is not in the closed set
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

MAX_ID_LENGTH = 256  # characters
MAX_KIND_LENGTH = 32
MAX_TITLE_LENGTH = 1_000
MAX_TEXT_LENGTH = 20_000
MAX_IMAGE_REF_LENGTH = 256
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_LENGTH = 1_000
MAX_VECTOR_BYTES = 65_536  # 32,768 float16 numbers
MAX_FEED_ITEMS = 1_000
MAX_TS_MS = 4_102_444_800_000  # 2100-01-01: what lies behind it is a wrong unit, not an event
MAX_EVENT_BYTES = 65_536
MAX_ITEM_BYTES = 1_000_000

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
TsMs = Annotated[int, msgspec.Meta(ge=0, le=MAX_TS_MS)]
Kind = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KIND_LENGTH)]
AttributeText = Annotated[str, msgspec.Meta(max_length=MAX_ATTRIBUTE_LENGTH)]
Attributes = Annotated[dict[AttributeText, AttributeText], msgspec.Meta(max_length=MAX_ATTRIBUTES)]
Vector = Annotated[bytes, msgspec.Meta(max_length=MAX_VECTOR_BYTES)]


class BadEvent(ValueError):
    """Bytes that are not a valid event: to the dead-letter topic, never retried."""


class Interaction(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="interaction"):
    """One user did one thing to one item. `event_id` makes a client's retry safe."""

    event_id: Id
    user_id: Id
    item_id: Id
    ts_ms: TsMs
    kind: Kind = "click"
    feed_id: Id | None = None  # the feed it came from; None is organic


class ItemUpsert(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="item_upsert"):
    """An item as it is from now on; replaces what was known of it."""

    item_id: Id
    ts_ms: TsMs
    title: Annotated[str, msgspec.Meta(max_length=MAX_TITLE_LENGTH)] = ""
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT_LENGTH)] = ""
    image: Annotated[str, msgspec.Meta(max_length=MAX_IMAGE_REF_LENGTH)] | None = None  # ImageStore reference
    attributes: Attributes = {}
    text_vector: Vector | None = None  # the user's own features, little-endian float16
    image_vector: Vector | None = None


class ItemRemoval(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="item_removal"):
    """The item is no longer to be recommended."""

    item_id: Id
    ts_ms: TsMs


class Exposure(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="exposure"):
    """What a feed showed, with all it was made from, so that it can be made again."""

    feed_id: Id
    user_id: Id
    ts_ms: TsMs
    item_ids: Annotated[tuple[Id, ...], msgspec.Meta(max_length=MAX_FEED_ITEMS)]  # as shown, first is top
    model_version: str | None = None
    newest_item_ts_ms: TsMs | None = None
    position: str | None = None  # "partition:offset" the user's sequence stood at
    degraded: str | None = None  # why the model did not answer
    experiment: str | None = None
    arm: str | None = None
    propensities: Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_FEED_ITEMS)] | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="dead_letter"):
    """A rejected record: its raw bytes, where it came from and why it was rejected."""

    source_topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str
    ts_ms: int


ItemEvent = ItemUpsert | ItemRemoval
Event = Interaction | ItemUpsert | ItemRemoval | Exposure | DeadLetter
_T = TypeVar("_T")

_encoder = msgspec.json.Encoder()
_interactions = msgspec.json.Decoder(Interaction)
_items: msgspec.json.Decoder[ItemEvent] = msgspec.json.Decoder(ItemEvent)
_exposures = msgspec.json.Decoder(Exposure)
_dead_letters = msgspec.json.Decoder(DeadLetter)


def encode(event: Event) -> bytes:
    """An event as JSON bytes, the value of a record.

    Raises:
        BadEvent: a text cannot be written as UTF-8 (a lone surrogate).
    """
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError as exc:
        raise BadEvent(f"event cannot be written as UTF-8: {exc}; send well-formed text") from exc


def decode_interaction(raw: bytes | None) -> Interaction:
    """Bytes from the `events` topic to a typed event.

    Raises:
        BadEvent: not valid; goes to the dead-letter topic, never retried.
    """
    return _decode(_interactions, raw, MAX_EVENT_BYTES)


def decode_item(raw: bytes | None) -> ItemEvent:
    """Bytes from the `items` topic to an upsert or a removal.

    Raises:
        BadEvent: not valid; goes to the dead-letter topic, never retried.
    """
    return _decode(_items, raw, MAX_ITEM_BYTES)


def decode_exposure(raw: bytes | None) -> Exposure:
    """Bytes from the `exposures` topic to what was shown.

    Raises:
        BadEvent: not valid; goes to the dead-letter topic, never retried.
    """
    return _decode(_exposures, raw, MAX_ITEM_BYTES)


def decode_dead_letter(raw: bytes | None) -> DeadLetter:
    """Bytes from the `dead-letter` topic to the rejected record they keep.

    Raises:
        BadEvent: not valid; there is no second dead-letter topic, so the caller counts it.
    """
    return _decode(_dead_letters, raw, None)


def _decode(decoder: msgspec.json.Decoder[_T], raw: bytes | None, max_bytes: int | None) -> _T:
    if raw is None:
        raise BadEvent("event rejected: the record has no value; only compacted topics carry tombstones")
    if max_bytes is not None and len(raw) > max_bytes:
        raise BadEvent(f"event rejected: {len(raw)} bytes, limit is {max_bytes}; first bytes {raw[:80]!r}")
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadEvent(f"event rejected: {exc}; first bytes {raw[:80]!r}") from exc
