"""What clients send and get, as pydantic models: the OpenAPI schema is made from these.

Bodies are strict and closed: a number sent as text or a misspelt field is an error that names it.
"""

from typing import Annotated, Literal
from urllib.parse import unquote

from fastapi import Path
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
)

from models.memory.blend import Part
from models.registry.registry import wall_ms
from serving.feed_maker import Degraded
from serving.field_errors import MANY, ONE
from stream import events
from stream.admission import MAX_AHEAD_MS

MAX_EVENTS = 1_000  # in one request
MAX_SESSION_ITEMS = 200
MAX_K = 200
MAX_TIMEOUT_MS = 10_000
NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f]+$"  # ids are any unicode text without control characters

Id = Annotated[str, StringConstraints(min_length=1, max_length=events.MAX_ID_LENGTH, pattern=NO_CONTROL, strict=True)]
TsMs = Annotated[int, Field(ge=0, le=events.MAX_TS_MS, description="milliseconds since 1970")]
AttributeText = Annotated[str, StringConstraints(max_length=events.MAX_ATTRIBUTE_LENGTH)]


def unquoted(raw: object) -> object:
    """A path part as it was meant: `%2F` and all else percent-decoded.

    >>> unquoted("a%2Fb")
    'a/b'
    """
    return unquote(raw, errors="strict") if isinstance(raw, str) else raw


PathId = Annotated[
    str,
    BeforeValidator(unquoted),
    StringConstraints(min_length=1, max_length=events.MAX_ID_LENGTH, pattern=NO_CONTROL),
    Path(description="percent-encoded, `/` as `%2F`"),
]


class Body(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Out(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class EventIn(Body):
    """One user did one thing to one item."""

    event_id: Id | None = Field(None, description="makes a retry safe; no two of a user alike; generated when absent")
    user_id: Id
    item_id: Id
    ts_ms: TsMs | None = Field(None, description="milliseconds since 1970; now when absent")
    kind: Annotated[str, StringConstraints(min_length=1, max_length=events.MAX_KIND_LENGTH)] = "click"
    feed_id: Id | None = Field(None, description="the feed it came from; absent when organic")


class EventBatch(Body):
    """Up to 1,000 events; all are accepted or none."""

    events: Annotated[list[EventIn], Field(min_length=1, max_length=MAX_EVENTS)]


def _branch(body: object) -> str:
    return MANY if isinstance(body, dict) and "events" in body else ONE


EventsIn = Annotated[Annotated[EventIn, Tag(ONE)] | Annotated[EventBatch, Tag(MANY)], Discriminator(_branch)]


class EventsOut(Out):
    """The events are on the log, durably."""

    accepted: int
    event_ids: list[str] = Field(description="in the order sent")
    position: str = Field(description="give it back as `after` to read your own writes")


class ItemIn(Body):
    """An item as it is from now on; replaces what was known of it."""

    title: Annotated[str, StringConstraints(max_length=events.MAX_TITLE_LENGTH)] = ""
    text: Annotated[str, StringConstraints(max_length=events.MAX_TEXT_LENGTH)] = ""
    attributes: Annotated[dict[AttributeText, AttributeText], Field(max_length=events.MAX_ATTRIBUTES)] = {}
    ts_ms: TsMs | None = Field(None, description="milliseconds since 1970; now when absent")
    image: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\.(jpg|png|webp|gif)$")] | None = Field(
        None, description="reference of a stored picture, as an earlier answer gave it; absent: no picture"
    )

    @field_validator("ts_ms")
    @classmethod
    def _is_not_ahead(cls, ts_ms: int | None) -> int | None:
        """No reader of `items` takes what is from the future."""
        latest_ms = wall_ms() + MAX_AHEAD_MS
        if ts_ms is not None and ts_ms > latest_ms:
            raise ValueError(f"is too far ahead, latest now is {latest_ms}; is it in milliseconds?")
        return ts_ms


class ItemLine(ItemIn):
    """One line of a bulk upload."""

    item_id: Id


class ItemAccepted(Out):
    """The item is on the log, durably; it is recommendable a moment later."""

    item_id: str
    image: str | None = None


class LineError(Out):
    """Why one line of a bulk upload was not accepted."""

    line: int
    field: str
    message: str
    limit: int | float | str | None = None


class BulkOut(Out):
    """What became of a bulk upload; lines without an error are on the log, durably."""

    accepted: int
    rejected: int
    errors: list[LineError] = Field(description="the first 100")


class ItemOut(Out):
    """An item as the catalogue knows it."""

    item_id: str
    title: str
    text: str
    attributes: dict[str, str]
    ts_ms: int
    image: str | None
    image_url: str | None


class FeedItem(Out):
    """One recommended item; `score` is the model's or the blend's, null where no model answered."""

    item_id: str
    title: str
    image_url: str | None
    score: float | None
    is_new: bool = Field(False, description="it has the place kept for new items, not one by its score")
    brought_by: Part | None = Field(
        None,
        description="the part of the blend that lifts it most above the others: the model, the fast memory of what "
        "comes after what, what is trending, or that the user knows it; null without a blend, and for new items",
    )


class FeedOut(Out):
    """A feed, best item first, and what it was made from."""

    feed_id: str = Field(description="send it with the events that follow")
    user_id: str | None
    items: list[FeedItem]
    model_version: str | None
    blend: int | None = Field(description="number of the weights that blended the scores; null: the model's alone")
    degraded: Degraded | None = Field(description="why popular items stand in for the model's; null: they do not")
    stale: bool = Field(
        description="true: `after` was not reached within `timeout_ms`; without `after`, the user's state is not here "
        "or still catching up"
    )
    position: str | None = Field(description="what the feed reflects; null for a session")
    newest_event_ms: int | None = Field(description="time of the newest event it reflects")
    generated_ms: int


class SessionIn(Body):
    """A session without a user: its items, oldest first. When they came is not asked for; models do without."""

    items: Annotated[list[Id], Field(min_length=1, max_length=MAX_SESSION_ITEMS)]
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 20
    exclude_seen: bool = True
    session_id: Id | None = None


class SimilarOut(Out):
    """Items nearest to one, nearest first."""

    item_id: str
    items: list[FeedItem]
    model_version: str


class HistoryItem(Out):
    """One event of a user, with its item."""

    item_id: str
    title: str
    image_url: str | None
    kind: str
    ts_ms: int


class HistoryOut(Out):
    """A user's sequence, newest first."""

    user_id: str
    items: list[HistoryItem]


class UsersOut(Out):
    """Users to look at, those of the newest events first."""

    n_users: int
    users: list[str]


class ModelOut(Out):
    """One published version."""

    version: str
    parent: str | None
    created_ms: int
    metrics: dict[str, float]
    blend: dict[str, float] | None = Field(
        description="weights of the blend kept with it, by part, and what they gained over the model at the gate; "
        "null: feeds go on with the weights in force"
    )
    reason: str
    is_current: bool
    is_serving: bool


class PointerOut(Out):
    """Which version is current, and who said so."""

    version: str
    previous: str | None
    promoted_by: str
    reason: str
    promoted_ms: int
    paused: bool = Field(description="true: the gate may not promote until somebody promotes by hand")


class ModelsOut(Out):
    """Published versions, newest first."""

    current: PointerOut | None
    serving: str | None = Field(description="the version that answers feeds in this process")
    models: list[ModelOut]
    damaged: list[str] = Field(description="versions whose manifest cannot be read; `freshet models` says what to do")


class ReasonIn(Body):
    """Why an operator moves the pointer; kept with it."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)] = "by hand"


class PrequentialOut(Out):
    """How well events were predicted before they were applied (organic, filtered); null before the first."""

    recall_at_10: float | None
    ndcg_at_10: float | None
    mrr: float | None
    n_events: int


class StatusOut(Out):
    """The figures of the page's status bar."""

    events_per_s: float
    n_users: int
    n_items: int
    model_version: str | None
    model_age_s: float | None
    prequential: PrequentialOut


class ReplicaOut(Out):
    """One replica, as it last said."""

    name: str
    url: str
    partitions: list[int]
    ts_ms: int


class ReplicasOut(Out):
    """Who serves which users."""

    n_partitions: int
    held: list[int] = Field(description="partitions of the replica that answers")
    replicas: list[ReplicaOut]


class ArmOut(Out):
    """What one arm of an experiment showed in one hour, and what followed; `none` is outside experiments."""

    experiment: str
    arm: str
    hour_ms: int = Field(description="start of the hour of showing, ms since 1970")
    n_feeds: int
    n_items: int
    n_outcomes: int = Field(description="shown items that were followed by something within the window")
    kinds: dict[str, int] = Field(description="events that followed, by kind")


class ArmsOut(Out):
    """The last 48 hours of stream time."""

    arms: list[ArmOut]


class HealthOut(Out):
    """`ok`, or what is not ready and why."""

    status: Literal["ok", "not_ready"]
    reasons: dict[str, str] = {}


class ProblemError(Out):
    """One of several errors."""

    field: str
    message: str
    limit: int | float | str | None = None
    index: int | None = None
    line: int | None = None


class ProblemOut(Out):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    limit: int | float | str | None = None
    event_ids: list[str] | None = Field(
        None, description="of events that may be on the log or not, in the order sent: send them again with these"
    )
    errors: list[ProblemError] | None = Field(None, description="the first 20")
    n_errors: int | None = None
