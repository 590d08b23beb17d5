"""What the table keeps of one user: the newest events, for the counts, and the window of the join. MessagePack.

One key of each partition is no user's: CLOCK_KEY.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stream.windows.attribution import UserWindow
from stream.windows.ring import RingEntry

CLOCK_KEY = b"\xffclock"  # the partition's stream clock, no user: not UTF-8
MAX_STATE_BYTES = 1_000_000  # below what brokers take of one record


class UserState(msgspec.Struct, array_like=True):
    """One user's value in the table; fields are only ever appended, so that old values can be read.

    Attributes:
        ring: the newest events, oldest first.
        window: open exposures and the events they may claim.
    """

    ring: list[RingEntry] = []
    window: UserWindow = msgspec.field(default_factory=UserWindow)


class DamagedState(ValueError):
    """A table's value that is not a user's state."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(UserState)


def decode_state(raw: bytes | None) -> UserState:
    """A value of the table; None is a user that is not there yet.

    Raises:
        DamagedState: not written by encode_state().
    """
    if raw is None:
        return UserState()
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DamagedState(f"a user's state cannot be read: {exc}; first bytes {raw[:80]!r}") from exc


def encode_state(state: UserState) -> bytes:
    """The value to keep, at most MAX_STATE_BYTES: beyond, what takes most of the window goes, the oldest first.

    Exposures of a thousand items with long ids, by the hundred, or arms of experiments with names of a hundred thousand
    letters: they would not fit into one record of the changelog.
    """
    raw = _encoder.encode(state)
    while len(raw) > MAX_STATE_BYTES and _drop_oldest(state.window):
        raw = _encoder.encode(state)
    return raw


def _drop_oldest(window: UserWindow) -> bool:
    """Drop the first quarter of what takes most; False when nothing is left."""
    kept: tuple[list[Any], ...] = (window.exposures, window.events, window.arms)
    entries = max(kept, key=lambda listed: len(_encoder.encode(listed)))
    n_dropped = (len(entries) + 3) // 4
    del entries[:n_dropped]
    window.n_dropped += n_dropped
    return n_dropped > 0
