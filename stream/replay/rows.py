"""What every reader of a data set yields and reports: item rows, and bad rows with file, line and reason.

DatasetError        the data set cannot be read at all (a file or column is missing, features do not fit)
  BadRowError       strict reading met its first bad row
BadValue            one row is wrong; readers turn it into a report
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stream.events import ItemUpsert
from stream.kinds import DEFAULT_KINDS, EventKinds

MAX_KEPT = 20  # bad rows shown in full; the rest is only counted


class DatasetError(ValueError):
    """The data set as a whole cannot be used; the message says what to change."""


class BadRowError(DatasetError):
    """The first bad row of a strict reading."""


class BadValue(ValueError):
    """One row cannot be used.

    Attributes:
        problem: short and constant, what bad rows are counted by.
    """

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem


class BadRow(NamedTuple):
    """Where a bad row is and what is wrong with it."""

    file: str
    line: int  # 1-based, with the header; in Parquet the row; 0 where there is no line (a picture)
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.reason}"


class BadRows:
    """Counts bad rows by problem and keeps the first ones; a row is counted once however often it is read.

    >>> bad = BadRows()
    >>> bad.report("items.csv", 3, problem=BadValue("empty id", "item_id is ''"))
    >>> bad.report("items.csv", 3, problem=BadValue("empty id", "item_id is ''"))
    >>> bad.total, dict(bad.by_problem), str(bad.first[0])
    (1, {'empty id': 1}, "items.csv:3: empty id: item_id is ''")
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.first: list[BadRow] = []
        self.by_problem: Counter[str] = Counter()
        self._reported: set[tuple[str, int, str]] = set()

    @property
    def total(self) -> int:
        """Problems reported so far."""
        return self.by_problem.total()

    def report(self, file: str, line: int, *, problem: BadValue) -> None:
        """Count one bad row; the caller skips it.

        Raises:
            BadRowError: reading is strict.
        """
        row = BadRow(file, line, str(problem))
        if self.strict:
            raise BadRowError(f"{row}; correct the row, or read without strict to skip and count it")
        where = (file, line, problem.problem)
        if where in self._reported:
            return
        self._reported.add(where)
        self.by_problem[problem.problem] += 1
        if len(self.first) < MAX_KEPT:
            self.first.append(row)


class ItemRow(NamedTuple):
    """One item as a data set has it: the upsert without image reference, and the picture.

    Where `is_timed` is false the data set does not say when the item arrived, and `item.ts_ms` is 0.
    """

    item: ItemUpsert
    image: bytes | Path | None = None
    is_timed: bool = False


@dataclass(frozen=True)
class Reading:
    """How a data set is read, whatever its format.

    Attributes:
        name: of the data set, the start of every event id.
        bad_rows: told of every row that is skipped.
        seed: decides the order of interactions at the same time.
        kinds: the kinds an interaction may have.
    """

    name: str
    bad_rows: BadRows = field(default_factory=BadRows)
    seed: int = 0
    kinds: EventKinds = DEFAULT_KINDS
