from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.encoder.checkpoint import BadCheckpoint, load_checkpoint, save_checkpoint
from models.encoder.config import StoppingConfig, TrainingConfig
from models.encoder.parallel import Processes
from models.encoder.phases import EpochReport
from models.encoder.stopping import Best, Stopping
from models.encoder.training import Trainer
from tests.models.encoder.test_training import CONFIG, new_trainer, weights
from tests.models.encoder_fixtures import are_equal

SCORES = (0.1, 0.3, 0.2, 0.3, 0.4)  # after the first epoch of fine-tuning, the second, ...
LONG = replace(CONFIG, pretrain_epochs=1, finetune_epochs=5)

Weights = dict[str, torch.Tensor]


def watched(config: TrainingConfig = LONG, *, patience: int = 2) -> Trainer:
    """Stopped by scores that are given."""
    trainer = new_trainer(config)
    trainer.stopping = Stopping(lambda: SCORES[trainer.progress.epoch - 1], patience=patience)
    return trainer


def test_training_stops_when_the_score_gets_no_better_and_the_best_epochs_weights_stay() -> None:
    trainer = watched()
    reports: list[EpochReport] = []
    after: list[Weights] = []

    trainer.run(lambda report: (reports.append(report), after.append(weights(trainer)))[0])

    assert [(report.phase, report.epoch, report.validation) for report in reports] == [
        ("pretrain", 0, None),
        ("finetune", 0, 0.1),
        ("finetune", 1, 0.3),
        ("finetune", 2, 0.2),
        ("finetune", 3, 0.3),  # as good is no better
    ]
    assert are_equal(weights(trainer), after[2])
    assert not are_equal(after[4], after[2])


def test_a_score_that_gets_better_in_time_trains_all_epochs() -> None:
    trainer = watched(patience=3)
    after: list[Weights] = []

    trainer.run(lambda _: after.append(weights(trainer)))

    assert len(after) == 6
    assert are_equal(weights(trainer), after[5])


def test_the_last_phase_that_has_epochs_is_stopped() -> None:
    trainer = watched(replace(CONFIG, pretrain_epochs=5, finetune_epochs=0))
    scores: list[float | None] = []

    trainer.run(lambda report: scores.append(report.validation))

    assert scores == [0.1, 0.3, 0.2, 0.3]


@pytest.mark.parametrize("epochs_before_the_kill", [1, 2, 3, 4, 5])
def test_a_resumed_run_knows_the_best_epoch_and_stops_where_an_uninterrupted_one_does(
    tmp_path: Path, epochs_before_the_kill: int
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    whole, killed, resumed = watched(), watched(), watched()
    expected: list[EpochReport] = []
    whole.run(expected.append)
    reports: list[EpochReport] = []

    def save_then_die(report: EpochReport) -> None:
        reports.append(report)
        save_checkpoint(path, killed)
        if len(reports) == epochs_before_the_kill:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.run(save_then_die)
    load_checkpoint(path, resumed)
    resumed.run(reports.append)

    assert [(one.phase, one.epoch, one.loss, one.validation) for one in reports] == [
        (one.phase, one.epoch, one.loss, one.validation) for one in expected
    ]
    assert are_equal(weights(resumed), weights(whole))


def test_a_checkpoint_with_best_weights_of_another_shape_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    path, trained, loaded = tmp_path / "checkpoint.safetensors", watched(), watched()
    trained.run()
    assert trained.stopping is not None
    trained.stopping.best = Best(2, 0.3, weights(trained) | {"ids": torch.zeros(3, 8)})
    save_checkpoint(path, trained)
    before = weights(loaded)

    with pytest.raises(BadCheckpoint, match=r"ids is \(3, 8\) there and \(12, 8\) here"):
        load_checkpoint(path, loaded)

    assert are_equal(weights(loaded), before)


def test_processes_that_know_another_best_epoch_are_told_apart() -> None:
    one, other = watched(), watched()
    assert one.fingerprint() == other.fingerprint()

    assert other.stopping is not None
    other.stopping.best = Best(2, 0.3, {})

    assert one.fingerprint() != other.fingerprint()


def test_a_process_alone_says_its_own_score() -> None:
    assert Processes().first_says(lambda: 0.25) == 0.25


def test_stopping_without_patience_is_refused() -> None:
    with pytest.raises(ValueError, match="patience=0 must be at least 1"):
        Stopping(lambda: 0.0, patience=0)


def test_settings_of_stopping_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_share=1\.5 must lie in \[0, 1\)"):
        StoppingConfig(max_share=1.5)
    with pytest.raises(ValueError, match="max_epochs=0 must be at least 1"):
        StoppingConfig(max_epochs=0)
    with pytest.raises(ValueError, match="min_held_out=0 must be at least 1"):
        StoppingConfig(min_held_out=0)
