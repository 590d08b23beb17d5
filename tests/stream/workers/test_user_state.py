import pytest

from stream.events import Exposure
from stream.windows.arms import ArmHour
from stream.windows.attribution import AttributionSettings, add_exposure
from stream.windows.ring import RingEntry
from stream.workers.user_state import MAX_STATE_BYTES, DamagedState, UserState, decode_state, encode_state

SETTINGS = AttributionSettings()


def test_state_survives_its_bytes() -> None:
    state = UserState(ring=[RingEntry(1, 2, "a", 0)])

    assert decode_state(encode_state(state)) == state


def test_no_bytes_are_a_new_user() -> None:
    assert decode_state(None) == UserState()


def test_bytes_of_something_else_are_refused_with_their_beginning() -> None:
    with pytest.raises(DamagedState, match=r"cannot be read: .*; first bytes b'\\xc1!'"):
        decode_state(b"\xc1!")


def test_state_too_large_for_a_record_loses_its_oldest_exposures_and_counts_them() -> None:
    state = UserState()
    for number in range(40):
        items = tuple(f"{item:0200d}" for item in range(200))
        add_exposure(
            state.window, Exposure(feed_id=f"f{number}", user_id="u", ts_ms=number, item_ids=items), SETTINGS, 0
        )

    raw = encode_state(state)

    assert len(raw) <= MAX_STATE_BYTES
    kept = decode_state(raw).window
    assert [shown.feed_id for shown in kept.exposures][-1] == "f39"
    assert kept.n_dropped == 40 - len(kept.exposures) > 0


def test_state_too_large_by_the_names_of_experiments_loses_arms_and_counts_them() -> None:
    state = UserState()
    state.window.arms += [ArmHour(f"{number}" * 450_000, "a", 1) for number in range(3)]

    raw = encode_state(state)

    assert len(raw) <= MAX_STATE_BYTES
    kept = decode_state(raw).window
    assert ([arm.experiment[0] for arm in kept.arms], kept.n_dropped) == (["1", "2"], 1)
