"""Histories cut into what is learned from, what is chosen by, and what is asked at the end.

Leave-one-out: of every user with at least three targets the last is asked at the end and the one before it is chosen
by. By time: what comes after the cut-off is asked, event by event, and nobody's later events are learned from; the last
tenth of the time before it is chosen by. After choosing, a model is fitted anew on `refit`, validation included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from models.encoder.batches import MS_PER_SECOND, SequenceData
from models.evaluation.ranks import BoolArray, IntArray

MIN_TARGETS = 3  # one to learn from, one to choose by, one to ask
VALIDATION_SHARE = 0.1  # of the time before the cut-off


class SplitError(ValueError):
    """The histories cannot be cut this way; the message says what is missing."""


@dataclass(frozen=True)
class Split:
    """One data set, cut.

    Attributes:
        train: what is learned from while choosing.
        validation: whole histories up to the events to choose by, which alone are marked `is_target`.
        refit: `train` and the events of `validation`, what is learned from at last.
        test: whole histories up to the events asked at the end, which alone are marked `is_target`.
        test_start_ms: the first moment after training; None where every user has one of their own.
    """

    train: SequenceData
    validation: SequenceData
    refit: SequenceData
    test: SequenceData
    test_start_ms: int | None = None

    def without(self, is_withheld: BoolArray) -> Split:
        """The same with all events of some items taken out of everything but the test.

        Args:
            is_withheld: (N,) by item.
        """

        def kept(data: SequenceData) -> SequenceData:
            return data.subset(~is_withheld[data.rows], data.is_target)

        return replace(self, train=kept(self.train), validation=kept(self.validation), refit=kept(self.refit))


def leave_one_out(data: SequenceData) -> Split:
    """The last target of every user asked at the end, the one before it chosen by; users of fewer only train.

    Events after a user's last target are left out: they are in the future of what is asked.

    Raises:
        SplitError: no user has enough targets.
    """
    users, left = data.users(), _targets_left(data)
    n_targets = np.bincount(users, weights=data.is_target, minlength=len(data.starts) - 1)
    is_cut = (n_targets >= MIN_TARGETS)[users]
    if not is_cut.any():
        raise SplitError(
            f"no user of {len(data.starts) - 1} has {MIN_TARGETS} events to predict: one to learn from, one to choose "
            "by, one to ask; give longer histories (`freshet evaluate --split time` does with shorter ones)"
        )
    return Split(
        train=data.subset(~is_cut | (left >= 3), data.is_target),
        validation=data.subset(is_cut & (left >= 2), data.is_target & (left == 2)),
        refit=data.subset(~is_cut | (left >= 2), data.is_target),
        test=data.subset(is_cut & (left >= 1), data.is_target & (left == 1)),
    )


def by_time(data: SequenceData, *, test_share: float = 0.1) -> Split:
    """The last `test_share` of all events asked at the end, whoever's they are; nothing learned from that time.

    Cuts fall between two seconds, so that no user's block is torn.

    Raises:
        SplitError: all events fall into too few seconds to be cut.
        ValueError: `test_share` is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share={test_share} must be above 0 and below 1; a tenth is usual")
    seconds = data.ts_ms // MS_PER_SECOND
    first, last = (int(seconds.min()), int(seconds.max())) if len(seconds) else (0, 0)
    cut = int(np.quantile(seconds, 1 - test_share, method="higher")) if len(seconds) else 0
    choose = first + int(np.ceil((cut - first) * (1 - VALIDATION_SHARE)))
    is_before, is_early = seconds < cut, seconds < choose
    is_chosen_by = is_before & ~is_early & data.is_target
    if not (is_early.any() and is_chosen_by.any() and (data.is_target & ~is_before).any()):
        raise SplitError(
            f"{len(seconds)} events within {last - first} s cannot be cut by time: events to predict are needed in the "
            f"last tenth of the time before the cut-off and after it; use --split leave-one-out"
        )
    return Split(
        train=data.subset(is_early, data.is_target),
        validation=data.subset(is_before, is_chosen_by),
        refit=data.subset(is_before, data.is_target),
        test=data.subset(np.ones(len(seconds), np.bool_), data.is_target & ~is_before),
        test_start_ms=cut * MS_PER_SECOND,
    )


def drawn_items(n_items: int, *, share: float, seed: int) -> BoolArray:
    """(N,) which items are withheld: a random share, at least one.

    Raises:
        ValueError: the share is not between 0 and a half.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"share of items to withhold is {share}, must be above 0 and at most 0.5")
    is_withheld = np.zeros(n_items, np.bool_)
    drawn = np.random.default_rng(seed).permutation(n_items)[: max(1, round(share * n_items))]
    is_withheld[drawn] = True
    return is_withheld


def _targets_left(data: SequenceData) -> IntArray:
    """(n_events,) how many targets of the user come at or after each event."""
    up_to = np.cumsum(data.is_target)  # over all users, each event included
    ends = data.starts[1:][data.users()] - 1  # (n_events,) the user's last event
    left: IntArray = up_to[ends] - up_to + data.is_target.astype(np.int64)
    return left
