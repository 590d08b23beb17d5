"""What a training cycle is told: where things lie, when to start, how to train, when to accept.

Written as one JSON file by the parent and read once by the trainer's process.
"""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from models.encoder.config import StoppingConfig, TimedShape, TrainingConfig
from models.gate import GateConfig
from models.towers.building import TowerConfig

CONTINUAL = TrainingConfig(
    pretrain_epochs=1, finetune_epochs=1, pretrain_lr=1e-4, finetune_lr=2e-3, distillation_weight=0.5
)
"""Training of a continual cycle; how it was chosen stands in docs/experiments.md."""


@dataclass(frozen=True)
class Folders:
    """Where the cycle reads and writes.

    Args:
        buffer: Segments of the training buffer.
        registry: Model versions.
        features: Part vectors of items.
        images: Content-addressed pictures.
        work: The trainer's own: plan and checkpoint of the open cycle.
    """

    buffer: Path
    registry: Path
    features: Path
    images: Path
    work: Path


@dataclass(frozen=True)
class CycleSettings:
    """Everything a trainer needs.

    Args:
        folders: Where things lie.
        log_id: Offsets in the bundles belong to this log.
        sequence_kinds: Kinds that enter a sequence, each with whether it is a target.
        first_events: Events that start the first training.
        cycle_events: Fresh events that start a cycle.
        cycle_s: A cycle starts after this many seconds with at least `min_cycle_events` fresh ones.
        min_cycle_events: Fewer fresh events never start a cycle.
        max_events: The newest events read at most; bounds memory.
        replay_ratio: Old events replayed for each fresh one.
        holdout_share: Share of users kept out of continual cycles, for the gate.
        gate_wait_s: Longest wait for events that arrive after the training data, to judge by.
        first: Training of the first model.
        stopping: When its fine-tuning stops.
        cycle: Training of a continual cycle.
        shape: Sizes of the encoder.
        towers: Which content towers the first training builds.
        gate: When a model is promoted.
        blend: Whether weights of the blend are learned beside a model that passes, and kept with it.
        keep_bundles: Versions of cycles kept on disk.
        first_threads: CPU threads of the first training, when no model serves yet.
        threads: CPU threads of a cycle, which runs beside serving.
        seed: Of everything drawn; each cycle adds its number.
    """

    folders: Folders
    log_id: str
    sequence_kinds: dict[str, bool]
    first_events: int = 5_000
    cycle_events: int = 20_000
    cycle_s: float = 600.0
    min_cycle_events: int = 500
    max_events: int = 5_000_000
    replay_ratio: float = 3.0
    holdout_share: float = 0.03
    gate_wait_s: float = 20.0
    first: TrainingConfig = field(default_factory=TrainingConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    cycle: TrainingConfig = CONTINUAL
    shape: TimedShape = field(default_factory=TimedShape)
    towers: TowerConfig = field(default_factory=TowerConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    blend: bool = False
    keep_bundles: int = 5
    first_threads: int = 2
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        counts = ("first_events", "cycle_events", "min_cycle_events", "max_events")
        for name in (*counts, "keep_bundles", "first_threads", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("cycle_s", "replay_ratio", "gate_wait_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if not 0.0 <= self.holdout_share < 1.0:
            raise ValueError(f"holdout_share={self.holdout_share} must lie in [0, 1)")


def write_settings(path: Path, settings: CycleSettings) -> None:
    """Write the file that the trainer's process is started with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(settings, enc_hook=str), indent=2))


def read_settings(path: Path) -> CycleSettings:
    """Read what `write_settings` wrote.

    Raises:
        ValueError: the file is no such settings; the message names the field.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=CycleSettings, dec_hook=lambda kind, value: kind(value))
    except msgspec.MsgspecError as exc:
        raise ValueError(f"{path} cannot be used: {exc}") from exc
