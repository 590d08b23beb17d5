from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.sequences.popularity import counted
from consumers.sequences.store import SequenceStore
from consumers.sequences.user_sequences import UserSequences
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS
from stream.windows.trending import HOUR_MS

events = st.builds(
    lambda number, user, item, ts_ms, kind: Interaction(
        event_id=f"{number}-{user}-{item}-{ts_ms}-{kind}",
        user_id=f"user-{user}",
        item_id=f"item-{item}",
        ts_ms=ts_ms,
        kind=kind,
    ),
    st.integers(0, 40),
    st.integers(0, 20),
    st.integers(0, 9),
    st.integers(0, 60).map(lambda n: n * HOUR_MS // 2 + n),
    st.sampled_from(["click", "view", "dislike"]),
)


def test_empty_store_counts_nothing() -> None:
    counts = counted(SequenceStore())
    assert (counts.newest_hour, counts.hours()) == (0, {})


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=150), st.integers(1, 160))
def test_counts_kept_while_events_come_equal_those_of_the_rings(arrivals: list[Interaction], batch: int) -> None:
    sequences = UserSequences(1, length=4)
    sequences.hold(0)
    for start in range(0, len(arrivals), batch):
        sequences.apply(0, arrivals[start : start + batch], DEFAULT_KINDS, next_offset=start + batch)
    state = sequences.held()[0]
    again = counted(state.store)
    assert counted(state.store, max_cells=0).hours() == again.hours()
    assert state.trending.hours() == again.hours() == _plainly_counted(state.store, again.newest_hour)
    assert state.trending.most(99) == again.most(99)
    assert sequences.trending(99) == again.top(99)
    assert state.trending.newest_hour == again.newest_hour


def _plainly_counted(store: SequenceStore, newest_hour: int) -> dict[int, dict[str, int]]:
    hours: dict[int, dict[str, int]] = {}
    for user_id in store.users:
        for entry in store.history(user_id):
            hour = entry.ts_ms // HOUR_MS
            if hour > newest_hour - 24:
                counts = hours.setdefault(hour, {})
                counts[entry.item_id] = counts.get(entry.item_id, 0) + 1
    return hours
