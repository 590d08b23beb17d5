"""Checks of what every fitting may be asked for, before anything is read."""

from __future__ import annotations

from freshet.evaluation.data import EvaluationError

MAX_SEED = 2**32 - 1  # what every generator takes


def check_asked(n_epochs: int | None, seed: int) -> None:
    """Refuse numbers that no training can use.

    Raises:
        EvaluationError: `--epochs` or `--seed` is out of bounds.
    """
    if n_epochs is not None and n_epochs < 1:
        raise EvaluationError(f"--epochs {n_epochs} must be at least 1")
    if not 0 <= seed <= MAX_SEED:
        raise EvaluationError(f"--seed {seed} must be at least 0 and at most {MAX_SEED}")
