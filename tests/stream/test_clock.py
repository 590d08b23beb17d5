import pytest

from stream.clock import StreamClock


def test_clock_stands_still_before_the_first_event() -> None:
    clock = StreamClock(100)
    assert clock.now_ms() is None
    assert not clock.is_late(0)


def test_clock_follows_the_highest_event_less_the_lateness_and_never_goes_back() -> None:
    clock = StreamClock(100)
    seen = []
    for ts_ms in (1_000, 900, 1_500, 1_400):
        clock.observe(ts_ms)
        seen.append(clock.now_ms())
    assert seen == [900, 900, 1_400, 1_400]


def test_an_event_from_the_future_does_not_move_the_clock() -> None:
    clock = StreamClock(0, wall=lambda: 2_000)
    clock.observe(1_000)
    clock.observe(2_001)
    assert clock.now_ms() == 1_000


def test_an_event_before_the_clock_is_late() -> None:
    clock = StreamClock(100)
    clock.observe(1_000)
    assert (clock.is_late(899), clock.is_late(900)) == (True, False)


def test_a_negative_lateness_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed_lateness_ms=-1"):
        StreamClock(-1)
