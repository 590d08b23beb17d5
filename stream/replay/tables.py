"""Rows out of CSV, JSON lines and Parquet files, each with its line, so that what is wrong can be found."""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from stream.replay.rows import BadRows, BadValue, DatasetError

SUFFIXES = (".csv", ".jsonl", ".parquet")
_BATCH_ROWS = 10_000


class Row(NamedTuple):
    """One row that could be read."""

    place: int  # 0-based among all rows of the file, bad ones too
    line: int  # 1-based line in the file; in Parquet the row
    values: dict[str, Any]


class Table:
    """One file of rows with named columns. Reads from its start at each iteration.

    Args:
        path: .csv (UTF-8, with a header), .jsonl (one object a line) or .parquet.
        required: columns that must be there; in JSON lines a key may be missing from a row.
        bad_rows: told of rows that cannot be read.
    """

    def __init__(self, path: Path, required: Sequence[str], bad_rows: BadRows) -> None:
        self.path = path
        self._required = tuple(required)
        self._bad_rows = bad_rows

    def __iter__(self) -> Iterator[Row]:
        """Rows in the order of the file; blank lines are no rows.

        Raises:
            DatasetError: not readable, or a required column is missing.
            BadRowError: a bad row, reading strictly.
        """
        for place, (line, row) in enumerate(self._read()):
            if isinstance(row, BadValue):
                self.report(line, row)
            else:
                yield Row(place, line, row)

    def n_rows(self) -> int:
        """Rows of the file, bad ones too."""
        return sum(1 for _ in self._read())

    def report(self, line: int, problem: BadValue) -> None:
        """Report a row of this file as bad."""
        self._bad_rows.report(self.path.name, line, problem=problem)

    def _read(self) -> Iterator[tuple[int, dict[str, Any] | BadValue]]:
        read = {".csv": self._csv, ".jsonl": self._jsonl, ".parquet": self._parquet}[self.path.suffix]
        try:
            yield from read()
        except (OSError, pa.ArrowException, csv.Error) as exc:  # of CSV here: its header
            raise DatasetError(f"{self.path} cannot be read: {exc}") from exc

    def _csv(self) -> Iterator[tuple[int, dict[str, Any] | BadValue]]:
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            self._check_columns(header)
            while True:
                line = reader.line_num + 1
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as exc:
                    span = f"lines {line} to {reader.line_num} were read as one row"
                    yield line, BadValue("bad CSV", f"{exc}; {span}; check the quotes")
                    continue
                if row:
                    yield line, _named(header, row)

    def _jsonl(self) -> Iterator[tuple[int, dict[str, Any] | BadValue]]:
        with self.path.open("rb") as file:
            if file.read(len(BOM_UTF8)) != BOM_UTF8:
                file.seek(0)
            for line, raw in enumerate(file, 1):
                if raw.strip():
                    yield line, _json_object(raw)

    def _parquet(self) -> Iterator[tuple[int, dict[str, Any] | BadValue]]:
        with pq.ParquetFile(self.path) as file:
            self._check_columns(file.schema_arrow.names)
            line = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for row in _batch_rows(_in_microseconds(batch)):
                    line += 1
                    yield line, row

    def _check_columns(self, header: Sequence[str]) -> None:
        missing = [name for name in self._required if name not in header]
        if missing:
            raise DatasetError(
                f"{self.path} has no column {', '.join(missing)}; its columns are "
                f"{', '.join(header) or '(none)'}; needed are {', '.join(self._required)}"
            )
        if len(set(header)) < len(header):
            raise DatasetError(f"{self.path} names a column twice: {', '.join(header)}; rename one")


def decoded(text: str) -> str:
    """The text, if its bytes were UTF-8.

    Raises:
        BadValue: they were not (it holds surrogates in their place).
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raw = text.encode(errors="surrogateescape")[:80]
            raise BadValue("not UTF-8", f"{raw!r}; save the file as UTF-8") from exc
    return text


def _named(header: list[str], row: list[str]) -> dict[str, Any] | BadValue:
    if len(row) != len(header):
        return BadValue("wrong column count", f"{len(row)} columns, the header has {len(header)}")
    try:
        decoded("".join(row))
    except BadValue as problem:
        return problem
    return dict(zip(header, row, strict=True))


def _json_object(raw: bytes) -> dict[str, Any] | BadValue:
    try:
        row = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        return BadValue("bad JSON", f"{exc}; first bytes {raw[:80]!r}")
    if not isinstance(row, dict):
        return BadValue("bad JSON", f"a {type(row).__name__}, each line must be an object")
    return row


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Nanosecond times have no Python value; a stream has no use for them."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            column = batch.column(place).cast(pa.timestamp("us", tz=field.type.tz), safe=False)
            batch = batch.set_column(place, field.name, column)
    return batch


def _batch_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | BadValue]:
    try:
        rows = batch.to_pylist()
    except (UnicodeDecodeError, OverflowError):
        rows = None
    if rows is not None:
        yield from rows
        return
    for place in range(batch.num_rows):
        try:
            yield batch.slice(place, 1).to_pylist()[0]  # one by one, to find which
        except UnicodeDecodeError as exc:
            yield BadValue("not UTF-8", str(exc))
        except OverflowError as exc:
            yield BadValue("bad timestamp", f"{exc}; times lie in the years 1 to 9999")
