"""From the settings of a process to what its trainer is told."""

from dataclasses import replace

from consumers.learning.cycle_settings import CONTINUAL, CycleSettings
from freshet.paths import Paths
from freshet.settings import Settings
from models.encoder.config import TIME_BUCKETS, StoppingConfig, TimedShape, TrainingConfig
from models.gate import GateConfig
from models.towers.building import TowerConfig

MIN_CYCLE_EVENTS = 500


def cycle_settings(settings: Settings, *, log_id: str) -> CycleSettings:
    """What the trainer's process is told."""
    first = TrainingConfig(
        pretrain_epochs=settings.first_pretrain_epochs, finetune_epochs=settings.first_finetune_epochs
    )
    cycle = replace(
        CONTINUAL, pretrain_epochs=settings.cycle_pretrain_epochs, finetune_epochs=settings.cycle_finetune_epochs
    )
    return CycleSettings(
        folders=Paths(settings.data_dir).folders,
        log_id=log_id,
        sequence_kinds={kind.name: kind.is_target for kind in settings.event_kinds() if kind.enters_sequence},
        first_events=settings.first_events,
        cycle_events=settings.cycle_events,
        cycle_s=settings.cycle_s,
        min_cycle_events=min(MIN_CYCLE_EVENTS, settings.cycle_events),
        replay_ratio=settings.replay_ratio,
        gate_wait_s=settings.gate_wait_s,
        first=first,
        stopping=StoppingConfig(max_epochs=settings.first_max_finetune_epochs),
        cycle=cycle,
        shape=encoder_shape(settings),
        towers=TowerConfig(text=settings.text_tower, image=settings.image_tower, seed=settings.seed),
        gate=GateConfig(margin=settings.gate_margin),
        blend=settings.blend,
        first_threads=settings.first_training_threads,
        threads=settings.training_threads,
        seed=settings.seed,
    )


def encoder_shape(settings: Settings) -> TimedShape:
    """Sizes of the encoder of a first model and of `freshet pretrain`'s; later models keep their parent's."""
    n_time_buckets = TIME_BUCKETS if settings.time_buckets else None
    return TimedShape(window=settings.sequence_length, n_time_buckets=n_time_buckets)
