import pytest

from stream.windows.clock import StreamClock


class Wall:
    """A wall clock that stands until it is moved."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def clock(wall: Wall | None = None, lateness_ms: int = 100, idle_s: float = 10.0) -> StreamClock:
    return StreamClock(["events", "exposures"], lateness_ms=lateness_ms, idle_s=idle_s, wall=wall or Wall())


def test_time_is_unknown_until_every_input_was_seen() -> None:
    stream = clock()
    assert stream.now_ms() == 0
    stream.see("events", 5_000)
    assert stream.now_ms() == 0
    stream.see("exposures", 7_000)
    assert stream.now_ms() == 4_900


def test_time_follows_the_slower_input_and_never_goes_back() -> None:
    stream = clock()
    for name, ts_ms in [("events", 9_000), ("exposures", 3_000), ("exposures", 2_000), ("events", 8_000)]:
        stream.see(name, ts_ms)
    assert stream.now_ms() == 2_900
    assert stream.highest_ms("events") == 9_000
    stream.see("exposures", 9_500)
    assert stream.now_ms() == 8_900


def test_time_is_never_ahead_of_the_wall_clock_less_the_lateness() -> None:
    wall = Wall(5.0)
    stream = clock(wall)
    stream.see("events", 60_000)
    stream.see("exposures", 60_000)
    assert stream.now_ms() == 4_900
    wall.now_s = 5.2
    assert stream.now_ms() == 5_100
    wall.now_s = 1.0
    assert stream.now_ms() == 5_100


def test_idle_input_does_not_hold_the_clock_while_another_moves() -> None:
    wall = Wall()
    stream = clock(wall)
    stream.see("exposures", 3_000)
    wall.now_s += 9.9
    stream.see("events", 50_000)
    assert stream.now_ms() == 2_900
    wall.now_s += 0.1
    assert stream.now_ms() == 49_900
    stream.see("exposures", 4_000)
    assert stream.now_ms() == 49_900


def test_time_stands_when_all_inputs_are_idle() -> None:
    wall = Wall()
    stream = clock(wall)
    stream.see("events", 5_000)
    wall.now_s += 60
    assert stream.now_ms() == 0


def test_input_with_more_to_read_is_not_idle() -> None:
    wall = Wall()
    stream = clock(wall)
    stream.hold("exposures", is_held=True)
    wall.now_s += 60
    stream.see("events", 50_000)
    assert stream.now_ms() == 0
    stream.hold("exposures", is_held=False)
    assert stream.now_ms() == 49_900


def test_restored_clock_stands_where_it_stood() -> None:
    stream = clock()
    stream.advance_to(7_000)
    stream.see("events", 3_000)
    stream.see("exposures", 3_000)
    assert stream.now_ms() == 7_000


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one input"):
        StreamClock([], lateness_ms=0)
    with pytest.raises(ValueError, match=r"lateness_ms=-1 and idle_s=10.0 must be at least 0"):
        StreamClock(["events"], lateness_ms=-1)
