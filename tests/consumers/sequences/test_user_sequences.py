from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock

from consumers.sequences.user_sequences import UserSequences
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS
from stream.windows.trending import HOUR_MS


def click(event_id: str, user: str, item: str, ts_ms: int) -> Interaction:
    return Interaction(event_id=event_id, user_id=user, item_id=item, ts_ms=ts_ms)


def test_user_is_found_in_the_partition_of_the_key() -> None:
    sequences = UserSequences(4)
    partition = sequences.partition_of("user-1")
    sequences.hold(partition)
    sequences.apply(partition, [click("a", "user-1", "x", 1_000)], DEFAULT_KINDS, next_offset=1)
    assert partition == 0
    assert sequences.sequence("user-1") == ["x"]
    assert sequences.n_users == 1


def test_user_of_a_partition_not_held_has_nothing() -> None:
    assert UserSequences(4).sequence("user-1") == []


def test_view_gives_items_seen_and_position_of_one_moment() -> None:
    sequences = UserSequences(1, length=2)
    sequences.hold(0)
    events = [click(f"e{n}", "ada", f"item-{n}", 1_000 * n) for n in range(3)]
    sequences.apply(0, events, DEFAULT_KINDS, next_offset=7)
    view = sequences.view("ada")
    assert (view.items, sorted(view.seen)) == (["item-1", "item-2"], ["item-0", "item-1", "item-2"])
    assert (view.times_ms, view.newest_ts_ms, view.position) == ([1_000, 2_000], 2_000, (0, 7))


def test_view_is_of_one_moment_though_a_writer_waits_for_the_lock() -> None:
    sequences = UserSequences(1)
    sequences.hold(0)
    sequences.apply(0, [click("a", "ada", "x", 1_000)], DEFAULT_KINDS, next_offset=1)
    state = sequences.held()[0]

    @contextmanager
    def then_written() -> Iterator[None]:
        yield
        state.lock = Lock()
        sequences.apply(0, [click("b", "ada", "y", 2_000)], DEFAULT_KINDS, next_offset=2)

    state.lock = then_written()  # type: ignore[assignment]
    assert sequences.view("ada") == (["x"], [1_000], ["x"], (0, 1))
    assert sequences.view("ada").position == (0, 2)


def test_view_of_an_unknown_user_is_empty() -> None:
    sequences = UserSequences(1)
    sequences.hold(0)
    assert sequences.view("nobody") == ([], [], [], (0, 0))


def test_apply_moves_the_position_that_is_waited_for() -> None:
    sequences = UserSequences(1)
    sequences.hold(0)
    assert sequences.applied.next_offsets() == {0: 0}
    sequences.apply(0, [], DEFAULT_KINDS, next_offset=1)
    assert sequences.applied.next_offsets() == {0: 1}


def test_dropped_partition_is_forgotten() -> None:
    sequences = UserSequences(1)
    sequences.hold(0)
    sequences.apply(0, [click("a", "ada", "x", 1)], DEFAULT_KINDS, next_offset=1)
    sequences.drop(0)
    assert (sequences.sequence("ada"), sequences.applied.next_offsets()) == ([], {})


def test_trending_counts_accepted_events_of_all_partitions_once() -> None:
    sequences = UserSequences(2)
    for partition in range(2):
        sequences.hold(partition)
    first = [click("a", "u", "x", 1), click("b", "u", "y", 2), click("c", "u", "y", 3)]
    sequences.apply(0, first, DEFAULT_KINDS, next_offset=3)
    sequences.apply(0, first[:1] * 5, DEFAULT_KINDS, next_offset=8)
    sequences.apply(
        1, [click("d", "v", "z", 1)] + [click(f"e{n}", "w", "x", n) for n in range(2)], DEFAULT_KINDS, next_offset=3
    )
    assert sequences.trending(3) == ["x", "y", "z"]
    assert sequences.trending(1) == ["x"]


def test_trending_follows_the_newest_partition() -> None:
    sequences = UserSequences(2)
    for partition in range(2):
        sequences.hold(partition)
    sequences.apply(0, [click("a", "u", "old", 0)], DEFAULT_KINDS, next_offset=1)
    assert sequences.trending(5) == ["old"]
    sequences.apply(1, [click("b", "v", "new", 24 * HOUR_MS)], DEFAULT_KINDS, next_offset=1)
    assert sequences.trending(5) == ["new"]


def test_trending_counts_an_event_as_long_as_it_is_in_its_users_ring() -> None:
    sequences = UserSequences(1, length=2)
    sequences.hold(0)
    first = [click("a", "u", "x", 1_000), click("b", "v", "x", 1_000), click("c", "u", "y", 2_000)]
    sequences.apply(0, first, DEFAULT_KINDS, next_offset=3)
    assert sequences.trending(5) == ["x", "y"]
    too_old = [click("d", "u", "z", 500)] * 2
    sequences.apply(0, [click("e", "u", "y", 3_000), *too_old], DEFAULT_KINDS, next_offset=6)
    assert sequences.held()[0].trending.most(5) == [("y", 2), ("x", 1)]
    assert sequences.trending(5) == ["y", "x"]


def test_trending_counts_come_and_go_with_their_partition() -> None:
    sequences = UserSequences(2)
    for partition in range(2):
        sequences.hold(partition)
    sequences.apply(0, [click("a", "u", "x", 0)], DEFAULT_KINDS, next_offset=1)
    sequences.apply(1, [click("b", "v", "y", 0)], DEFAULT_KINDS, next_offset=1)
    state = sequences.held()[0]
    sequences.drop(0)
    assert sequences.trending(5) == ["y"]
    sequences.hold(0, state)
    assert sequences.trending(5) == ["x", "y"]


def test_readers_see_whole_rows_while_events_are_applied() -> None:
    """Items n and n+1 are always neighbours: a torn row would show a gap or a repetition."""
    sequences = UserSequences(1, length=50)
    sequences.hold(0)
    events = [click(f"e{n}", f"user-{n % 3}", f"{n // 3}", n) for n in range(9_000)]
    is_done = Event()

    def read() -> int:
        n_reads = 0
        while not is_done.is_set():
            for user in ("user-0", "user-1", "user-2"):
                numbers = [int(item) for item in sequences.sequence(user)]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
            n_reads += 1
        return n_reads

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for start in range(0, len(events), 100):
            sequences.apply(0, events[start : start + 100], DEFAULT_KINDS, next_offset=start + 100)
        is_done.set()
        assert all(reader.result(20) > 0 for reader in readers)
    assert sequences.sequence("user-0")[-1] == "2999"


def test_trending_is_what_came_on_the_last_day() -> None:
    sequences = UserSequences(1)
    sequences.hold(0)
    events = [
        click("e1", "ada", "old", 1),
        click("e2", "ada", "b", 24 * HOUR_MS),
        click("e3", "bob", "b", 24 * HOUR_MS),
    ]
    sequences.apply(0, events, DEFAULT_KINDS, next_offset=3)
    assert sequences.trending(9) == ["b"]
