"""Files that survive a power cut: written, fsynced, then renamed into place.

Used wherever a reader must see either the old file or the whole new one, and by two processes that change
the same file one after the other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_READ_BYTES = 1 << 20
_LOCK_RETRY_S = 0.01


class LockTimeoutError(TimeoutError):
    """Another process held the lock for longer than the deadline."""


def fsync_file(fd: int) -> None:
    """Force a file to the disk itself; on macOS plain fsync stops at the drive's cache."""
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, full_sync)


def fsync_path(path: Path) -> None:
    """Force a file, or the names inside a folder, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fsync_file(fd)
    finally:
        os.close(fd)


def fsync_tree(root: Path) -> None:
    """Force every file and folder under `root`, and `root` itself, to the disk."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            fsync_path(Path(folder) / name)
        fsync_path(Path(folder))


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: a reader, or a restart at any moment, finds the old bytes or the new ones."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            fsync_file(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove what `write_durably` left of `path` where it was killed; by who alone writes it."""
    for unfinished in path.parent.glob(f".{path.name}.*.tmp"):
        unfinished.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def file_lock(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold `path` as a lock between processes and threads; the system drops it when its holder dies.

    Raises:
        LockTimeoutError: somebody else held it for `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockTimeoutError(f"{path} was held by another process for {timeout_s:g} s") from None
                time.sleep(_LOCK_RETRY_S)
        yield
