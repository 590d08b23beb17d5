"""How far a training has come, on disk: a killed one goes on after its last whole epoch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import msgspec

from freshet.fitting.card import CurvePoint
from models.durable import remove_unfinished, write_durably
from models.encoder.checkpoint import BadCheckpoint, load_checkpoint, save_checkpoint
from models.encoder.training import Trainer


class KeptTraining:
    """Checkpoint and curve of one training.

    Args:
        folder: made where it is missing.
        name: says what is trained, how, and on what; another training has another.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._checkpoint, self._curve_file = folder / f"{name}.safetensors", folder / f"{name}.json"

    def put(self, trainer: Trainer, curve: list[CurvePoint]) -> None:
        """Keep where `trainer` stands after a whole epoch."""
        write_durably(self._curve_file, json.dumps([asdict(one) for one in curve]).encode())
        save_checkpoint(self._checkpoint, trainer)  # last: a kill above repeats the epoch

    def resume(self, trainer: Trainer) -> list[CurvePoint]:
        """Bring `trainer` to where the last one was.

        Returns:
            The epochs that are done; none where nothing is kept.

        Raises:
            BadCheckpoint: what is kept cannot be read.
        """
        if not (self._checkpoint.exists() and self._curve_file.exists()):
            return []
        try:
            load_checkpoint(self._checkpoint, trainer)
        except BadCheckpoint as exc:
            raise BadCheckpoint(f"{exc}; delete it to train from the first epoch again") from exc
        n_done = trainer.progress.epoch
        curve = self._curve()[:n_done]
        if [point.epoch for point in curve] != list(range(1, n_done + 1)):
            raise BadCheckpoint(
                f"curve {self._curve_file} has {len(curve)} of {n_done} epochs; delete it to train from the first again"
            )
        return curve

    def clear(self) -> None:
        """Remove what only a killed training needs, what a kill left half-written too."""
        for path in (self._checkpoint, self._curve_file):
            path.unlink(missing_ok=True)
            remove_unfinished(path)

    def _curve(self) -> list[CurvePoint]:
        try:
            return msgspec.json.decode(self._curve_file.read_bytes(), type=list[CurvePoint])
        except msgspec.DecodeError as exc:
            raise BadCheckpoint(
                f"curve {self._curve_file} cannot be read ({exc}); delete it to train from the first epoch again"
            ) from exc
