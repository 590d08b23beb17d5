"""What an event is linked with, whatever batches, duplicates and order it comes in."""

import random

from consumers.memory.links import Link, LinkReader
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS, EventKind, EventKinds
from tests.consumers.store_support import click


def new_reader(*, length: int = 50, n_last: int = 10, kinds: EventKinds = DEFAULT_KINDS) -> LinkReader:
    reader = LinkReader(kinds, length=length, max_seen=20, n_last=n_last)
    reader.hold(0)
    return reader


def links(reader: LinkReader, *events: Interaction) -> list[Link]:
    return reader.links(0, events)


def known(reader: LinkReader, *events: Interaction) -> list[list[str] | None]:
    return [link.known for link in reader.links(0, events, is_asked=lambda event: event.user_id == "ada")]


def test_an_event_is_linked_with_what_its_user_had_before() -> None:
    reader = new_reader(n_last=2)

    found = links(reader, click(1), click(2, user="bob"), click(3), click(4))

    assert found == [
        Link("ada", [], "item-1", 1_000),
        Link("bob", [], "item-2", 2_000),
        Link("ada", ["item-1"], "item-3", 3_000),
        Link("ada", ["item-1", "item-3"], "item-4", 4_000),
    ]
    assert links(reader, click(5)) == [Link("ada", ["item-3", "item-4"], "item-5", 5_000)]


def test_a_duplicate_is_linked_once() -> None:
    reader = new_reader()

    assert len(links(reader, click(1), click(1), click(2))) == 2
    assert links(reader, click(2), click(1)) == []


def test_a_late_event_is_linked_with_what_was_before_it_in_event_time() -> None:
    reader = new_reader()
    links(reader, click(1), click(3))

    assert links(reader, click(2)) == [Link("ada", ["item-1"], "item-2", 2_000)]
    assert links(reader, click(4)) == [Link("ada", ["item-1", "item-2", "item-3"], "item-4", 4_000)]


def test_an_event_older_than_a_full_sequence_is_not_linked() -> None:
    reader = new_reader(length=2)
    links(reader, click(5), click(6))

    assert links(reader, click(1)) == []


def test_an_event_of_a_kind_that_enters_no_sequence_is_not_linked() -> None:
    kinds = EventKinds([EventKind("click", True, True), EventKind("view", False, False)])

    found = links(new_reader(kinds=kinds), click(1), click(2, kind="view"), click(3))

    assert found == [Link("ada", [], "item-1", 1_000), Link("ada", ["item-1"], "item-3", 3_000)]


def test_who_is_asked_for_is_predicted_from_the_whole_sequence_and_others_are_not() -> None:
    reader = new_reader(n_last=1, length=3)

    assert known(reader, click(1), click(2), click(3, user="bob"), click(4)) == [
        [],
        ["item-1"],
        None,
        ["item-1", "item-2"],
    ]
    assert known(reader, click(5), click(6)) == [["item-1", "item-2", "item-4"], ["item-2", "item-4", "item-5"]]


def test_what_left_the_sequence_counts_as_seen_also_inside_a_batch() -> None:
    reader, whole = new_reader(length=2), new_reader(length=2)
    events = [click(nth) for nth in range(1, 7)]

    in_parts = [link for event in events for link in reader.links(0, [event], is_asked=lambda _: True)]
    at_once = whole.links(0, events, is_asked=lambda _: True)

    assert (in_parts[5].known, in_parts[5].known_ms) == (["item-4", "item-5"], (4_000, 5_000))
    assert sorted(in_parts[5].seen) == ["item-1", "item-2", "item-3", "item-4", "item-5"]
    assert [sorted(link.seen) for link in at_once] == [sorted(link.seen) for link in in_parts]


def test_what_comes_too_late_for_the_sequence_counts_as_seen_also_inside_a_batch() -> None:
    events = [click(5), click(6), click(1), click(7)]  # the third is older than a full sequence
    found = []
    for batches in ([events], [[event] for event in events]):
        reader, seen = new_reader(length=2), ()
        for batch in batches:
            for link in reader.links(0, batch, is_asked=lambda _: True):
                seen = link.seen
        found.append(sorted(seen))

    assert found == [["item-1", "item-5", "item-6"]] * 2


def test_of_the_events_of_one_second_the_first_is_predicted_since_the_memory_knows_it_after_that() -> None:
    reader = new_reader()
    same = [click(nth, ts_ms=2_000 + nth) for nth in (5, 3, 4)]

    found = reader.links(0, [click(1), *same], is_asked=lambda _: True)

    assert [link.known for link in found] == [[], ["item-1"], None, None]
    assert found[2].history == ["item-1"]
    assert found[3].history == ["item-1", "item-3"]


def test_a_kind_that_is_no_target_is_not_predicted() -> None:
    kinds = EventKinds([EventKind("click", True, True), EventKind("pause", True, False)])

    assert known(new_reader(kinds=kinds), click(1, kind="pause"), click(2)) == [None, ["item-1"]]


def test_links_do_not_hang_on_the_batches_that_events_come_in() -> None:
    rng = random.Random(0)
    events = [click(rng.randrange(200), user=f"user-{rng.randrange(12)}") for _ in range(400)]
    whole, cut = new_reader(length=6, n_last=3), new_reader(length=6, n_last=3)

    at_once = links(whole, *events)
    in_parts = [link for start in range(0, 400, 7) for link in links(cut, *events[start : start + 7])]

    assert at_once == in_parts
    assert 100 < len(at_once) < 400
