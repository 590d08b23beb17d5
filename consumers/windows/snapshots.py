"""A partition's windows in one file, together with the offsets they stand at.

magic | MessagePack of `_File` | 16 bytes BLAKE2b of all before
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import msgspec

from consumers.snapshot_files import set_aside
from consumers.windows.partition import PartitionWindows, Saved
from models.durable import remove_unfinished, write_durably

FORMAT = 1
_MAGIC = b"FRESHWIN"
_DIGEST_BYTES = 16


class DamagedWindows(Exception):
    """The file cannot be used; its partition is rebuilt from the log."""


class _File(msgspec.Struct, frozen=True):
    version: int
    log_id: str
    saved: Saved


_Moment = tuple[int, tuple[tuple[str, int], ...]]  # stream time and offsets


class WindowSnapshots:
    """The files of one log's partitions, in one folder."""

    def __init__(self, root: Path, log_id: str) -> None:
        """Make the folder if it is missing."""
        root.mkdir(parents=True, exist_ok=True)
        self._root, self._log_id = root, log_id
        self._moments: dict[int, _Moment] = {}  # of the file, by partition

    def path(self, partition: int) -> Path:
        """The partition's file."""
        return self._root / f"windows-{partition}.snapshot"

    def save(self, partition: int, windows: PartitionWindows) -> None:
        """Write the partition, unless nothing happened since the last time.

        Raises:
            OSError: not written; the file of the last time is still there.
        """
        with windows.changed:
            saved = windows.saved()
            moment = _moment(saved)
            if self._moments.get(partition) == moment:
                return
            body = _MAGIC + msgspec.msgpack.encode(_File(FORMAT, self._log_id, saved))
        write_durably(self.path(partition), body + _digest(body))
        self._moments[partition] = moment

    def load(self, partition: int) -> Saved | None:
        """The partition as it was saved; None when there is nothing to use, and then it is read from the start.

        Who loads a partition writes it from now on, so what was never finished is cleared away.
        """
        path = self.path(partition)
        remove_unfinished(path)
        try:
            saved = _decode(path.read_bytes(), self._log_id)
        except FileNotFoundError:
            return None
        except DamagedWindows as exc:
            set_aside(path, exc)
            return None
        self._moments[partition] = _moment(saved)
        return saved


def _decode(raw: bytes, log_id: str) -> Saved:
    body = raw[:-_DIGEST_BYTES]
    if not raw.startswith(_MAGIC) or _digest(body) != raw[-_DIGEST_BYTES:]:
        raise DamagedWindows("its checksum is wrong: it was cut short or altered; rebuild from the log")
    try:
        file = msgspec.msgpack.decode(body[len(_MAGIC) :], type=_File)
    except msgspec.DecodeError as exc:
        raise DamagedWindows(f"it cannot be read: {exc}; rebuild from the log") from exc
    if (file.version, file.log_id) != (FORMAT, log_id):
        raise DamagedWindows(
            f"it is of format={file.version} and log_id={file.log_id!r}, {FORMAT} and {log_id!r} are in force"
        )
    return file.saved


def _moment(saved: Saved) -> _Moment:
    return saved.now_ms, tuple(sorted(saved.next_offsets.items()))


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST_BYTES).digest()
