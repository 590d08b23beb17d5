import pytest

from stream.replay.history import History
from stream.replay.rows import BadValue


def history_of(times: list[int], *, seed: int = 0) -> History:
    history = History("set", seed=seed)
    for row, ts_ms in enumerate(times):
        history.add("ann", f"item-{row}", ts_ms=ts_ms, kind="click", row=row)
    return history


def test_interactions_come_in_the_order_of_time() -> None:
    assert [event.item_id for event in history_of([30, 10, 20])] == ["item-1", "item-2", "item-0"]


def test_ties_are_shuffled_by_the_seed_and_the_same_each_time() -> None:
    first = [event.event_id for event in history_of([5] * 50, seed=1)]

    assert first == [event.event_id for event in history_of([5] * 50, seed=1)]
    assert first != [event.event_id for event in history_of([5] * 50, seed=2)]
    assert first != [f"set-{row}" for row in range(50)]
    assert sorted(first) == sorted(f"set-{row}" for row in range(50))


def test_rows_appended_later_leave_the_order_of_ties_unchanged() -> None:
    before = [event.event_id for event in history_of([5] * 20)]
    after = [event.event_id for event in history_of([5] * 30)]

    assert [event_id for event_id in after if event_id in before] == before


def test_a_position_of_a_tie_is_not_biased_by_its_row() -> None:
    mean_row = {
        place: sum(int(list(history_of([5] * 10, seed=seed))[place].event_id.split("-")[1]) for seed in range(300))
        / 300
        for place in (0, 9)
    }
    assert abs(mean_row[0] - 4.5) < 0.6
    assert abs(mean_row[9] - 4.5) < 0.6


def test_a_history_can_be_read_again() -> None:
    history = history_of([2, 1])
    assert list(history) == list(history)


def test_an_unusable_id_adds_nothing() -> None:
    history = History("set", seed=0)
    with pytest.raises(BadValue, match="empty id: item_id is ''"):
        history.add("ann", "", ts_ms=1, kind="click", row=1)
    assert len(history) == 0
