"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable
from typing import Any

DEADLINE_S = 30.0
POLL_S = 0.01


def wait_until(claim: Callable[[], Any], what: str = "the claim", deadline_s: float = DEADLINE_S) -> Any:
    """The first true value of `claim`."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if value := claim():
            return value
        time.sleep(POLL_S)
    raise AssertionError(f"not within {deadline_s} s: {what}")
