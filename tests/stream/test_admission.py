import pytest

from stream.admission import MAX_AHEAD_MS, admit, admit_exposure, admit_item
from stream.events import BadEvent, Exposure, Interaction, ItemRemoval, ItemUpsert, encode
from stream.kinds import DEFAULT_KINDS, UnknownKind
from stream.log import Record

APPENDED_MS = 1_700_000_000_000


def record(event: Interaction | Exposure | ItemUpsert) -> Record:
    return Record("events", 0, 0, b"ada", encode(event), APPENDED_MS)


def click(ts_ms: int, kind: str = "click") -> Interaction:
    return Interaction(event_id="e", user_id="ada", item_id="x", ts_ms=ts_ms, kind=kind)


@pytest.mark.parametrize("ts_ms", [0, APPENDED_MS, APPENDED_MS + MAX_AHEAD_MS])
def test_event_of_the_past_or_slightly_ahead_is_admitted(ts_ms: int) -> None:
    assert admit(record(click(ts_ms)), DEFAULT_KINDS) == click(ts_ms)


def test_event_far_ahead_of_its_append_is_rejected() -> None:
    with pytest.raises(BadEvent, match="ts_ms=1700003600001 is 3600001 ms after it was appended, limit is 3600000"):
        admit(record(click(APPENDED_MS + MAX_AHEAD_MS + 1)), DEFAULT_KINDS)


def test_event_of_an_unknown_kind_is_rejected() -> None:
    with pytest.raises(UnknownKind, match="kind 'poke' is not known; known are view, click"):
        admit(record(click(1, "poke")), DEFAULT_KINDS)


def test_kind_that_enters_no_sequence_is_admitted() -> None:
    assert admit(record(click(1, "dislike")), DEFAULT_KINDS).kind == "dislike"


def test_exposure_is_admitted_unless_it_is_far_ahead_of_its_append() -> None:
    shown = Exposure(feed_id="f", user_id="ada", ts_ms=APPENDED_MS + MAX_AHEAD_MS, item_ids=("x",))
    assert admit_exposure(record(shown)) == shown
    ahead = Exposure(feed_id="f", user_id="ada", ts_ms=APPENDED_MS + MAX_AHEAD_MS + 1, item_ids=("x",))
    with pytest.raises(BadEvent, match="exposure rejected: ts_ms=1700003600001 is 3600001 ms after it was appended"):
        admit_exposure(record(ahead))


def test_item_is_admitted_unless_it_is_far_ahead_of_its_append() -> None:
    item = ItemUpsert(item_id="x", ts_ms=APPENDED_MS + MAX_AHEAD_MS)
    assert admit_item(record(item)) == item
    with pytest.raises(BadEvent, match="item rejected: ts_ms=1700003600001 is 3600001 ms after it was appended"):
        admit_item(record(ItemUpsert(item_id="x", ts_ms=APPENDED_MS + MAX_AHEAD_MS + 1)))


def test_tombstone_of_an_item_is_its_removal_at_the_time_of_appending() -> None:
    assert admit_item(Record("items", 0, 0, b"x", None, APPENDED_MS)) == ItemRemoval(item_id="x", ts_ms=APPENDED_MS)
