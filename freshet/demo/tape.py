"""A data set as the demo plays it: a past that the first model learns from, then live parts, one a run of the demo."""

import json
from collections.abc import Iterator
from pathlib import Path

from models.durable import write_durably
from stream.events import Interaction
from stream.replay.dataset import Dataset
from stream.replay.timeline import Played, timeline

PLACE_FILE = "demo.json"


class WrongTape(Exception):
    """The data folder was filled from another data set, or its place file is damaged."""


class Tape:
    """A timeline that can be played in parts, and remembers on disk how far it was played.

    Args:
        dataset: What is played.
        folder: Where the place is kept.

    Raises:
        WrongTape: the folder belongs to another data set.
    """

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.name = dataset.name
        self.n_interactions = sum(1 for _ in dataset.interactions())
        self._path = folder / PLACE_FILE
        self.place = self._read_place()
        self._rows = timeline(dataset)
        self._skip(self.place)

    def take(self, n_interactions: int) -> Iterator[Played]:
        """The next rows up to and with so many interactions; `place` counts them as they are taken.

        The last interaction brings all items that arrive after it.
        """
        end = self.place + n_interactions
        while self.place < end or self.place == self.n_interactions:
            row = next(self._rows, None)
            if row is None:
                return
            self.place += isinstance(row, Interaction)
            yield row

    def save(self) -> None:
        """Remember the place; called once what was taken is durable on the log."""
        write_durably(self._path, json.dumps({"dataset": self.name, "place": self.place}).encode())

    def _skip(self, n_interactions: int) -> None:
        """Pass over what an earlier run has played."""
        self.place = 0
        for _ in self.take(n_interactions):
            pass

    def _read_place(self) -> int:
        if not self._path.exists():
            return 0
        advice = "start over with FRESH=1 (--fresh), or name another folder with --data-dir"
        try:
            kept = json.loads(self._path.read_bytes())
            name, place = kept["dataset"], int(kept["place"])
        except (ValueError, KeyError, TypeError) as exc:
            raise WrongTape(f"{self._path} is damaged ({exc}); {advice}") from exc
        if name != self.name:
            raise WrongTape(f"{self._path.parent} holds {name!r}, not {self.name!r}; {advice}")
        return place
