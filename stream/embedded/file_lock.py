"""One owner per file: an operating-system lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stream.log import LogBusy, LogUnavailable


class FileLock:
    """Held from construction to release(). The lock file stays, and names the owner's process id."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            LogBusy: another process (or another log of this one) holds it; the message names its id.
            LogUnavailable: the lock file cannot be created, locked or written.
        """
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise LogUnavailable(
                f"cannot create {path}: {exc.strerror}; the folder must exist and be writable"
            ) from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.write(self._file, f"{os.getpid()}\n".encode("ascii"))
        except BlockingIOError as exc:
            owner = os.read(self._file, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise LogBusy(f"{path} is held by process {owner}; stop it, or use another data folder") from exc
        except OSError as exc:
            os.close(self._file)
            raise LogUnavailable(
                f"cannot lock {path}: {exc.strerror}; free space, or use a file system with locks"
            ) from exc

    def release(self) -> None:
        """Let another process in."""
        os.close(self._file)
