"""The data set as the processes of `benchmarks.libraries` hand it on: one file of arrays, read in every environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.encoder.batches import MS_PER_SECOND, SequenceData
from models.evaluation.ranking import Questions
from models.evaluation.ranks import BoolArray, IntArray
from models.evaluation.splits import Split, leave_one_out
from models.rivals.recommender import Catalogue


@dataclass(frozen=True)
class Histories:
    """Items are rows 0..N-1.

    Attributes:
        events: of all users.
        live_from_ms: (N,) when each item became a candidate.
    """

    events: SequenceData
    live_from_ms: IntArray

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.live_from_ms)

    def first_users(self, n_users: int) -> Histories:
        """Only the events of the first users; all items stay."""
        kept = self.events.users() < n_users
        return Histories(self.events.subset(kept, self.events.is_target), self.live_from_ms)

    def split(self) -> Split:
        """Leave-one-out."""
        return leave_one_out(self.events)

    def questions(self) -> Questions:
        """What is asked at the end; no item is withheld."""
        return Questions(self.split().test, self.live_from_ms, np.zeros(self.n_items, np.bool_))

    def catalogue(self, learned: SequenceData) -> Catalogue:
        """Items that are learned from own an ID; nothing else is known of them."""
        has_id: BoolArray = np.bincount(learned.rows, minlength=self.n_items) > 0
        return Catalogue(self.n_items, None, has_id)

    def save(self, path: Path) -> None:
        """Write the file; what stood there is lost."""
        np.savez(
            path,
            rows=self.events.rows,
            ts_ms=self.events.ts_ms,
            starts=self.events.starts,
            is_target=self.events.is_target,
            live_from_ms=self.live_from_ms,
        )

    @classmethod
    def load(cls, path: Path) -> Histories:
        """Read what `save` wrote.

        Raises:
            OSError: it is not there.
        """
        with np.load(path) as file:
            events = SequenceData(file["rows"], file["ts_ms"], file["starts"], file["is_target"])
            return cls(events, file["live_from_ms"])

    def save_interactions(self, path: Path) -> None:
        """Write RecBole's form of the events: a tab-separated `.inter` file, times in seconds."""
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = np.stack([self.events.users(), self.events.rows, self.events.ts_ms // MS_PER_SECOND], axis=1)
        header = "user_id:token\titem_id:token\ttimestamp:float"
        np.savetxt(path, columns, fmt="%d", delimiter="\t", header=header, comments="")
