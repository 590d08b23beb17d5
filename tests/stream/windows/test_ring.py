"""The plain ring follows the same rule as the arrays that feeds are answered from."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.sequences.store import SequenceStore, apply
from stream.events import Interaction, event_hash
from stream.kinds import DEFAULT_KINDS
from stream.windows.ring import RingEntry, insert


def entry(event: Interaction) -> RingEntry:
    return RingEntry(event.ts_ms, event_hash(event.event_id), event.item_id, DEFAULT_KINDS.number(event.kind))


def at(ts_ms: int, event_hash: int) -> RingEntry:
    return RingEntry(ts_ms, event_hash, "item", 0)


def test_late_event_goes_to_its_place() -> None:
    ring: list[RingEntry] = []
    for new in [at(10, 1), at(30, 2), at(20, 3)]:
        assert insert(ring, new, 3) == (True, None)
    assert [known.ts_ms for known in ring] == [10, 20, 30]


def test_full_ring_lets_the_oldest_go() -> None:
    ring = [at(10, 1), at(20, 2)]
    assert insert(ring, at(15, 3), 2) == (True, at(10, 1))
    assert ring == [at(15, 3), at(20, 2)]


def test_duplicate_and_event_older_than_a_full_ring_change_nothing() -> None:
    ring = [at(10, 1), at(20, 2)]
    assert insert(ring, at(20, 2), 2) == (False, None)
    assert insert(ring, at(9, 3), 2) == (False, None)
    assert insert(ring, at(9, 3), 3) == (True, None)
    assert ring == [at(9, 3), at(10, 1), at(20, 2)]


def test_ring_survives_msgpack_in_few_bytes() -> None:
    ring = [RingEntry(1_700_000_000_000, 2**64 - 1, "item-1", 3)]
    raw = msgspec.msgpack.encode(ring)
    assert len(raw) == 28
    assert msgspec.msgpack.decode(raw, type=list[RingEntry]) == ring


events = st.builds(
    lambda number, item, ts_ms, kind: Interaction(
        event_id=f"{number}-{item}-{ts_ms}", user_id="ada", item_id=f"item-{item}", ts_ms=ts_ms * 400, kind=kind
    ),
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(0, 15),
    st.sampled_from(["click", "like"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(events, max_size=60), st.integers(1, 6))
def test_ring_equals_the_sequence_store(arrivals: list[Interaction], length: int) -> None:
    store, ring = SequenceStore(length=length), []
    by_store = apply(store, arrivals, DEFAULT_KINDS).tolist()
    assert [insert(ring, entry(event), length)[0] for event in arrivals] == by_store
    assert [(known.item_id, known.ts_ms, known.kind) for known in ring] == store.history("ada")
