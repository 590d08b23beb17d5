"""Refused cycles, one fsynced JSON line each: the answer to "why is there no new model?"."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from models.durable import fsync_file, fsync_path
from models.registry.bundle import RegistryError


@dataclass(frozen=True)
class Refusal:
    """A cycle whose model did not become current.

    Attributes:
        refused_ms: wall clock.
        parent: the version it went on from.
        metrics: figures by name, as the gate saw them.
    """

    refused_ms: int
    parent: str | None
    reason: str
    metrics: dict[str, float]


def append_refusal(path: Path, refusal: Refusal) -> None:
    """Add one line durably; what a kill left of an unfinished last line is cut off first."""
    is_new = not path.exists()
    with path.open("ab+") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.seek(0, os.SEEK_END)
        file.write(json.dumps(asdict(refusal)).encode() + b"\n")
        file.flush()
        fsync_file(file.fileno())
    if is_new:
        fsync_path(path.parent)


def read_refusals(path: Path) -> list[Refusal]:
    """All whole lines, oldest first; a torn last line is ignored.

    Raises:
        RegistryError: another line is damaged.
    """
    if not path.exists():
        return []
    raw = path.read_bytes()
    lines = raw[: raw.rfind(b"\n") + 1].splitlines()
    return [_refusal(path, number, line) for number, line in enumerate(lines, start=1)]


def _refusal(path: Path, number: int, line: bytes) -> Refusal:
    try:
        values = json.loads(line)
        return Refusal(**{name: values[name] for name in Refusal.__dataclass_fields__})
    except (ValueError, KeyError, TypeError) as exc:
        raise RegistryError(f"{path}, line {number} is damaged ({exc}); delete that line") from exc
