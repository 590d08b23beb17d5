"""What travels on the log: one frozen struct per kind of record, JSON with a `type` tag.

Bytes become a typed event here, once, at the edge; everything inside trusts the types. Unknown fields are
ignored and new fields have defaults, so that old and new processes can read one log.

    BadEvent            not a valid event; goes to the dead-letter topic, never retried
      UnknownKind       (stream.kinds) the event's kind is not in the closed set
"""

from __future__ import annotations

from hashlib import blake2b
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
MAX_URL_LENGTH = 2_000
MAX_TS_MS = 4_102_444_800_000  # 2100-01-01: what lies behind it is a wrong unit, not an event
MAX_EVENT_BYTES = 65_536
MAX_ITEM_BYTES = 1_000_000
MAX_OUTCOME_BYTES = 1_048_576  # names of experiment and arm are an exposure's, and so may be long
MAX_OUTCOME_ID_LENGTH = 600  # a feed's id, a colon, an item's id
MAX_TRENDING_ITEMS = 1_000
MAX_PARTNERS = 1_024
MAX_TRANSITIONS_BYTES = 2_097_152  # as many partners with the longest ids, escaped
MAX_MORE_TRENDING = 4_000  # of 20,000 events those beyond came a few times at most
MAX_BLEND_BYTES = 2_097_152
MAX_PARTS = 32

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
TsMs = Annotated[int, msgspec.Meta(ge=0, le=MAX_TS_MS)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Kind = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KIND_LENGTH)]
AttributeText = Annotated[str, msgspec.Meta(max_length=MAX_ATTRIBUTE_LENGTH)]
Attributes = Annotated[dict[AttributeText, AttributeText], msgspec.Meta(max_length=MAX_ATTRIBUTES)]
Vector = Annotated[bytes, msgspec.Meta(max_length=MAX_VECTOR_BYTES)]
Weights = Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_PARTS)]
Trending = Annotated[tuple[tuple[Id, Count], ...], msgspec.Meta(max_length=MAX_TRENDING_ITEMS)]  # most first
MoreTrending = Annotated[tuple[tuple[Id, Count], ...], msgspec.Meta(max_length=MAX_MORE_TRENDING)]  # likewise


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
    blend: Count | None = None  # number of the weights that its scores were blended with


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="outcome"):
    """What followed one shown item within the window; final. `outcome_id` is the same however often it is sent."""

    outcome_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_OUTCOME_ID_LENGTH)]  # "feed_id:item_id"
    feed_id: Id
    item_id: Id
    user_id: Id
    rank: Count  # in the feed; 0 is top
    shown_ms: TsMs
    ts_ms: TsMs  # of the first event, by (ts_ms, event_id)
    event_id: Id  # of the first event
    kinds: dict[str, Count]  # events within the window, by kind
    experiment: str | None = None
    arm: str | None = None
    model_version: str | None = None
    propensity: float | None = None


class ArmCount(msgspec.Struct, frozen=True, kw_only=True):
    """What one arm of an experiment showed in one hour, and what followed; both are "none" outside experiments."""

    experiment: str
    arm: str
    hour: Count  # of showing: hours since 1970
    n_feeds: Count = 0
    n_items: Count = 0
    n_outcomes: Count = 0
    kinds: dict[str, Count] = {}  # events within the windows, by kind


class PartitionCounts(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="partition_counts"):
    """What one partition of `events` counts now; replaces what was said of it before."""

    partition: Count
    hour: Count  # newest of its events, in hours since 1970
    trending: Trending
    arms: tuple[ArmCount, ...] = ()


class TransitionRow(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="transition_row"):
    """What came close to an item in everybody's sequences; replaces what was said of it before.

    Weights and count are of the moment given, and fade from there: it is the stream's highest event time, and how many
    events it had brought.
    """

    item_id: Id
    ts_ms: TsMs
    n_events: Count
    count: Amount  # of the item's events
    partners: Annotated[tuple[tuple[Id, Amount], ...], msgspec.Meta(max_length=MAX_PARTNERS)]  # weight by item


class BlendState(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="blend"):
    """How much each part of a score counts from now on; replaces what was said before."""

    number: Count  # goes up with every publication
    steady: Weights  # of each part, whatever the model's age
    ageing: Weights  # added for each unit of the model's age
    age: float  # of the model they were learned beside
    model_version: str | None
    is_on: bool  # False: blended scores do no better than the model's own at the moment, and feeds use those
    ts_ms: TsMs
    trending: Trending = ()  # among the last events
    more_trending: MoreTrending = ()  # after those; a field of its own, since none is ever widened


class Replica(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="replica"):
    """A process that serves feeds says which partitions of `events` it holds; replaces what it said before."""

    name: Id
    url: Annotated[str, msgspec.Meta(max_length=MAX_URL_LENGTH)]
    partitions: tuple[Count, ...]
    ts_ms: TsMs


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
Event = (
    Interaction
    | ItemUpsert
    | ItemRemoval
    | Exposure
    | Outcome
    | PartitionCounts
    | TransitionRow
    | BlendState
    | Replica
    | DeadLetter
)
_T = TypeVar("_T")

_encoder = msgspec.json.Encoder()
_interactions = msgspec.json.Decoder(Interaction)
_items: msgspec.json.Decoder[ItemEvent] = msgspec.json.Decoder(ItemEvent)
_exposures = msgspec.json.Decoder(Exposure)
_outcomes = msgspec.json.Decoder(Outcome)
_partition_counts = msgspec.json.Decoder(PartitionCounts)
_transition_rows = msgspec.json.Decoder(TransitionRow)
_blend_states = msgspec.json.Decoder(BlendState)
_replicas = msgspec.json.Decoder(Replica)
_dead_letters = msgspec.json.Decoder(DeadLetter)


def event_hash(event_id: str) -> int:
    """The 64-bit hash an event is known by, the same in every process; never 0."""
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little") or 1


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


def decode_outcome(raw: bytes | None) -> Outcome:
    """Bytes from the `outcomes` topic to what followed a shown item.

    Raises:
        BadEvent: not valid; goes to the dead-letter topic, never retried.
    """
    return _decode(_outcomes, raw, MAX_OUTCOME_BYTES)


def decode_partition_counts(raw: bytes | None) -> PartitionCounts:
    """Bytes from the `counts` topic to what a partition counts.

    Raises:
        BadEvent: not valid; the next record of the partition replaces it.
    """
    return _decode(_partition_counts, raw, MAX_ITEM_BYTES)


def decode_transition_row(raw: bytes | None) -> TransitionRow:
    """Bytes from the `transitions` topic to what came close to an item.

    Raises:
        BadEvent: not valid; the next record of the item replaces it.
    """
    return _decode(_transition_rows, raw, MAX_TRANSITIONS_BYTES)


def decode_blend_state(raw: bytes | None) -> BlendState:
    """Bytes from the `control` topic, under the key of the blend, to its weights.

    Raises:
        BadEvent: not valid; the next record replaces it.
    """
    return _decode(_blend_states, raw, MAX_BLEND_BYTES)


def decode_replica(raw: bytes | None) -> Replica:
    """Bytes from the `control` topic, under the key of a replica, to what it holds.

    Raises:
        BadEvent: not valid; of a version that is not understood here.
    """
    return _decode(_replicas, raw, MAX_EVENT_BYTES)


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
