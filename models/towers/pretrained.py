"""What towers of `transformers` have in common: the files of others make a whole frozen model, or one error."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.towers.tower import TowerError

LIBRARY = "transformers"
"""Kept beside a tower's name with its version, which may read the same files otherwise."""

_POOLER = "pooler."
_VOLATILE = {"_name_or_path", "transformers_version", "dtype", "torch_dtype"}


def named(name: str) -> dict[str, str]:
    """Settings of a tower whose weights lie elsewhere: where, and what read them."""
    return {"name": name, LIBRARY: version(LIBRARY)}


@contextmanager
def loading(tower: str, folder: Path) -> Iterator[None]:
    """Whatever files of any content make `transformers` raise, as one error.

    Raises:
        TowerError: tower, folder and cause are named.
    """
    try:
        yield
    except Exception as exc:
        cause = str(exc) if isinstance(exc, OSError | ValueError) else f"{type(exc).__name__}: {exc}"
        raise TowerError(f"{tower} cannot be loaded from {folder}: {cause}") from exc


def frozen_model(kind: Any, folder: Path) -> tuple[Any, set[str]]:  # noqa: ANN401 - transformers' own, untyped
    """The model of a folder, and the names of the weights that its files lack: `transformers` draws those at random."""
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415 - as in `models.towers.text_tower`

    transformers_logging.disable_progress_bar()
    model, info = kind.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True)
    return model.eval().requires_grad_(requires_grad=False), set(info["missing_keys"])


def own_weights(model: Any, missing: set[str], *, has_pooler: bool) -> dict[str, Tensor]:  # noqa: ANN401 - as above
    """The weights by name that came from the model's files; those of a pooler out of use may be missing there.

    Raises:
        ValueError: others are missing.
    """
    lacking = sorted(name for name in missing if has_pooler or not name.startswith(_POOLER))
    if lacking:
        raise ValueError(f"it lacks {len(lacking)} weights, such as {lacking[0]}; name a model that has them")
    return {name: weight for name, weight in model.state_dict().items() if name not in missing}


def check_tokenizer(tokenizer: Any) -> None:  # noqa: ANN401 - as above
    """Refuse what `transformers` makes of a folder without a vocabulary: to it all texts are alike.

    Raises:
        ValueError: it cannot tell two words apart.
    """
    if len(set(tokenizer.get_vocab()).difference(tokenizer.all_special_tokens)) < 2:
        raise ValueError("its tokenizer knows no words; tokenizer.json or vocabulary files are wanted there")


def lasting(config: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """What a model's config says, without what changes with the copy or the release that reads it."""
    return {key: value for key, value in config.to_diff_dict().items() if key not in _VOLATILE}
