"""The memory in one file: transitions, every partition's sequences, the blend, and the offsets all of it stands at.

NumPy's own format (`.npz`): one array a member, each with its checksum; nothing is unpickled.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumers.sequences.store import SequenceStore
from consumers.snapshot_files import UNFINISHED_S, clear_unfinished, set_aside
from models.durable import fsync_file, fsync_path

FORMAT = 3  # raised with every change of what is saved; a test knows the names
_UNREADABLE = (BadZipFile, zlib.error, ValueError, LookupError, EOFError, RuntimeError, msgspec.MsgspecError)

Arrays = dict[str, NDArray[Any]]


class DamagedMemory(Exception):
    """The file cannot be used; everything is learned again from the log."""


@dataclass(frozen=True)
class SavedMemory:
    """One moment of the role.

    Attributes:
        next_offsets: by partition.
        stores: sequences by partition.
        memory: as `SharedMemory.state` gives it.
        blend: as `BlendLearner.state` gives it; empty where no weights were learned.
    """

    next_offsets: Mapping[int, int]
    stores: Mapping[int, SequenceStore]
    memory: Mapping[str, NDArray[Any]]
    blend: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class _Meta(msgspec.Struct, frozen=True):
    version: int
    log_id: str
    length: int
    max_seen: int
    next_offsets: dict[str, int]


class MemorySnapshots:
    """The file of one log, in a folder.

    Args:
        root: the folder; made if it is missing.
        log_id: of the log that the offsets are of.
        length: events by user that the sequences hold.
        max_seen: distinct items by user that they hold beyond those.
        unfinished_s: age from which on nobody writes a temporary file any more; 0 where nobody shares the folder.
    """

    def __init__(
        self, root: Path, log_id: str, *, length: int, max_seen: int, unfinished_s: float = UNFINISHED_S
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._unfinished_s = unfinished_s
        self.path = root / "memory.npz"
        self._log_id, self.length, self.max_seen = log_id, length, max_seen
        self._saved_offsets: Mapping[int, int] | None = None

    def stands_at(self, next_offsets: Mapping[int, int]) -> bool:
        """Whether the file is of these offsets already."""
        return next_offsets == self._saved_offsets

    def save(self, saved: SavedMemory) -> None:
        """Write the moment: temporary file, fsync, rename, fsync of the folder.

        Raises:
            OSError: not written; the file of the last time is still there.
        """
        temporary = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                np.savez(file, allow_pickle=False, **self._arrays(saved))
                file.flush()
                fsync_file(file.fileno())
            temporary.replace(self.path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        fsync_path(self.path.parent)
        self._saved_offsets = dict(saved.next_offsets)

    def load(self) -> SavedMemory | None:
        """What was saved; None when there is nothing to use, and then everything is learned from the start."""
        clear_unfinished(self.path.parent, self._unfinished_s)
        try:
            saved = self._read()
        except FileNotFoundError:
            return None
        except DamagedMemory as exc:
            set_aside(self.path, exc)
            return None
        self._saved_offsets = dict(saved.next_offsets)
        return saved

    def _arrays(self, saved: SavedMemory) -> Arrays:
        offsets = {str(partition): offset for partition, offset in saved.next_offsets.items()}
        meta = _Meta(FORMAT, self._log_id, self.length, self.max_seen, offsets)
        arrays: Arrays = {"meta": _packed(meta)} | _prefixed("memory/", saved.memory) | _prefixed("blend/", saved.blend)
        for partition, store in saved.stores.items():
            arrays |= {f"{partition}/users": _packed(list(store.users)), f"{partition}/items": _packed(store.item_ids)}
            rings = store.rings.copy_rows(np.arange(store.n_users))
            arrays |= {f"{partition}/rings/{nth}": array for nth, array in enumerate(rings)}
            n_seen, seen = store.overflow.copy_rows(range(store.n_users))
            arrays |= {f"{partition}/n_seen": n_seen, f"{partition}/seen": seen}
        return arrays

    def _read(self) -> SavedMemory:
        try:
            with ZipFile(self.path) as members:
                if (name := members.testzip()) is not None:  # before anything in it is believed
                    raise BadZipFile(f"the checksum of {name} is wrong: it was cut short or altered")
            with np.load(self.path, allow_pickle=False) as file:
                return self._decoded({name: file[name] for name in file.files})
        except _UNREADABLE as exc:
            raise DamagedMemory(f"snapshot {self.path} cannot be read: {exc}; it is learned again") from exc

    def _decoded(self, arrays: Arrays) -> SavedMemory:
        meta = msgspec.json.decode(arrays["meta"].tobytes(), type=_Meta)
        found = (meta.version, meta.log_id, meta.length, meta.max_seen)
        wanted = (FORMAT, self._log_id, self.length, self.max_seen)
        if found != wanted:
            raise ValueError(f"it is of (format, log, length, max_seen) {found}, {wanted} is in force")
        next_offsets = {int(partition): offset for partition, offset in meta.next_offsets.items()}
        stores = {partition: self._store(arrays, partition) for partition in next_offsets}
        return SavedMemory(next_offsets, stores, _of_prefix("memory/", arrays), _of_prefix("blend/", arrays))

    def _store(self, arrays: Arrays, partition: int) -> SequenceStore:
        store = SequenceStore(length=self.length, max_seen=self.max_seen)
        store.rows_of(_strings(arrays[f"{partition}/users"]))
        store.numbers_of(_strings(arrays[f"{partition}/items"]))
        prefix = f"{partition}/rings/"
        n_rings = sum(name.startswith(prefix) for name in arrays)
        store.rings.load_rows(np.arange(store.n_users), [arrays[f"{prefix}{nth}"] for nth in range(n_rings)])
        store.overflow.load_rows(range(store.n_users), arrays[f"{partition}/n_seen"], arrays[f"{partition}/seen"])
        return store


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _of_prefix(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _packed(value: object) -> NDArray[np.uint8]:
    return np.frombuffer(msgspec.json.encode(value), np.uint8)


def _strings(raw: NDArray[Any]) -> list[str]:
    return msgspec.json.decode(raw.tobytes(), type=list[str])
