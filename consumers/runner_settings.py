"""How the runner reads for roles and starts them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunnerSettings:
    """How roles are read for and restarted.

    Attributes:
        max_records: of a batch.
        poll_s: longest wait of a poll, and so of noticing a stop.
        backoff_s: pause after a first error, or refusal of the log; doubles up to max_backoff_s.
        max_restarts: more than so many within window_s make a role unhealthy; it is still tried again.
        steady_s: a role that ran so long without an error is healthy, whatever was before.
        stuck_s: a role that is at one step for longer is unhealthy until the next; above what loading its state takes.
        settle_s: how long a role counts as starting while its group has given it nothing; then it may be that there
            are more members than partitions.
        rests_s: pause after a batch that was not full, by role; for roles that nobody waits for. Records gather
            meanwhile, and a batch costs a role much the same whether it is of one record or of fifty.
    """

    max_records: int = 2_000
    poll_s: float = 0.25
    backoff_s: float = 0.1
    max_backoff_s: float = 30.0
    max_restarts: int = 5
    window_s: float = 300.0
    steady_s: float = 30.0
    stuck_s: float = 300.0
    settle_s: float = 15.0
    rests_s: Mapping[str, float] = field(default_factory=dict)
