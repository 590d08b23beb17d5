"""The pointer: which version is current, who said so, and whether the gate may change it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from models.registry.bundle import FORMAT

By = Literal["gate", "operator"]

VERSION = re.compile(r"v(\d{6,9})-[0-9a-f]{8}")


@dataclass(frozen=True)
class Pointer:
    """Which version is current.

    Attributes:
        previous: what a rollback returns to; None right after one.
        promoted_ms: wall clock of the change.
        paused: the gate may not promote until an operator promotes by hand.
    """

    version: str
    previous: str | None
    promoted_by: By
    reason: str
    promoted_ms: int
    paused: bool = False
    format: int = FORMAT


def read_pointer(raw: bytes) -> Pointer:
    """Read current.json.

    Raises:
        ValueError: not a pointer, or one of another format.
    """
    values = json.loads(raw)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, found {type(values).__name__}")
    if values.get("format") != FORMAT:
        raise ValueError(f"format {values.get('format')!r}, this release reads {FORMAT}")
    try:
        pointer = Pointer(**{name: values[name] for name in Pointer.__dataclass_fields__})
    except KeyError as exc:
        raise ValueError(f"field {exc} is missing") from exc
    if not isinstance(pointer.version, str) or not VERSION.fullmatch(pointer.version):
        raise ValueError(f"{pointer.version!r} is no version")
    return pointer
