from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.sequences.store import SequenceStore, apply_one
from consumers.watching.blocks import Arrival, BlockReader, Target
from models.rivals.panel import RivalPanel, default_rivals
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS


def arrival(user_id: str, item_id: str, second: float, *, event_id: str = "", **fields: str) -> Arrival:
    event = Interaction(
        event_id=event_id or f"{user_id}-{item_id}-{second}",
        user_id=user_id,
        item_id=item_id,
        ts_ms=int(second * 1_000),
        **fields,
    )
    return Arrival(0, event)


def reader(panel: RivalPanel | None = None) -> BlockReader:
    result = BlockReader(DEFAULT_KINDS, panel=panel)
    result.hold(0)
    return result


def seen_as(targets: list[Target]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(target.block.user_id, target.item_id, target.block.sequence) for target in targets]


def test_every_event_of_a_second_is_predicted_from_the_state_before_it() -> None:
    found = reader().targets(
        [
            arrival("ada", "a", 1),
            arrival("ada", "b", 2),
            arrival("bo", "x", 2),
            arrival("ada", "c", 2.9),
            arrival("ada", "d", 3),
        ]
    )

    assert sorted(seen_as(found)) == [
        ("ada", "a", ()),
        ("ada", "b", ("a",)),
        ("ada", "c", ("a",)),
        ("ada", "d", ("a", "b", "c")),
        ("bo", "x", ()),
    ]


def test_a_block_goes_on_in_the_next_batch() -> None:
    blocks = reader()
    blocks.targets([arrival("ada", "a", 1), arrival("ada", "b", 2)])

    found = blocks.targets([arrival("ada", "c", 2.5), arrival("ada", "d", 3)])

    assert seen_as(found) == [("ada", "c", ("a",)), ("ada", "d", ("a", "b", "c"))]


def test_duplicates_are_no_targets() -> None:
    blocks = reader()
    blocks.targets([arrival("ada", "a", 1)])

    assert blocks.targets([arrival("ada", "a", 1), arrival("ada", "b", 2), arrival("ada", "b", 2)])[0].item_id == "b"
    assert blocks.targets([arrival("ada", "a", 1), arrival("ada", "b", 2)]) == []


def test_kinds_that_are_no_target_are_not_predicted() -> None:
    assert reader().targets([arrival("ada", "a", 1, kind="dislike")]) == []


def test_an_event_that_followed_a_feed_is_exposed() -> None:
    found = reader().targets([arrival("ada", "a", 1), arrival("ada", "b", 2, feed_id="f1")])

    assert [target.is_exposed for target in found] == [False, True]


def test_what_fell_out_of_the_sequence_is_still_seen() -> None:
    blocks = BlockReader(DEFAULT_KINDS, length=2)
    blocks.hold(0)

    found = blocks.targets([arrival("ada", item, second) for second, item in enumerate("abcd")])

    assert (found[-1].block.sequence, found[-1].block.times_ms) == (("b", "c"), (1_000, 2_000))
    assert sorted(found[-1].block.seen) == ["a", "b", "c"]


def test_what_came_too_late_for_a_full_sequence_is_seen() -> None:
    blocks = BlockReader(DEFAULT_KINDS, length=2)
    blocks.hold(0)
    blocks.targets([arrival("ada", item, second) for second, item in enumerate("abc", start=10)])

    assert blocks.targets([arrival("ada", "late", 1)]) == []
    (target,) = blocks.targets([arrival("ada", "late", 20)])

    assert sorted(target.block.seen) == ["a", "b", "c", "late"]


def test_no_more_is_seen_than_the_store_keeps() -> None:
    blocks = BlockReader(DEFAULT_KINDS, length=2, max_seen=1)
    blocks.hold(0)

    found = blocks.targets([arrival("ada", item, second) for second, item in enumerate("abcde")])

    assert sorted(found[-1].block.seen) == ["b", "c", "d"]


def test_a_late_event_is_asked_from_what_came_before_its_second_in_event_time() -> None:
    found = reader().targets([arrival("ada", "a", 1), arrival("ada", "b", 100), arrival("ada", "c", 50)])

    assert [(target.block.sequence, target.block.times_ms) for target in found] == [
        ((), ()),
        (("a",), (1_000,)),
        (("a",), (1_000,)),
    ]


def test_absorbing_gives_the_same_state_and_counts_what_could_have_been_predicted() -> None:
    blocks = reader()
    n_targets = blocks.absorb(
        [arrival("ada", "a", 1), arrival("ada", "a", 1), arrival("ada", "b", 2), arrival("ada", "n", 2, kind="dislike")]
    )

    assert n_targets == 2
    assert seen_as(blocks.targets([arrival("ada", "c", 3)])) == [("ada", "c", ("a", "b"))]
    assert blocks.n_users == 1


def test_a_dropped_partition_is_forgotten() -> None:
    blocks = reader()
    blocks.targets([arrival("ada", "a", 1)])
    blocks.drop(0)
    blocks.hold(0)

    assert seen_as(blocks.targets([arrival("ada", "b", 2)])) == [("ada", "b", ())]


def test_rivals_score_before_they_learn_the_block() -> None:
    panel = RivalPanel(default_rivals())

    found = reader(panel).targets(
        [arrival("bo", "x", 1), arrival("ada", "x", 2), arrival("ada", "y", 2), arrival("bo", "y", 3)]
    )

    popularity = {(target.block.user_id, target.item_id): target.block.rival_scores[0].tolist() for target in found}
    assert popularity == {
        ("bo", "x"): [],
        ("ada", "x"): [1.0],
        ("ada", "y"): [1.0],
        ("bo", "y"): [2.0, 1.0],
    }


def one_by_one(arrivals: list[Arrival]) -> list[tuple[str, str, tuple[str, ...], list[str]]]:
    """The definition: look before each block, apply each event with the oracle. Times never fall here."""
    store = SequenceStore(length=3, max_seen=4)
    before: dict[tuple[str, int], tuple[tuple[str, ...], list[str]]] = {}
    found = []
    for _, event in arrivals:
        key = (event.user_id, event.ts_ms // 1_000)
        if key not in before:
            before[key] = (tuple(store.sequence(event.user_id)), sorted(store.seen(event.user_id)))
        if apply_one(store, event, DEFAULT_KINDS):
            found.append((event.user_id, event.item_id, *before[key]))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 900)), max_size=40),
    st.integers(1, 10),
    st.booleans(),
)
def test_batches_of_any_size_agree_with_looking_before_each_event(
    steps: list[tuple[str, int, int]], batch: int, has_rivals: bool
) -> None:
    now_ms, arrivals = 0, []
    for number, (user_id, item, step_ms) in enumerate(steps):
        now_ms += step_ms
        name = f"i{item}"
        arrivals.append(arrival(user_id, name, now_ms / 1_000, event_id=f"{number % 23}-{user_id}"))
    blocks = BlockReader(
        DEFAULT_KINDS, length=3, max_seen=4, panel=RivalPanel(default_rivals()) if has_rivals else None
    )
    blocks.hold(0)

    found: dict[str, list[tuple[str, tuple[str, ...], list[str]]]] = defaultdict(list)
    for start in range(0, len(arrivals), batch):
        for target in blocks.targets(arrivals[start : start + batch]):
            block = target.block
            found[block.user_id].append((target.item_id, block.sequence, sorted(block.seen)))

    expected: dict[str, list[tuple[str, tuple[str, ...], list[str]]]] = defaultdict(list)
    for user_id, item_id, sequence, seen in one_by_one(arrivals):
        expected[user_id].append((item_id, sequence, seen))
    assert found == expected
