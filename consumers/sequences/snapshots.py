"""One partition's state in one file, together with the offset it stands at.

The file is written beside the running store: blocks of rows are copied under the partition's lock and written
outside it, then under one last lock the rows that changed meanwhile, the names and the offset. So the
file is one moment of the state, and nobody waits longer than for the copy of a block.

    magic | frame ... | frame "end" | 16 bytes BLAKE2b of all before
    frame: uint32 header length | JSON header {name, dtype, shape} | the array's bytes
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumers.sequences.popularity import counted
from consumers.sequences.store import SequenceStore
from models.durable import fsync_file, fsync_path
from stream.windows.trending import TrendingCounts

FORMAT = 2
READABLE_FORMATS = (1, 2)  # 1 had trending counts, which are now counted from the rows
_MAGIC = b"FRESHSEQ"
_DIGEST_BYTES = 16
_READ_BYTES = 1 << 22
_TAIL_BYTES = 1 << 18  # the last frame but one says what the file is; 256 names of kinds fit
_META_HEADER = b'{"name":"meta"'
_BLOCK_ROWS = 4_096  # about 4 MB and 1 ms under the lock, at 50 positions

Arrays = list[NDArray[Any]]


class KindsDiffer(Exception):
    """The file's kind numbers mean other kinds than those in force; nothing may be served from it."""


class DamagedSnapshot(Exception):
    """The file cannot be used; its partition is rebuilt from the log."""


@dataclass
class PartitionState:
    """One partition's sequences and counts, and the next offset they stand at.

    Attributes:
        lock: held by the one writer and by every reader, for as short as can be.
        snapshot_lock: one snapshot at a time.
    """

    store: SequenceStore
    trending: TrendingCounts
    next_offset: int = 0
    lock: Lock = field(default_factory=Lock)
    snapshot_lock: Lock = field(default_factory=Lock)


class Origin(NamedTuple):
    """What a snapshot must have been made from to be of use."""

    log_id: str
    length: int
    max_seen: int
    kinds: tuple[str, ...] = ()  # names in the order of their numbers


class _Meta(msgspec.Struct, frozen=True):
    version: int
    log_id: str
    length: int
    max_seen: int
    next_offset: int
    kinds: tuple[str, ...] = ()  # files of before know none


def snapshot(state: PartitionState, path: Path, log_id: str, *, kinds: tuple[str, ...] = ()) -> int:
    """Write the state to `path`: temporary file, fsync, rename, fsync of the folder.

    Args:
        state: of the partition.
        path: of its file.
        log_id: of the log that the offset is of.
        kinds: names in the order of their numbers.

    Returns:
        The next offset the file stands at.

    Raises:
        OSError: not written; what was at `path` before is still there.
    """
    # its own name: a process that was suspended and lost the partition may still be at it
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    with state.snapshot_lock:
        try:
            with temporary.open("wb") as file:
                next_offset = _write(state, file, log_id, kinds)
                file.flush()
                fsync_file(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        fsync_path(path.parent)
    return next_offset


def restore(path: Path, origin: Origin) -> PartitionState:
    """Read what `snapshot` wrote.

    Raises:
        FileNotFoundError: there is none.
        DamagedSnapshot: torn, altered, of another format, log or length; the message says which.
        KindsDiffer: its kinds are not the first of those in force.
    """
    with path.open("rb") as file:
        try:
            _verify(file)
            meta, state = _read(file, origin)
        except (ValueError, TypeError, struct.error, msgspec.MsgspecError, LookupError) as exc:
            raise DamagedSnapshot(f"snapshot {path} cannot be read: {exc}; rebuild from the log") from exc
    _check_kinds(path, meta, origin.kinds)
    return state


def check_kinds(path: Path, log_id: str, kinds: tuple[str, ...]) -> None:
    """Whether a file of this log has the kinds in force, or their first, without reading all of it.

    Raises:
        KindsDiffer: it has others.
    """
    meta = _meta_of(path, log_id)
    if meta is not None:
        _check_kinds(path, meta, kinds)


def offset_of(path: Path, log_id: str) -> int | None:
    """The next offset that a file of this log says it stands at, without reading all of it.

    Returns:
        None where there is no file, or it says nothing that can be used; `restore` says why.
    """
    meta = _meta_of(path, log_id)
    return None if meta is None else meta.next_offset


def _meta_of(path: Path, log_id: str) -> _Meta | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            tail = file.read()
        begin = tail.rindex(_META_HEADER)
        payload = tail.index(b"}", begin) + 1
        (n_bytes,) = msgspec.json.decode(tail[begin:payload])["shape"]
        meta = msgspec.json.decode(tail[payload : payload + n_bytes], type=_Meta)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    return meta if meta.log_id == log_id else None


def _write(state: PartitionState, file: BinaryIO, log_id: str, kinds: tuple[str, ...]) -> int:
    store, out = state.store, _FrameWriter(file)
    with state.lock:
        store.track_changes()
        n_rows = store.n_users
    try:
        for start in range(0, n_rows, _BLOCK_ROWS):
            rows = np.arange(start, min(start + _BLOCK_ROWS, n_rows))
            with state.lock:
                copied = _copy_rows(store, rows)
            out.write_all("rows", copied)
    finally:
        with state.lock:
            changed = _copy_rows(store, store.end_tracking())
            users, items = list(store.users), list(store.item_ids)
            limits = (store.rings.length, store.overflow.max_items)
            meta = _Meta(FORMAT, log_id, *limits, state.next_offset, kinds)
    out.write_all("rows", changed)
    for name, value in (("users", users), ("items", items), ("meta", meta)):
        out.write(name, np.frombuffer(msgspec.json.encode(value), np.uint8))
    out.end()
    return meta.next_offset


def _copy_rows(store: SequenceStore, rows: NDArray[np.int64]) -> Arrays:
    lengths, values = store.overflow.copy_rows(rows.tolist())
    return [rows, lengths, values, *store.rings.copy_rows(rows)]


def _read(file: BinaryIO, origin: Origin) -> tuple[_Meta, PartitionState]:
    store = SequenceStore(length=origin.length, max_seen=origin.max_seen)
    names: dict[str, bytes] = {}
    group: Arrays = []
    for name, array in _frames(file):
        if name != "rows":
            names[name] = array.tobytes()
            continue
        group.append(array)
        if len(group) == _group_size(store):
            _load_rows(store, group)
            group = []
    meta = msgspec.json.decode(names["meta"], type=_Meta)
    _check(meta, origin)
    store.users.update({user: row for row, user in enumerate(_strings(names["users"]))})
    store.item_ids.extend(_strings(names["items"]))
    store.items.update({item: number for number, item in enumerate(store.item_ids)})
    return meta, PartitionState(store, counted(store), meta.next_offset)


def _group_size(store: SequenceStore) -> int:
    return len(_copy_rows(store, np.zeros(0, np.int64)))


def _load_rows(store: SequenceStore, group: Arrays) -> None:
    rows, lengths, values, *arrays = group
    if arrays[-1].shape[1:] != (store.rings.length,):
        raise ValueError(f"rows of {arrays[-1].shape[1:]} positions, {store.rings.length} are configured")
    if len(rows):
        store.rings.grow(int(rows.max()) + 1)
    store.overflow.load_rows(rows.tolist(), lengths, values)
    store.rings.load_rows(rows, arrays)


def _check(meta: _Meta, origin: Origin) -> None:
    if meta.version not in READABLE_FORMATS:
        raise ValueError(f"it is of format={meta.version}, readable are {READABLE_FORMATS}")
    found = (meta.log_id, meta.length, meta.max_seen)
    for name, value, wanted in zip(Origin._fields, found, origin, strict=False):
        if value != wanted:
            raise ValueError(f"it is of {name}={value!r}, {wanted!r} is in force")


def _check_kinds(path: Path, meta: _Meta, kinds: tuple[str, ...]) -> None:
    if meta.kinds != kinds[: len(meta.kinds)]:
        raise KindsDiffer(
            f"snapshot {path} is of the event kinds {list(meta.kinds)}, and {list(kinds)} are in force; kinds are only "
            f"ever added, at the end: set them so, or move the folder away, and histories are rebuilt as far back as "
            f"the log reaches"
        )


def _strings(raw: bytes) -> list[str]:
    return msgspec.json.decode(raw, type=list[str])


class _FrameWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = blake2b(digest_size=_DIGEST_BYTES)
        self._put(_MAGIC)

    def write(self, name: str, array: NDArray[Any]) -> None:
        header = msgspec.json.encode({"name": name, "dtype": array.dtype.str, "shape": array.shape})
        self._put(struct.pack("<I", len(header)) + header)
        self._put(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def write_all(self, name: str, arrays: Sequence[NDArray[Any]]) -> None:
        for array in arrays:
            self.write(name, array)

    def end(self) -> None:
        self.write("end", np.zeros(0, np.uint8))
        self._file.write(self._digest.digest())

    def _put(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)


def _verify(file: BinaryIO) -> None:
    """The whole file against its checksum, before anything in it is believed."""
    n_bytes = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("it does not begin as a snapshot does")
    digest = blake2b(_MAGIC, digest_size=_DIGEST_BYTES)
    while file.tell() < n_bytes:
        digest.update(file.read(min(_READ_BYTES, n_bytes - file.tell())))
    if file.read() != digest.digest():
        raise ValueError("its checksum is wrong: it was cut short or altered")
    file.seek(len(_MAGIC))


def _frames(file: BinaryIO) -> Iterator[tuple[str, NDArray[Any]]]:
    """All frames before the end."""
    while True:
        (header_bytes,) = struct.unpack("<I", file.read(4))
        header = msgspec.json.decode(file.read(header_bytes))
        if header["name"] == "end":
            return
        dtype = np.dtype(header["dtype"])
        data = file.read(dtype.itemsize * int(np.prod(header["shape"], dtype=np.int64)))
        yield header["name"], np.frombuffer(data, dtype).reshape(header["shape"])
