"""Weights in and out of a bundle: safetensors, and the ids of the items they are of."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.registry.bundle import WEIGHTS, Bundle, damaged, write_item_ids

Tensors = dict[str, Tensor]
_Made = TypeVar("_Made")


def write_weights(folder: Path, weights: Mapping[str, Tensor], item_ids: Sequence[str]) -> None:
    """Write weights and item ids into a bundle's stage."""
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    write_item_ids(folder, item_ids)


def read_weights(bundle: Bundle, make: Callable[[Tensors, tuple[str, ...]], _Made]) -> _Made:
    """What `make` builds from a bundle's weights and item ids.

    Raises:
        DamagedBundle: weights, configuration and item ids do not fit each other.
    """
    item_ids = bundle.item_ids()
    try:
        return make(load_file(bundle.weights), item_ids)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, OSError, SafetensorError) as exc:
        why = " ".join(str(exc).split())[:300]  # torch writes several lines
        raise damaged(bundle.path, f"{WEIGHTS} does not fit the configuration: {why}") from exc
