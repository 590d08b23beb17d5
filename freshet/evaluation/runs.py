"""Runs kept on disk, one file each, so that a comparison grows over several sittings and a killed one resumes.

    <folder>/<data>-<split>-<model>-seed<n>-<hash>.json.gz    first the epochs chosen, then, in its place, all of it

The hash is of the whole key: other data, another split or other hyper-parameters are another run. Small enough to be
kept beside the figures made of them, so that whoever has the file need not train the model.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import msgspec
import numpy as np

from models.durable import write_durably
from models.evaluation.ranking import N_SHOWN, Ranked
from models.evaluation.ranks import IntArray, RankCounts
from models.memory.blend import BlendWeights
from models.rivals.recommender import FitReport

FORMAT = 1  # of the files, and of what is asked: another where questions, candidates or validation change
PROTOCOLS = ("filtered", "unfiltered", "withheld_filtered", "withheld_unfiltered")


class BadRun(ValueError):
    """A kept run cannot be read; the message says which file to delete."""


class RunKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run is of.

    Attributes:
        model: its name.
        config: everything its training is set by.
        seed: of the training.
        data_name: of the data set.
        data: the data set's fingerprint.
        split: how it was cut.
        withheld: share of items kept out of training.
        towers: what encoded the content; empty for the product's own (its text tower's weights being there), and for
            a model that reads none.
    """

    model: str
    config: str
    seed: int
    data_name: str
    data: str
    split: str
    withheld: float
    towers: str = ""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What validation came to.

    Attributes:
        epochs: of the training that was watched; empty for a model without epochs.
        n_epochs: the best one's number; None for a model without epochs.
        weights: of the blend; None for a model without one.
    """

    epochs: tuple[FitReport, ...]
    n_epochs: int | None
    weights: BlendWeights | None = None

    @classmethod
    def of(cls, epochs: tuple[FitReport, ...], weights: BlendWeights | None = None) -> Choice:
        """The epoch of the best validation score, the earliest of equals."""
        scored = [epoch for epoch in epochs if epoch.validation is not None]
        best = max(scored, key=lambda epoch: epoch.validation or 0.0, default=None)
        return cls(epochs=epochs, n_epochs=best.epoch if best else None, weights=weights)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One model fitted with one seed and asked everything.

    Attributes:
        choice: what validation came to.
        epochs: of the last training.
        ranks: by protocol, the `greater` and `equal` of every question's target.
        shown: the best items of every question.
        fit_s: seconds of the last training, and of choosing where this run chose.
        ask_s: seconds of asking.
    """

    choice: Choice
    epochs: tuple[FitReport, ...]
    ranks: dict[str, tuple[list[int], list[int]]]
    shown: list[list[int]]
    fit_s: float
    ask_s: float

    @property
    def ranked(self) -> Ranked:
        """The answers as arrays."""
        counts = {name: RankCounts(_ints(greater), _ints(equal)) for name, (greater, equal) in self.ranks.items()}
        return Ranked(shown=np.array(self.shown, dtype=np.int64), **counts)

    def is_whole(self, n_questions: int) -> bool:
        """Whether every protocol and the lists answer all questions."""
        columns = [column for pair in self.ranks.values() for column in (*pair, self.shown)]
        return (
            self.ranks.keys() == set(PROTOCOLS)
            and all(len(column) == n_questions for column in columns)
            and all(len(items) == N_SHOWN for items in self.shown)
        )


def plain_ranks(ranked: Ranked) -> dict[str, tuple[list[int], list[int]]]:
    """The counts of all protocols as a run keeps them."""
    counts = {name: getattr(ranked, name) for name in PROTOCOLS}
    return {name: (one.greater.tolist(), one.equal.tolist()) for name, one in counts.items()}


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    key: RunKey
    choice: Choice
    run: Run | None = None


class Runs:
    """A folder of runs.

    Args:
        folder: made where it is missing.
        n_questions: answers a finished run must have.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path, *, n_questions: int) -> None:
        self._folder, self._n_questions = folder, n_questions
        folder.mkdir(parents=True, exist_ok=True)

    def choice(self, key: RunKey) -> Choice | None:
        """What an interrupted run had chosen already.

        Raises:
            BadRun: its file is damaged.
        """
        file = self._read(key)
        return file.choice if file else None

    def run(self, key: RunKey) -> Run | None:
        """The run, if it was finished.

        Raises:
            BadRun: its file is damaged.
        """
        file = self._read(key)
        return file.run if file else None

    def keep_choice(self, key: RunKey, choice: Choice) -> None:
        """Keep what was chosen, before the last training."""
        self._write(_File(format=FORMAT, key=key, choice=choice))

    def keep(self, key: RunKey, run: Run) -> None:
        """Keep a finished run."""
        self._write(_File(format=FORMAT, key=key, choice=run.choice, run=run))

    def path(self, key: RunKey) -> Path:
        """Where a run lies, or would lie."""
        digest = hashlib.sha256(msgspec.json.encode(key)).hexdigest()[:12]
        return self._folder / f"{key.data_name}-{key.split}-{key.model}-seed{key.seed}-{digest}.json.gz"

    def _read(self, key: RunKey) -> _File | None:
        path = self.path(key)
        try:
            file = msgspec.json.decode(gzip.decompress(path.read_bytes()), type=_File)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, gzip.BadGzipFile, EOFError, zlib.error) as exc:
            raise BadRun(f"kept run {path} cannot be read ({exc}); delete it to run it again") from exc
        if file.format != FORMAT or file.key != key:
            raise BadRun(f"kept run {path} is of format {file.format} or of another run; delete it to run it again")
        if file.run and not file.run.is_whole(self._n_questions):
            raise BadRun(f"kept run {path} has not all {self._n_questions} answers; delete it to run it again")
        return file

    def _write(self, file: _File) -> None:
        write_durably(self.path(file.key), gzip.compress(msgspec.json.encode(file), mtime=0))  # the same file whenever


def _ints(column: list[int]) -> IntArray:
    return np.array(column, dtype=np.int64)
