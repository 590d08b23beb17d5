"""The one interface every model under evaluation stands behind: learn from histories, score every item after one.

`build.py` makes a recommender by its name; items are catalogue rows 0..N-1 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.evaluation.ranks import BoolArray, IntArray


@dataclass(frozen=True)
class Catalogue:
    """What there is to recommend.

    Attributes:
        n_items: N.
        content: row i is item i; None where nothing is known of the items but their number.
        has_id: (N,) whether training may learn an ID for the item and take it as a negative; False for items withheld
            from training, which only their content can place.

    Raises:
        ValueError: sizes that differ, or no item that owns an ID.
    """

    n_items: int
    content: ContentTable | None
    has_id: BoolArray

    def __post_init__(self) -> None:
        n_content = self.n_items if self.content is None else len(self.content)
        if not (len(self.has_id) == n_content == self.n_items):
            raise ValueError(
                f"catalogue disagrees: n_items={self.n_items}, content of {n_content} items, has_id of "
                f"{len(self.has_id)}; give one row an item"
            )
        if not self.has_id.any():
            raise ValueError(f"none of the {self.n_items} items owns an ID; at least one must stay in training")


@dataclass(frozen=True)
class FitReport:
    """What one epoch did.

    Attributes:
        epoch: epochs done, from 1; the best one's number is the `n_epochs` to refit with.
        loss: mean over steps.
        n_targets: positions predicted.
        seconds: of training, scoring the validation events left out.
        validation: filtered NDCG@10 of the validation events; None where they are not scored after this epoch.
    """

    epoch: int
    loss: float
    n_targets: int
    seconds: float
    validation: float | None


class Recommender(Protocol):
    """One model under evaluation: learns from histories, scores every item after a history."""

    @property
    def name(self) -> str:
        """As on the command line: m2se, sasrec, popularity, ..."""
        ...

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Learn from scratch; a second call forgets the first.

        Args:
            train: the histories to learn from.
            validation: the same users' histories with their later events at the end: `is_target` marks the events to
                predict, all others are context. Training stops when they are predicted no better, and the best
                epoch's weights stay. None: the number of epochs given to `build`.
            on_epoch: called after each epoch; never by a model that has none.
        """
        ...

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> NDArray[np.float32]:
        """Score the whole catalogue after each history.

        Args:
            histories: B of item rows, oldest first; an empty one is answered without knowing the user.
            times_ms: B of event times, one an item.

        Returns:
            (B, N), higher is better, always finite: what is no candidate, the caller takes out.
        """
        ...
