"""Words and pictures in one space by a pretrained CLIP (Radford et al., arXiv 2103.00020). Frozen.

A picture is brought to the model's size as a whole, as in `models.towers.vision_tower`, and rescaled and normalised
by CLIP's own processor. Weights are never copied: the name is kept, and the revision must be the same again.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.device import CPU, own_device
from models.towers.hub import LOOK_S, find_weights
from models.towers.pictures import decode_pictures
from models.towers.pretrained import check_tokenizer, frozen_model, lasting, loading, own_weights
from models.towers.tower import fingerprint

LAION_B32 = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"  # MIT, about 600 MB

_PICTURES = 32  # of a batch
_WORDS = 256  # of a batch


class Clip:
    """A frozen CLIP of `transformers`, `CLIPModel` with its `CLIPProcessor`.

    Args:
        name: hub id or local folder, kept to find the weights again.
        folder: where they lie here; see `models.towers.hub.find_weights`.

    Raises:
        TowerError: what lies there is no CLIP that `transformers` can read whole.
    """

    def __init__(self, name: str, folder: Path) -> None:
        from transformers import CLIPModel, CLIPProcessor  # noqa: PLC0415 - as in `models.towers.text_tower`

        self.name = name
        self._device = CPU
        with loading(f"CLIP {name!r}", folder):
            _refuse_others(folder)
            self._model, missing = frozen_model(CLIPModel, folder)
            self._processor: Any = CLIPProcessor.from_pretrained(folder)
            check_tokenizer(self._processor.tokenizer)
            self._size = int(self._model.config.vision_config.image_size)
            self.dim = int(self._model.config.projection_dim)
            weights = own_weights(self._model, missing, has_pooler=True)
            self.revision = fingerprint("clip", self._identity(), weights)
            self.words(["probe"])
            self._directions(torch.zeros(1, 3, self._size, self._size, dtype=torch.uint8))
        self._device = own_device()
        self._model.to(self._device)

    @classmethod
    def load(cls, name: str, *, look_s: float = LOOK_S) -> "Clip":
        """The CLIP of that name.

        Args:
            name: a local folder, or a hub id; see `models.towers.hub.find_weights` for the order of search.
            look_s: bound on asking the hub, seconds.

        Raises:
            WeightsUnavailable: its weights are neither on disk nor to be had now.
            TowerError: a folder without a readable CLIP.
        """
        return cls(name, find_weights(name, look_s=look_s))

    @torch.inference_mode()
    def words(self, words: Sequence[str]) -> Tensor:
        """Directions (len(words), dim) of words, each of length 1. Not to be called from several threads."""
        limit = int(self._model.config.text_config.max_position_embeddings)
        batches = [torch.zeros(0, self.dim)]
        for start in range(0, len(words), _WORDS):
            batch = list(words[start : start + _WORDS])
            tokens = self._processor.tokenizer(
                batch, padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(self._device)
            states = self._model.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).pooler_output
            batches.append(functional.normalize(self._model.text_projection(states), dim=-1).cpu())
        return torch.cat(batches)

    def pictures(self, images: Sequence[bytes | None]) -> tuple[Tensor, Tensor]:
        """Directions of pictures, those missing or undecodable left out. Safe to call from several threads.

        Args:
            images: N encoded pictures (JPEG, PNG, ...); None is missing.

        Returns:
            Rows (n,) int64 of `images`, and their directions (n, dim), each of length 1.
        """
        all_rows, batches = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, self.dim)]
        for start in range(0, len(images), _PICTURES):
            rows, pixels = decode_pictures(images[start : start + _PICTURES], self._size)
            if len(rows):
                all_rows.append(rows + start)
                batches.append(self._directions(pixels))
        return torch.cat(all_rows), torch.cat(batches)

    @torch.inference_mode()
    def _directions(self, pixels: Tensor) -> Tensor:
        """Pixels (n, 3, size, size) uint8 to directions (n, dim)."""
        states = self._model.vision_model(pixel_values=self._normalised(pixels).to(self._device)).pooler_output
        return functional.normalize(self._model.visual_projection(states), dim=-1).cpu()

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Pixels (n, 3, size, size) uint8 as the model wants them, float; they have its size already."""
        answer = self._processor.image_processor(
            list(pixels.numpy()), do_resize=False, do_center_crop=False, return_tensors="pt"
        )
        values: Tensor = answer["pixel_values"]
        return values

    def _identity(self) -> dict[str, Any]:
        """What the directions depend on beside the weights; not the name, as a copy gives the same directions."""
        config, processor = self._model.config, self._processor.image_processor
        return {
            "text": lasting(config.text_config),
            "vision": lasting(config.vision_config),
            "tokenizer": self._processor.tokenizer.backend_tokenizer.to_str(),
            "mean": list(processor.image_mean),
            "deviation": list(processor.image_std),
            "scale": processor.rescale_factor,
        }


def _refuse_others(folder: Path) -> None:
    """Another model would be read as a CLIP of random weights."""
    kind = json.loads((folder / "config.json").read_bytes()).get("model_type")
    if kind != "clip":
        raise ValueError(f"its config.json says model_type={kind!r}, wants 'clip'")
