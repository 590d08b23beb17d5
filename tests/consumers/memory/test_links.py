"""What an event is linked with, whatever batches, duplicates and order it comes in."""

import random

from consumers.memory.links import Link, new_links
from consumers.sequences.store import SequenceStore
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS, EventKind, EventKinds
from tests.consumers.store_support import click


def links(store: SequenceStore, *events: Interaction, n_last: int = 10) -> list[Link]:
    return new_links(store, events, DEFAULT_KINDS, n_last=n_last)


def test_an_event_is_linked_with_what_its_user_had_before() -> None:
    store = SequenceStore(max_seen=0)

    found = links(store, click(1), click(2, user="bob"), click(3), click(4), n_last=2)

    assert found == [
        Link([], "item-1", 1_000),
        Link([], "item-2", 2_000),
        Link(["item-1"], "item-3", 3_000),
        Link(["item-1", "item-3"], "item-4", 4_000),
    ]
    assert links(store, click(5), n_last=2) == [Link(["item-3", "item-4"], "item-5", 5_000)]


def test_a_duplicate_is_linked_once() -> None:
    store = SequenceStore(max_seen=0)

    assert len(links(store, click(1), click(1), click(2))) == 2
    assert links(store, click(2), click(1)) == []


def test_a_late_event_is_linked_with_what_was_before_it_in_event_time() -> None:
    store = SequenceStore(max_seen=0)
    links(store, click(1), click(3))

    assert links(store, click(2)) == [Link(["item-1"], "item-2", 2_000)]
    assert links(store, click(4)) == [Link(["item-1", "item-2", "item-3"], "item-4", 4_000)]


def test_an_event_older_than_a_full_sequence_is_not_linked() -> None:
    store = SequenceStore(length=2, max_seen=0)
    links(store, click(5), click(6))

    assert links(store, click(1)) == []


def test_an_event_of_a_kind_that_enters_no_sequence_is_not_linked() -> None:
    kinds = EventKinds([EventKind("click", True, True, 1.0), EventKind("view", False, False, 0.0)])
    store = SequenceStore(max_seen=0)

    found = new_links(store, [click(1), click(2, kind="view"), click(3)], kinds, n_last=10)

    assert found == [Link([], "item-1", 1_000), Link(["item-1"], "item-3", 3_000)]


def test_links_do_not_hang_on_the_batches_that_events_come_in() -> None:
    rng = random.Random(0)
    events = [click(rng.randrange(200), user=f"user-{rng.randrange(12)}") for _ in range(400)]
    whole, cut = SequenceStore(length=6, max_seen=0), SequenceStore(length=6, max_seen=0)

    at_once = links(whole, *events, n_last=3)
    in_parts = [link for start in range(0, 400, 7) for link in links(cut, *events[start : start + 7], n_last=3)]

    assert at_once == in_parts
    assert 100 < len(at_once) < 400
