import pytest

from freshet.pace import Pace


def test_pace_is_event_time_over_speed() -> None:
    now_s = [50.0]
    pace = Pace(10.0, clock=lambda: now_s[0])

    assert pace.due_in_s(5_000) == 0.0
    assert pace.due_in_s(25_000) == 2.0
    now_s[0] = 51.5
    assert pace.due_in_s(25_000) == 0.5
    now_s[0] = 60.0
    assert pace.due_in_s(25_000) == 0.0
    assert Pace(None).due_in_s(10**12) == 0.0


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_must_be_above_zero(speed: float) -> None:
    with pytest.raises(ValueError, match="must be above 0; None plays as fast as possible"):
        Pace(speed)
