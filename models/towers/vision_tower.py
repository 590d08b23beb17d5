"""Pictures to vectors by any `transformers` vision model, such as a ViT, CLIP's image half or a ResNet. Frozen.

A picture is brought to the model's size as a whole, its proportions given up, and normalised with the mean and
deviation of its preprocessor_config.json; the preprocessor's own crop, which would lose a poster's edges, is left
out. Where the model's states lie on a square grid, the parts are the grid's quadrants, else its one pooled state.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.device import CPU, own_device
from models.towers.hub import LOOK_S, find_weights
from models.towers.patch_tower import quadrant_means
from models.towers.pictures import decode_pictures
from models.towers.pretrained import frozen_model, loading, named, own_weights
from models.towers.tower import TowerState, fingerprint

_BATCH = 32
_HALF = [0.5, 0.5, 0.5]  # mean and deviation where the preprocessor names none
_DEFAULT_SIZE = 224


class VisionTower:
    """A frozen `transformers` vision model.

    Args:
        name: hub id or local folder, kept to find the weights again.
        folder: where they lie here; see `models.towers.hub.find_weights`.

    Raises:
        TowerError: what lies there is no vision model that `transformers` can read.
    """

    kind = "vision"

    def __init__(self, name: str, folder: Path) -> None:
        from transformers import AutoModel  # noqa: PLC0415 - as in `models.towers.text_tower`

        self._name = name
        self._device = CPU
        with loading(f"image tower {name!r}", folder):
            whole, missing = frozen_model(AutoModel, folder)
            preprocessor = json.loads((folder / "preprocessor_config.json").read_bytes())
            self._model: Any = getattr(whole, "vision_model", whole)  # CLIP has a text half, which is left out
            self._size = _size(self._model.config, preprocessor)
            self._mean = torch.tensor(preprocessor.get("image_mean") or _HALF)[:, None, None]
            self._deviation = torch.tensor(preprocessor.get("image_std") or _HALF)[:, None, None]
            probe = self._parts(torch.zeros(1, 3, self._size, self._size, dtype=torch.uint8))
            _, self.n_parts, self.dim = probe.shape
            weights = own_weights(self._model, missing, has_pooler=self.n_parts == 1)
            self.revision = fingerprint(self.kind, self._identity(), weights)
        self._device = own_device()
        self._model.to(self._device)

    @classmethod
    def load(cls, name: str, *, look_s: float = LOOK_S) -> "VisionTower":
        """The tower of that name.

        Args:
            name: a local folder, or a hub id; see `models.towers.hub.find_weights` for the order of search.
            look_s: bound on asking the hub, seconds.

        Raises:
            WeightsUnavailable: its weights are neither on disk nor to be had now.
            TowerError: a folder without a readable vision model.
        """
        return cls(name, find_weights(name, look_s=look_s))

    @property
    def state(self) -> TowerState:
        """The weights' name; they stay where they are and must fit the revision when they are read again."""
        return TowerState(self.kind, self.revision, named(self._name))

    def encode(self, images: Sequence[bytes | None]) -> tuple[Tensor, Tensor]:
        """See `ImageTower.encode`."""
        parts = torch.zeros(len(images), self.n_parts, self.dim)
        mask = torch.zeros(len(images), self.n_parts, dtype=torch.bool)
        for start in range(0, len(images), _BATCH):
            rows, pixels = decode_pictures(images[start : start + _BATCH], self._size)
            if len(rows):
                parts[rows + start] = self._parts(pixels)
                mask[rows + start] = True
        return parts, mask

    @torch.inference_mode()
    def _parts(self, pixels: Tensor) -> Tensor:
        """Pixels (n, 3, size, size) uint8 to parts (n, n_parts, dim) of length 1."""
        answer = self._model(pixel_values=((pixels / 255.0 - self._mean) / self._deviation).to(self._device))
        grid = _grid(answer.last_hidden_state)
        parts = quadrant_means(grid) if grid is not None else _pooled(answer).flatten(1)[:, None]
        return functional.normalize(parts, dim=-1).cpu()

    def _identity(self) -> dict[str, Any]:
        return {
            "model": self._model.config.model_type,
            "size": self._size,
            "mean": self._mean.flatten().tolist(),
            "deviation": self._deviation.flatten().tolist(),
            "n_parts": self.n_parts,
        }


def _size(config: Any, preprocessor: dict[str, Any]) -> int:  # noqa: ANN401 - transformers' own, untyped
    """Pixels on a side the model wants."""
    size = getattr(config, "image_size", None) or preprocessor.get("crop_size") or preprocessor.get("size")
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return int(size[0] if isinstance(size, list | tuple) else size or _DEFAULT_SIZE)


def _grid(states: Tensor) -> Tensor | None:
    """The states of a square grid (n, g * g, d), class and register tokens in front left out; None without a grid."""
    if states.ndim == len("nchw"):
        return states.flatten(2).transpose(1, 2)  # a convolutional model's (n, d, g, g)
    side = math.isqrt(states.shape[1])
    is_square = side * side * 2 > states.shape[1] and side > 1
    return states[:, states.shape[1] - side * side :] if is_square else None


def _pooled(answer: Any) -> Tensor:  # noqa: ANN401 - transformers' own, untyped
    pooled: Tensor | None = getattr(answer, "pooler_output", None)
    return answer.last_hidden_state.mean(1) if pooled is None else pooled
