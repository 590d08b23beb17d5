"""A training run on disk, so that a killed cycle goes on after its last finished epoch.

One safetensors file holds weights and optimiser state, and where validation stops the training the best epoch's
weights, too; its header says which training it is of, and how far that was. Written beside, fsynced, renamed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.durable import write_durably
from models.encoder.loop import TrainingLoop
from models.encoder.phases import Progress
from models.encoder.stopping import Best


class BadCheckpoint(Exception):
    """The file is damaged or belongs to another training or another shape of model; delete it to start over."""


def save_checkpoint(path: Path, trainer: TrainingLoop) -> None:
    """Write where `trainer` stands, replacing what was there."""
    tensors = {f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    for index, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    header = {"origin": str(trainer.origin), "progress": json.dumps(asdict(trainer.progress))}
    best = trainer.stopping.best if trainer.stopping else None
    if best is not None:
        tensors |= {f"best.{name}": tensor for name, tensor in best.weights.items()}
        header["best"] = json.dumps({"epoch": best.epoch, "score": best.score})
    write_durably(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=header))


def load_checkpoint(path: Path, trainer: TrainingLoop) -> None:
    """Bring `trainer` to where the file says.

    Raises:
        BadCheckpoint: the file cannot be read or is of another training; `trainer` is as it was.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            header = file.metadata() or {}
        if header["origin"] != str(trainer.origin):
            raise ValueError("it is of a training on other data, content or settings")
        progress = Progress(**json.loads(header["progress"]))
        trainer.phase(progress.phase)
        weights, best = _under("model.", tensors), _best(header, tensors)
        for kept in (weights, *([best.weights] if best else [])):
            _check(kept, trainer)
        trainer.resume(progress, weights, _optimizer_state(_under("optimizer.", tensors)), best=best)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise BadCheckpoint(f"checkpoint {path} cannot be used: {str(exc)[:300]}") from exc


def _best(header: Mapping[str, str], tensors: dict[str, Tensor]) -> Best | None:
    if "best" not in header:
        return None
    return Best(**json.loads(header["best"]), weights=_under("best.", tensors))


def _check(weights: dict[str, Tensor], trainer: TrainingLoop) -> None:
    """Before anything is changed: torch takes in what fits and only then complains of the rest."""
    wanted = trainer.model.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        there, here = (tuple(side[name].shape) if name in side else "missing" for side in (weights, wanted))
        if there != here:
            raise ValueError(f"{name} is {there} there and {here} here")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """`"3.exp_avg"` -> state[3]["exp_avg"]."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, field = name.split(".")
        state.setdefault(int(index), {})[field] = torch.as_tensor(tensor)
    return state
