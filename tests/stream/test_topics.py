import pytest

from stream.events import MAX_EVENT_BYTES, MAX_ITEM_BYTES
from stream.topics import Topic, topics


def test_topics_in_use_and_their_policies() -> None:
    found = topics(8, retention_ms=1_000)
    assert {name: (t.partitions, t.compacted, t.retention_ms) for name, t in found.items()} == {
        "events": (8, False, 1_000),
        "items": (8, True, None),
        "exposures": (8, False, 1_000),
        "outcomes": (8, False, 1_000),
        "counts": (1, True, None),
        "transitions": (8, True, None),
        "control": (1, True, None),
        "dead-letter": (1, False, 7_776_000_000),
    }


def test_what_the_log_takes_of_events_and_items_can_also_be_decoded() -> None:
    found = topics()
    assert found["events"].max_message_bytes <= MAX_EVENT_BYTES
    assert found["items"].max_message_bytes <= MAX_ITEM_BYTES


def test_a_dead_letter_has_room_for_the_largest_record_in_base64() -> None:
    found = topics()
    assert found["dead-letter"].max_message_bytes > found["items"].max_message_bytes * 4 / 3 + 10_000


@pytest.mark.parametrize("field", ["partitions", "retention_ms", "max_message_bytes"])
def test_a_topic_with_nothing_in_it_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0"):
        Topic(**({"name": "t", "partitions": 1} | {field: 0}))  # type: ignore[arg-type]
