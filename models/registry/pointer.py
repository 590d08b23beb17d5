"""The pointer: which version is current, who said so, whether the gate may change it, and what follows from which."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from models.registry.bundle import FORMAT, NotCurrent, NothingToRollBack, PromotionPaused

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


def promoted(old: Pointer | None, version: str, *, by: By, reason: str, now_ms: int) -> Pointer:
    """The pointer after a promotion; one by hand also resumes automatic promotion.

    Raises:
        PromotionPaused: `by` is "gate" after a rollback by hand.
    """
    if by == "gate" and old is not None and old.paused:
        raise PromotionPaused(
            f"{version} stays published but not current: automatic promotion is paused since the "
            f"rollback to {old.version} ({old.reason}); resume with `freshet models promote VERSION`"
        )
    previous = None
    if old is not None:
        previous = old.previous if old.version == version else old.version
    return Pointer(version, previous, by, reason, now_ms)


def rolled_back(old: Pointer | None, *, by: By, reason: str, only_from: str | None, now_ms: int) -> Pointer:
    """The pointer after a rollback; one by hand also pauses automatic promotion.

    Raises:
        NotCurrent: `only_from` is given and not the current version.
        NothingToRollBack: there is no previous version.
    """
    if only_from is not None and (old is None or old.version != only_from):
        now = old.version if old else "none"
        raise NotCurrent(f"{only_from} is not current ({now} is); nothing was changed")
    if old is None or old.previous is None:
        now = "no model is current" if old is None else f"{old.version} is current and knows no previous one"
        raise NothingToRollBack(f"cannot roll back: {now}; choose one with `freshet models promote VERSION`")
    return Pointer(old.previous, None, by, reason, now_ms, paused=by == "operator" or old.paused)
