"""Snapshot files that cannot be used are set aside; those that were never finished are cleared away."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import structlog

KEPT_ASIDE = 5
UNFINISHED_S = 3_600.0  # a snapshot that is being written was touched later than that


def set_aside(path: Path, reason: Exception) -> None:
    """Give a snapshot that cannot be used another name: `….damaged`, the next time `….damaged.2`.

    The newest KEPT_ASIDE of a file are kept, so that a disk that damages them again and again is not filled. Where
    another process was faster there is nothing left to do.
    """
    known = {_number(aside): aside for aside in path.parent.glob(f"{path.name}.damaged*")}
    number = max(known, default=0) + 1
    aside = path.with_name(f"{path.name}.damaged" if number == 1 else f"{path.name}.damaged.{number}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    structlog.get_logger().warning("snapshot_set_aside", file=str(aside), reason=str(reason))
    for old, file in known.items():
        if 0 < old <= number - KEPT_ASIDE:
            file.unlink(missing_ok=True)


def clear_unfinished(root: Path, unfinished_s: float) -> None:
    """Remove the temporary files in a folder that nobody is writing any more.

    Args:
        root: the folder.
        unfinished_s: age from which on nobody is at one; 0 where no other process shares the folder.
    """
    oldest_s = time.time() - unfinished_s
    for unfinished in root.glob("*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process was at it, or cleared it away too
            if unfinished.stat().st_mtime <= oldest_s:
                unfinished.unlink()


def _number(aside: Path) -> int:
    """Of a file that was set aside; 0 where somebody else named it."""
    last = aside.suffix.removeprefix(".")
    return 1 if last == "damaged" else int(last) if last.isdecimal() else 0
