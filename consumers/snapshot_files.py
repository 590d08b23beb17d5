"""Snapshot files that cannot be used are set aside under names of their own."""

from __future__ import annotations

from pathlib import Path

import structlog

KEPT_ASIDE = 5


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


def _number(aside: Path) -> int:
    """Of a file that was set aside; 0 where somebody else named it."""
    last = aside.suffix.removeprefix(".")
    return 1 if last == "damaged" else int(last) if last.isdecimal() else 0
