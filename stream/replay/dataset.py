"""Opening a data set: which of the four formats a folder is, and what they all give.

data set -> timeline (stream.replay.timeline) -> Player -> the topics `items` and `events`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS, EventKinds
from stream.replay.folder import Folder
from stream.replay.movielens import MOVIES, RATINGS, MovieLens
from stream.replay.recbole import RecBole
from stream.replay.rows import BadRow, BadRowError, BadRows, DatasetError, ItemRow, Reading
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset
from stream.replay.tables import SUFFIXES

__all__ = [
    "BadRow",
    "BadRowError",
    "BadRows",
    "Dataset",
    "DatasetError",
    "ItemRow",
    "open_dataset",
]
MAX_NAME_LENGTH = 100  # the name starts every event id


class Dataset(Protocol):
    """Items and interactions; each iteration starts anew and gives the same."""

    name: str  # event ids are "<name>-<row>"
    bad_rows: BadRows  # filled while reading

    def items(self) -> Iterator[ItemRow]:
        """Items in the order of the data set."""
        ...

    def interactions(self) -> Iterator[Interaction]:
        """Interactions in the order of event time."""
        ...


def open_dataset(
    path: Path | str | None,
    *,
    strict: bool = False,
    seed: int = 0,
    kinds: EventKinds = DEFAULT_KINDS,
) -> Dataset:
    """The data set in a folder, its format told from its files.

    Args:
        path: the folder; None is the synthetic shop.
        strict: stop at the first bad row instead of reporting and skipping it.
        seed: of the synthetic shop, and of the order of interactions at the same time.
        kinds: the kinds an interaction may have.

    Raises:
        DatasetError: none of the formats, or more than one; the message lists what was looked for.
    """
    if path is None:
        return SyntheticDataset(SyntheticConfig(seed=seed))
    root = Path(path)
    if not root.is_dir():
        state = "is a file; unpack it and name the folder" if root.exists() else "does not exist"
        raise DatasetError(f"data folder {root} {state}")
    reading = Reading(_name_of(root), BadRows(strict=strict), seed=seed, kinds=kinds)
    found = {name: opened for name, opener in _OPENERS.items() if (opened := opener(root, reading)) is not None}
    if len(found) != 1:
        raise DatasetError(_which(root, list(found)))
    return next(iter(found.values()))


def _movielens(root: Path, reading: Reading) -> Dataset | None:
    if not ((root / RATINGS).is_file() and (root / MOVIES).is_file()):
        return None
    return MovieLens(root, reading)


def _folder(root: Path, reading: Reading) -> Dataset | None:
    interactions = _only(root, [f"interactions{suffix}" for suffix in (".csv", ".parquet")])
    items = _only(root, [f"items{suffix}" for suffix in SUFFIXES])
    if interactions is None or items is None:
        return None
    return Folder(interactions, items, reading)


def _recbole(root: Path, reading: Reading) -> Dataset | None:
    inter = _only(root, sorted(path.name for path in root.glob("*.inter")))
    item = _only(root, sorted(path.name for path in root.glob("*.item")))
    if inter is None or item is None:
        return None
    return RecBole(inter, item, reading)


_OPENERS: dict[str, Callable[[Path, Reading], Dataset | None]] = {
    "movielens": _movielens,
    "folder": _folder,
    "recbole": _recbole,
}


def _only(root: Path, names: list[str]) -> Path | None:
    present = [root / name for name in names if (root / name).is_file()]
    if len(present) > 1:
        raise DatasetError(
            f"data folder {root} has {' and '.join(path.name for path in present)}; keep only one of them"
        )
    return present[0] if present else None


def _which(root: Path, found: list[str]) -> str:
    if found:
        return f"data folder {root} has the files of {' and '.join(found)}; keep only those of one format"
    present = sorted(path.name for path in root.iterdir())
    return (
        f"data folder {root} is none of the known formats. Looked for: "
        f"folder (interactions.csv|parquet and items.csv|jsonl|parquet), "
        f"movielens ({RATINGS} and {MOVIES}), recbole (one .inter and one .item). "
        f"Found: {', '.join(present)[:300] or 'nothing'}"
    )


def _name_of(root: Path) -> str:
    """The folder's own name, as far as it may stand in an event id."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name)[:MAX_NAME_LENGTH] or "data"
