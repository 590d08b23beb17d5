"""The fixed sample of users on which the model is judged while it runs."""

from __future__ import annotations

from hashlib import blake2b

_HASH_BYTES = 8
_HASHES = 1 << 64


def is_sampled(user_id: str, share: float) -> bool:
    """Whether a user belongs to the fixed sample of this share of all users, the same in every process.

    A larger share holds every user of a smaller one.

    >>> is_sampled("ada", 1.0), is_sampled("ada", 0.0)
    (True, False)
    """
    place = int.from_bytes(blake2b(user_id.encode(), digest_size=_HASH_BYTES, person=b"watcher").digest())
    return place < share * _HASHES
