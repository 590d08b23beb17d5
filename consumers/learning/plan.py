"""What a cycle is started with: written down first, so that a killed one goes on with the same."""

import msgspec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a cycle was started with; the same plan gives the same model, if the items it learns stay as they are.

    Attributes:
        number: Of the cycle, from 1.
        parent: Version it goes on from; None for the first.
        offsets: Next offset by partition of `events` that it trains up to.
        n_fresh: Events the parent has not seen.
        log_id: Of the log that the offsets are of; empty in a plan of before it was written down.
        n_starts: How often it was started; counted while it is open, and no part of what it says.
    """

    number: int
    parent: str | None
    offsets: dict[int, int]
    n_fresh: int
    log_id: str = ""
    n_starts: int = 0
