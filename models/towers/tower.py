"""What every content tower promises, how one is fingerprinted and how it is kept: JSON and safetensors only.

A tower turns one modality of many items into part vectors. Its `revision` is a hash of everything its vectors
depend on, so vectors of one revision may be mixed, stored and reused, and vectors of two may not.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from models.durable import write_durably

FORMAT = 1
SETTINGS_FILE = "tower.json"
TENSORS_FILE = "tower.safetensors"
_REVISION_LENGTH = 16  # hex digits: 64 bits


class TowerError(Exception):
    """What can go wrong with content towers.

    TowerError
    ├── WeightsUnavailable   pretrained weights are neither on disk nor to be had now
    ├── NoKeywords           no word to tell pictures by
    ├── DamagedTower         saved files are missing, changed, or of another format
    └── BadVector            a user's own vector of another width, or with values that are no numbers
    """


class WeightsUnavailable(TowerError):
    """Pretrained weights are neither on disk nor to be had now."""


class NoKeywords(TowerError):
    """No word to tell pictures by: a catalogue without text, or whose text its tower does not know."""


class DamagedTower(TowerError):
    """Saved files are missing, changed, or of another format."""


class BadVector(TowerError):
    """A user's own vector of another width, or with values that are no numbers."""


@dataclass(frozen=True)
class TowerState:
    """All that is kept of a tower.

    Attributes:
        kind: which class reads it again.
        revision: hash of everything the tower's vectors depend on.
        settings: plain JSON values.
        tensors: weights of its own; empty where they lie elsewhere.
    """

    kind: str
    revision: str
    settings: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Tower(Protocol):
    """What both modalities' towers have."""

    @property
    def revision(self) -> str:
        """Hash of everything its vectors depend on."""
        ...

    @property
    def dim(self) -> int:
        """Width of a part vector."""
        ...

    @property
    def state(self) -> TowerState:
        """All that has to be kept to have it again."""
        ...


class TextTower(Tower, Protocol):
    """Sentences to vectors. Safe to call from several threads."""

    @property
    def max_parts(self) -> int:
        """Sentences an item may have."""
        ...

    def encode(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Vectors of each item's sentences.

        Args:
            sentences: N items, each with at most `max_parts` sentences.

        Returns:
            Parts (N, S, dim), each of length 1 or zero, and mask (N, S) bool; S is the longest item's, at least 1.
        """
        ...


class ImageTower(Tower, Protocol):
    """Pictures to vectors. Safe to call from several threads."""

    @property
    def n_parts(self) -> int:
        """Parts of a picture."""
        ...

    def encode(self, images: Sequence[bytes | None]) -> tuple[Tensor, Tensor]:
        """Vectors of each item's picture.

        Args:
            images: N encoded pictures (JPEG, PNG, ...); None is missing.

        Returns:
            Parts (N, n_parts, dim), each of length 1 or zero, and mask (N, n_parts) bool; missing and undecodable
            pictures have an all-False row.
        """
        ...


def fingerprint(kind: str, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Revision of a tower of these settings and weights, such as "patch-0f3a…"; usable as a folder's name."""
    digest = hashlib.sha256(json.dumps([FORMAT, kind, settings], sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return f"{kind}-{digest.hexdigest()[:_REVISION_LENGTH]}"


def write_state(folder: Path, state: TowerState) -> None:
    """Keep a tower in `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / TENSORS_FILE, save({name: t.contiguous() for name, t in state.tensors.items()}))
    settings = {"format": FORMAT, "kind": state.kind, "revision": state.revision, "settings": state.settings}
    write_durably(folder / SETTINGS_FILE, json.dumps(settings, sort_keys=True).encode())


def read_state(folder: Path) -> TowerState:
    """What `write_state` kept.

    Raises:
        DamagedTower: a file is missing, cannot be read, or is of another format.
    """
    try:
        values = json.loads((folder / SETTINGS_FILE).read_bytes())
        if values["format"] != FORMAT:
            raise DamagedTower(f"{folder} is of tower format {values['format']!r}; this release reads {FORMAT}")
        tensors = load_file(folder / TENSORS_FILE)
        return TowerState(str(values["kind"]), str(values["revision"]), dict(values["settings"]), tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as exc:
        raise DamagedTower(f"no whole tower in {folder}: {exc!r}; restore the bundle or train anew") from exc
