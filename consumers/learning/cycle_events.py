"""What the trainer reports to its parent, one JSON line each on its standard output."""

from typing import Literal

import msgspec

State = Literal["waiting", "started", "resumed", "progress", "published", "refused", "failed"]
AMID_CYCLE: frozenset[State] = frozenset({"started", "resumed", "progress"})  # after these more is to come


class CycleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a training cycle.

    Attributes:
        state: What happened.
        cycle: Number of the cycle, from 1.
        detail: One line for people: the reason, or what is done now.
        version: The bundle published.
        seconds: How long the cycle took; 0 until it ended, and where it failed.
        n_events: Events trained on.
        metrics: The gate's figures.
    """

    state: State
    cycle: int
    detail: str = ""
    version: str | None = None
    seconds: float = 0.0
    n_events: int = 0
    metrics: dict[str, float] = {}
