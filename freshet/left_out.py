"""What of a data set is not used, said in one way by every command that reads one."""

from __future__ import annotations

from freshet.progress import Say
from stream.replay.rows import BadRows


def say_left_out(bad_rows: BadRows, n_unknown_items: int, say: Say) -> None:
    """Tell bad rows by problem, the first ones in full, and how many events are of items that are not there."""
    if bad_rows.total:
        problems = ", ".join(f"{problem} {n:,}" for problem, n in bad_rows.by_problem.most_common())
        say(f"{bad_rows.total:,} bad rows: {problems}")
        for row in bad_rows.first:
            say(f"  {row}")
        if bad_rows.total > len(bad_rows.first):
            say(f"  and {bad_rows.total - len(bad_rows.first):,} more")
    if n_unknown_items:
        say(f"{n_unknown_items:,} events are of items that the data set does not have, or not yet")
