from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from freshet.demo.tape import Tape, WrongTape
from stream.events import Interaction, ItemUpsert
from stream.replay.rows import BadRows, ItemRow


class Rows:
    """A data set typed by hand: items with their times, a click a second."""

    def __init__(self, *item_times: int, n: int = 5, name: str = "by-hand") -> None:
        self.name = name
        self.bad_rows = BadRows()
        self._item_times = item_times
        self._n = n

    def items(self) -> Iterator[ItemRow]:
        for ts_ms in self._item_times:
            yield ItemRow(ItemUpsert(item_id=f"i{ts_ms}", ts_ms=ts_ms), is_timed=True)

    def interactions(self) -> Iterator[Interaction]:
        for number in range(self._n):
            yield Interaction(event_id=f"e{number}", user_id="ann", item_id="i0", ts_ms=1_000 * number)


def ids(rows: Iterator[ItemRow | Interaction]) -> Sequence[str]:
    return [row.event_id if isinstance(row, Interaction) else row.item.item_id for row in rows]


def test_part_ends_with_its_last_interaction(tmp_path: Path) -> None:
    tape = Tape(Rows(0, 1_500), tmp_path)

    assert ids(tape.take(3)) == ["i0", "e0", "e1", "i1500", "e2"]
    assert (tape.place, tape.n_interactions) == (3, 5)


def test_next_part_goes_on_where_the_last_stopped(tmp_path: Path) -> None:
    tape = Tape(Rows(0, 2_500), tmp_path)
    ids(tape.take(3))

    assert ids(tape.take(1)) == ["i2500", "e3"]
    assert ids(tape.take(100)) == ["e4"]
    assert ids(tape.take(100)) == []


def test_last_part_brings_the_items_that_arrive_after_the_last_interaction(tmp_path: Path) -> None:
    tape = Tape(Rows(0, 9_000), tmp_path)

    assert ids(tape.take(5)) == ["i0", "e0", "e1", "e2", "e3", "e4", "i9000"]


def test_next_run_goes_on_from_the_saved_place(tmp_path: Path) -> None:
    first = Tape(Rows(0, 2_500), tmp_path)
    ids(first.take(3))
    first.save()

    second = Tape(Rows(0, 2_500), tmp_path)

    assert second.place == 3
    assert ids(second.take(2)) == ["i2500", "e3", "e4"]


def test_what_was_taken_but_not_saved_is_played_again(tmp_path: Path) -> None:
    ids(Tape(Rows(0), tmp_path).take(3))

    assert Tape(Rows(0), tmp_path).place == 0


def test_tape_played_to_its_end_has_nothing_left_in_the_next_run(tmp_path: Path) -> None:
    first = Tape(Rows(0, 9_000), tmp_path)
    ids(first.take(5))
    first.save()

    assert ids(Tape(Rows(0, 9_000), tmp_path).take(5)) == []


def test_folder_of_another_data_set_is_refused(tmp_path: Path) -> None:
    Tape(Rows(0), tmp_path).save()

    with pytest.raises(WrongTape, match=r"holds 'by-hand', not 'other'; start over with FRESH=1 \(--fresh\), or name"):
        Tape(Rows(0, name="other"), tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dataset": "by-hand", "place": "far"}'])
def test_damaged_place_file_is_refused_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)

    with pytest.raises(WrongTape, match=r"demo\.json is damaged .*; start over with FRESH=1"):
        Tape(Rows(0), tmp_path)
